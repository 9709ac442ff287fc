"""The librarian with a model: it offers the same tools to a chat-completions server, through the ``openai`` client.

It is used only if ``OPENAI_API_KEY`` or ``OPENAI_BASE_URL`` is set. Otherwise ``openai`` is not imported, and no
network is used. The client runs on trio as it is.
"""

import importlib
import json
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

import attrs
import trio

from actors import JSON, Run
from transport.demo.library import Library
from transport.demo.sandbox import run_example

if TYPE_CHECKING:
    from openai import AsyncOpenAI

DEFAULT_MODEL = "gpt-5-mini"
MAX_ROUNDS = 8
MAX_RESULT = 16_000
"""Maximum characters of a tool's result that the model gets. The rest would cost tokens, and the best comes first."""
TOOL_SECONDS = 15.0
PROMPT = (
    "You are a librarian for the standard library of the Python installation that you run on. Answer in short "
    "Markdown: the function or class that does the job, its signature, a runnable example with its real output, and "
    "the sources as file:line. Search first, read the source, and run the example before you show it. Say so when "
    "nothing fits."
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
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self | None:
        """Return the model that the variables ``OPENAI_…`` name; None without both ``API_KEY`` and ``BASE_URL``."""
        key, url = environment.get("OPENAI_API_KEY", ""), environment.get("OPENAI_BASE_URL", "")
        if not key and not url:
            return None
        return cls(environment.get("OPENAI_MODEL") or DEFAULT_MODEL, url, key)

    async def client(self) -> "AsyncOpenAI | None":
        """Return a client, to be used with ``async with``, or None without the extra ``openai``.

        ``openai`` is imported in a thread, since the import takes a second.
        """
        try:
            openai = await trio.to_thread.run_sync(importlib.import_module, "openai")
        except ImportError:
            return None
        client: AsyncOpenAI = openai.AsyncOpenAI(api_key=self.api_key or "none", base_url=self.base_url or None)
        return client


@attrs.define
class _Reply:
    """One reply of the model, assembled from its pieces. Tool calls have the form in which they are sent back."""

    text: str = ""
    calls: dict[int, dict[str, Any]] = attrs.field(factory=dict[int, dict[str, Any]])
    error: str = ""

    def add_call(self, piece: dict[str, Any]) -> None:
        """Add a piece of a tool call: the first has its id and name, and all have a part of its arguments."""
        new = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        call = self.calls.setdefault(piece["index"], new)
        function: dict[str, str] = piece.get("function") or {}
        call["id"] = piece.get("id") or call["id"]
        call["function"]["name"] = function.get("name") or call["function"]["name"]
        call["function"]["arguments"] += function.get("arguments") or ""

    def as_message(self) -> dict[str, Any]:
        calls = {"tool_calls": list(self.calls.values())} if self.calls else {}
        return {"role": "assistant", "content": self.text or None, **calls}


async def answer(run: Run, question: str, library: Library, model: Model, client: "AsyncOpenAI") -> dict[str, JSON]:
    """Let ``model`` answer with the tools of the demo, and stream its text. If a tool fails, the model gets the error.

    Raises:
        NoAnswer: The model gave no answer in ``MAX_ROUNDS`` replies, or its server reported an error within the stream.
        openai.OpenAIError: The server cannot be reached, or refuses.
    """
    tools: dict[str, Callable[..., Any]] = {
        "search": library.search,
        "read_source": library.read_source,
        "run_example": run_example,
    }
    messages: list[Any] = [{"role": "system", "content": PROMPT}, {"role": "user", "content": question}]
    for _ in range(MAX_ROUNDS):
        reply = await _ask(run, client, model.name, messages)
        messages.append(reply.as_message())
        if not reply.calls:
            return {"answer": reply.text, "model": model.name}
        messages.extend(await _call_tools(run, tools, list(reply.calls.values())))
    raise NoAnswer(f"{model.name} called tools {MAX_ROUNDS} times and gave no answer")


async def _ask(run: Run, client: "AsyncOpenAI", name: str, messages: list[Any]) -> _Reply:
    """Stream one reply, and emit its text as it comes.

    The lines are read here, to the end of the response. *The client's own stream stops at ``[DONE]`` and leaves
    generators open, and trio warns about them. Leaving the loop early has the same effect.* Therefore emitting is
    shielded from cancellation: a cancellation is raised only where the loop reads.
    """
    reply = _Reply()
    specs: Any = SPECS
    create = client.chat.completions.with_streaming_response.create
    async with create(model=name, messages=messages, tools=specs, stream=True) as response:
        async for line in response.iter_lines():
            for delta in _deltas(line, reply):
                if text := delta.get("content"):
                    reply.text += text
                    with run.shield():
                        await run.output(text)
                for piece in delta.get("tool_calls") or ():
                    reply.add_call(piece)
    if reply.error:
        raise NoAnswer(f"the server of {name} says: {reply.error}")
    return reply


def _deltas(line: str, reply: _Reply) -> list[dict[str, Any]]:
    """Return the pieces in a line of the stream. Store an error that the server sends in the stream in ``reply``."""
    if not line.startswith("data:") or line.endswith("[DONE]"):
        return []
    chunk: dict[str, Any] = json.loads(line.removeprefix("data:"))
    if "error" in chunk:
        reply.error = str(chunk["error"])
    return [choice["delta"] for choice in chunk.get("choices", [])[:1]]


async def _call_tools(
    run: Run, tools: dict[str, Callable[..., Any]], calls: list[dict[str, Any]]
) -> list[dict[str, str]]:
    """Run tool calls at the same time and return their results as messages, in the order of the calls."""
    messages = [{"role": "tool", "tool_call_id": call["id"], "content": ""} for call in calls]

    async def perform(message: dict[str, str], name: str, arguments: str) -> None:
        try:
            result = await run.call_tool(tools[name], timeout=TOOL_SECONDS, **json.loads(arguments or "{}"))
        except Exception as error:  # noqa: BLE001 - any failure of a tool, or of the model's arguments: it may do better
            message["content"] = f"{type(error).__name__}: {error}"
        else:
            message["content"] = json.dumps(result, ensure_ascii=False)[:MAX_RESULT]

    async with trio.open_nursery() as nursery:
        for message, call in zip(messages, calls, strict=True):
            nursery.start_soon(perform, message, call["function"]["name"], call["function"]["arguments"])
    return messages


def _spec(tool: str, description: str, required: tuple[str, ...], /, **properties: str) -> dict[str, Any]:
    """Return the description of a tool for a model. ``properties`` are names and JSON types."""
    schema = {
        "type": "object",
        "properties": {key: {"type": kind} for key, kind in properties.items()},
        "required": list(required),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": tool, "description": description, "parameters": schema}}


_SEARCH = "Search the standard library's names, docstrings and code; of one module if it is given."
_READ = "Signature, docstring and source, with its place, of a name such as DictReader in csv."
_RUN = "Run a short piece of Python apart from the server; returns what it printed."
SPECS = (
    _spec("search", _SEARCH, ("query",), query="string", limit="integer", module="string"),
    _spec("read_source", _READ, ("module", "name"), module="string", name="string"),
    _spec("run_example", _RUN, ("code",), code="string"),
)
