"""The librarian with a model: it offers the same tools to a chat-completions server, through the ``openai`` client.

A model answers only if the command line names it: ``greenroom demo --model NAME``. Otherwise ``openai`` is not
imported, and no network is used. The client runs on trio as it is.
"""

import importlib
import inspect
import json
import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, Self

import attrs
import trio

from actors import JSON, ConfigError, Run
from transport.demo.library import Library
from transport.demo.sandbox import run_example

MAX_ROUNDS = 8
MAX_RESULT = 16_000
"""Maximum characters of a tool's result that the model gets. The rest would cost tokens, and the best comes first."""
TOOL_SECONDS = 15.0
PROMPT = (
    "You are a librarian for the standard library of the Python installation that you run on. Answer in short "
    "Markdown: the function or class that does the job, its signature, a runnable example with its real output, and "
    "the sources as file:line. Search first, read the source, and run the example before you show it. Say so when "
    "nothing fits, and when examples are not run on this machine."
)


class NoAnswer(Exception):
    """The model still called tools in its last allowed reply and gave no answer, or its server reported an error."""


@attrs.frozen
class Model:
    """The name of a model and its server. An empty ``base_url`` is the default of the client."""

    name: str
    base_url: str = ""
    api_key: str = attrs.field(default="", repr=False)

    @classmethod
    def from_environment(cls, name: str, environment: Mapping[str, str] = os.environ) -> Self:
        """Return the model ``name`` with the key in ``OPENAI_API_KEY`` and the server in ``OPENAI_BASE_URL``.

        Raises ConfigError if neither variable is set, or if the extra ``openai`` is not installed.
        """
        key, url = environment.get("OPENAI_API_KEY", ""), environment.get("OPENAI_BASE_URL", "")
        if find_spec("openai") is None:
            raise ConfigError(f"--model {name} needs the extra openai: pip install 'greenroom[openai]'")
        if not key and not url:
            raise ConfigError(f"--model {name} needs a key in OPENAI_API_KEY, or a server in OPENAI_BASE_URL")
        return cls(name, url, key)

    async def answer(self, run: Run, question: str, library: Library) -> dict[str, JSON]:
        """Let the model answer with the demo's tools, and stream its text. The model gets the error of a failed tool.

        Raises:
            NoAnswer: The model gave no answer in ``MAX_ROUNDS`` replies, or its server reported an error in the stream.
            openai.OpenAIError: The server cannot be reached, or refuses.
        """
        tools = {tool.__name__: tool for tool in (library.search, library.read_source, run_example)}
        messages: list[Any] = [{"role": "system", "content": PROMPT}, {"role": "user", "content": question}]
        openai = await trio.to_thread.run_sync(importlib.import_module, "openai")  # the import takes a second
        async with openai.AsyncOpenAI(api_key=self.api_key or "none", base_url=self.base_url or None) as client:
            for _ in range(MAX_ROUNDS):
                request = {
                    "model": self.name,
                    "messages": messages,
                    "tools": [spec_of(tool) for tool in tools.values()],
                }
                text, calls = await _stream(run, client, request)
                if not calls:
                    return {"answer": text, "model": self.name}
                messages.append({"role": "assistant", "content": text or None, "tool_calls": calls})
                async with trio.open_nursery() as nursery:
                    for call in calls:
                        messages.append({"role": "tool", "tool_call_id": call["id"], "content": ""})
                        nursery.start_soon(_perform, run, tools, call["function"], messages[-1])
        raise NoAnswer(f"{self.name} called tools {MAX_ROUNDS} times and gave no answer")


async def _stream(run: Run, client: Any, request: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """Stream one reply, and emit its text as it comes. Return the text and the tool calls.

    The lines are read here, to the end of the response. *The client's own stream stops at ``[DONE]`` and leaves
    generators open, and trio warns about them. Leaving the loop early has the same effect.* Therefore emitting is
    shielded from cancellation: a cancellation is raised only where the loop reads.
    """
    text, calls, failure = "", dict[int, dict[str, Any]](), ""
    async with client.chat.completions.with_streaming_response.create(**request, stream=True) as response:
        async for line in response.iter_lines():
            if not line.startswith("data:") or line.endswith("[DONE]"):
                continue
            chunk: dict[str, Any] = json.loads(line.removeprefix("data:"))
            failure = failure or str(chunk.get("error", ""))
            delta: dict[str, Any] = chunk["choices"][0]["delta"] if chunk.get("choices") else {}
            if piece := delta.get("content"):
                text += piece
                with run.shield():
                    await run.output(piece)
            for part in delta.get("tool_calls") or ():
                _add(part, calls.setdefault(part["index"], {"type": "function", "function": {}}))
    if failure:
        raise NoAnswer(f"the server of {request['model']} says: {failure}")
    return text, list(calls.values())


def _add(part: dict[str, Any], call: dict[str, Any]) -> None:
    """Add a part of a tool call to the call: the first part has its id and name, all have a piece of its arguments."""
    function: dict[str, str] = call["function"]
    more: dict[str, str] = part.get("function") or {}
    call["id"] = part.get("id") or call.get("id", "")
    function["name"] = more.get("name") or function.get("name", "")
    function["arguments"] = function.get("arguments", "") + (more.get("arguments") or "")


async def _perform(
    run: Run, tools: dict[str, Callable[..., Any]], called: dict[str, str], message: dict[str, str]
) -> None:
    """Run a tool and store its result, or its error, as the content of ``message``."""
    try:
        arguments = json.loads(called["arguments"] or "{}")
        result = await run.call_tool(tools[called["name"]], timeout=TOOL_SECONDS, **arguments)
    except Exception as error:  # noqa: BLE001 - any failure of a tool, or of the model's arguments: it may do better
        message["content"] = f"{type(error).__name__}: {error}"
    else:
        message["content"] = json.dumps(result, ensure_ascii=False)[:MAX_RESULT]


def spec_of(tool: Callable[..., Any]) -> dict[str, Any]:
    """Return the description of a tool for a model, made from its docstring and its parameters."""
    parameters = inspect.signature(tool).parameters.values()
    schema = {
        "type": "object",
        "properties": {
            each.name: {"type": "integer" if each.annotation in (int, "int") else "string"} for each in parameters
        },
        "required": [each.name for each in parameters if each.default is each.empty],
        "additionalProperties": False,
    }
    described = {"name": tool.__name__, "description": inspect.getdoc(tool), "parameters": schema}
    return {"type": "function", "function": described}
