"""The librarian with a model: it offers the same tools to a chat-completions server, through the ``openai`` client.

A model answers only if the command line names it. Otherwise ``openai`` is not imported, and no network is used.
"""

import importlib
import json
import os
import tomllib
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Self

import attrs
import trio

from actors import JSON, ConfigError, Run
from transport._extras import ExtraMissing
from transport.demo.index import DATA
from transport.demo.library import Library
from transport.demo.sandbox import run_example

MAX_ROUNDS, TOOL_SECONDS = 8, 15.0
MAX_RESULT = 16_000  # characters of a tool's result: the rest would cost tokens, and the best comes first
TOLD: dict[str, Any] = tomllib.loads((DATA / "model.toml").read_text(encoding="utf-8"))  # the prompt and the tools


class NoAnswer(Exception):
    """The model gave no answer.

    It still called tools in its last allowed reply, or its server reported an error.
    """


@attrs.frozen
class Model:
    """The name of a model and its server. If ``base_url`` is empty, the client's default server is used."""

    name: str
    base_url: str = ""
    api_key: str = attrs.field(default="", repr=False)

    @classmethod
    def from_environment(cls, name: str, environment: Mapping[str, str] = os.environ) -> Self:
        """Return the model ``name`` with the key and the server in the environment.

        Raises:
            ConfigError: The environment has neither a key nor a server, or the extra ``openai`` is not installed.
        """
        key, url = environment.get("OPENAI_API_KEY", ""), environment.get("OPENAI_BASE_URL", "")
        if find_spec("openai") is None:
            raise ExtraMissing(f"--model {name}", "openai")
        if not key and not url:
            raise ConfigError(f"--model {name} needs a key in OPENAI_API_KEY, or a server in OPENAI_BASE_URL")
        return cls(name, url, key)

    async def answer(self, run: Run, question: str, library: Library) -> dict[str, JSON]:
        """Let the model answer with the demo's tools, and stream its text. The model gets the error of a failed tool.

        Raises:
            NoAnswer: The model gave no answer in ``MAX_ROUNDS`` replies, or its server reported an error in the stream.
            openai.OpenAIError: The server cannot be reached, or refuses the request.
        """
        tools = {tool.__name__: tool for tool in (library.search, library.read_source, run_example)}
        messages: list[Any] = [{"role": "system", "content": TOLD["prompt"]}, {"role": "user", "content": question}]
        request = {"model": self.name, "messages": messages, "tools": TOLD["tools"], "stream": True}
        openai = await trio.to_thread.run_sync(importlib.import_module, "openai")  # the import takes a second
        async with openai.AsyncOpenAI(api_key=self.api_key or "none", base_url=self.base_url or None) as client:
            for _ in range(MAX_ROUNDS):
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
    """Stream one reply of the model, and emit its text as it comes. Return the text and the tool calls.

    The loop reads all lines of the response. *If the loop ended early, generators would stay open, and trio would warn
    about them. This also happens with the client's own stream, which stops at ``[DONE]``.* Therefore a cancellation
    must not end the loop where it emits text: emitting is shielded from cancellation, and the next read raises the
    cancellation.
    """
    text, calls, failure = "", dict[int, dict[str, Any]](), ""
    async with client.chat.completions.with_streaming_response.create(**request) as response:
        async for line in response.iter_lines():
            data = line.removeprefix("data:").strip() if line.startswith("data:") else "[DONE]"
            chunk: dict[str, Any] = {} if data == "[DONE]" else json.loads(data)
            failure = failure or str(chunk.get("error", ""))
            delta: dict[str, Any] = chunk["choices"][0]["delta"] if chunk.get("choices") else {}
            if piece := delta.get("content"):
                text += piece
                with run.shield():
                    await run.output(piece)
            for part in delta.get("tool_calls") or ():
                new = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
                call, more = calls.setdefault(part["index"], new), {"id": None, "function": {}} | part
                call["id"] = more["id"] or call["id"]
                call["function"]["name"] = more["function"].get("name") or call["function"]["name"]
                call["function"]["arguments"] += more["function"].get("arguments") or ""
    if failure:
        raise NoAnswer(f"the server of {request['model']} says: {failure}")
    return text, list(calls.values())


async def _perform(run: Run, tools: dict[str, Any], called: dict[str, str], message: dict[str, str]) -> None:
    """Run the tool that the model has called, and store its result or its error as the content of ``message``."""
    try:
        arguments = json.loads(called["arguments"] or "{}")
        result = await run.call_tool(tools[called["name"]], timeout=TOOL_SECONDS, **arguments)
        message["content"] = json.dumps(result, ensure_ascii=False)[:MAX_RESULT]
    except Exception as error:  # noqa: BLE001 - any failure of a tool, or of the model's arguments: it may do better
        message["content"] = f"{type(error).__name__}: {error}"
