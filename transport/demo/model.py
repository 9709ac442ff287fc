"""The librarian with a model: the same tools, offered to a chat-completions server through the ``openai`` client.

Only where ``OPENAI_API_KEY`` or ``OPENAI_BASE_URL`` is set; otherwise nothing here is imported and no network is
used. The client runs on trio as it is.
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
TOOL_SECONDS = 15.0
PROMPT = (
    "You are a librarian for the standard library of the Python installation that you run on. Answer in short "
    "Markdown: the function or class that does the job, its signature, a runnable example with its real output, and "
    "the sources as file:line. Search first, read the source, and run the example before you show it. Say so when "
    "nothing fits."
)

Tool = Callable[..., Any]


class NoAnswer(Exception):
    """The model went on calling tools and never answered, or its server broke off."""


@attrs.frozen
class Model:
    """Which model to ask, and where: an empty ``base_url`` is the client's own default."""

    name: str
    base_url: str = ""
    api_key: str = attrs.field(default="", repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self | None:
        """Return what the variables ``OPENAI_…`` say; None when there is neither an ``API_KEY`` nor a ``BASE_URL``."""
        key, url = environment.get("OPENAI_API_KEY", ""), environment.get("OPENAI_BASE_URL", "")
        if not key and not url:
            return None
        return cls(environment.get("OPENAI_MODEL") or DEFAULT_MODEL, url, key)

    async def client(self) -> "AsyncOpenAI | None":
        """Return a client, to be used with ``async with``; None without the ``openai`` extra.

        Importing it takes a second, so a thread does.
        """
        try:
            openai = await trio.to_thread.run_sync(importlib.import_module, "openai")
        except ImportError:
            return None
        client: AsyncOpenAI = openai.AsyncOpenAI(api_key=self.api_key or "none", base_url=self.base_url or None)
        return client


@attrs.define
class _Reply:
    """One reply, put together from its pieces: text, and tool calls by their index."""

    text: str = ""
    calls: dict[int, dict[str, str]] = attrs.field(factory=dict[int, dict[str, str]])
    error: str = ""

    def add_call(self, index: int, call_id: str | None, name: str | None, arguments: str | None) -> None:
        call = self.calls.setdefault(index, {"id": "", "name": "", "arguments": ""})
        call["id"] = call_id or call["id"]
        call["name"] = name or call["name"]
        call["arguments"] += arguments or ""

    def as_message(self) -> dict[str, Any]:
        calls = [
            {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
            for call in self.calls.values()
        ]
        return {"role": "assistant", "content": self.text or None, **({"tool_calls": calls} if calls else {})}


async def answer(run: Run, question: str, library: Library, model: Model, client: "AsyncOpenAI") -> dict[str, JSON]:
    """Let ``model`` answer, streamed, with the tools of the demo; a tool that fails is told to it.

    Raises what the client raises when the server cannot be reached or refuses, and NoAnswer after ``MAX_ROUNDS``.
    """
    tools: dict[str, Tool] = {"search": library.search, "read_source": library.read_source, "run_example": run_example}
    messages: list[Any] = [{"role": "system", "content": PROMPT}, {"role": "user", "content": question}]
    for _ in range(MAX_ROUNDS):
        reply = await _ask(run, client, model.name, messages)
        messages.append(reply.as_message())
        if not reply.calls:
            return {"answer": reply.text, "model": model.name}
        messages.extend(await _results(run, tools, list(reply.calls.values())))
    raise NoAnswer(f"{model.name} called tools {MAX_ROUNDS} times and gave no answer")


async def _ask(run: Run, client: "AsyncOpenAI", name: str, messages: list[Any]) -> _Reply:
    """Stream one reply, telling its text as it comes.

    The lines are read here, to the end of the response: the client's own stream stops at ``[DONE]`` and leaves
    half-read generators behind, of which trio rightly complains. So does leaving the loop early: a cancellation is to
    arrive where it reads.
    """
    reply = _Reply()
    specs: Any = SPECS
    create = client.chat.completions.with_streaming_response.create
    async with create(model=name, messages=messages, tools=specs, stream=True) as response:
        async for line in response.iter_lines():
            for delta in _deltas(line, reply):
                with run.shield():
                    await _add(run, reply, delta)
    if reply.error:
        raise NoAnswer(f"the server of {name} says: {reply.error}")
    return reply


def _deltas(line: str, reply: _Reply) -> list[dict[str, Any]]:
    """Return what a line of the stream adds; an error that the server sends in the stream is kept in ``reply``."""
    if not line.startswith("data:") or line.endswith("[DONE]"):
        return []
    chunk: dict[str, Any] = json.loads(line.removeprefix("data:"))
    if "error" in chunk:
        reply.error = str(chunk["error"])
    return [choice["delta"] for choice in chunk.get("choices", [])[:1]]


async def _add(run: Run, reply: _Reply, delta: dict[str, Any]) -> None:
    if text := delta.get("content"):
        reply.text += text
        await run.output(text)
    for call in delta.get("tool_calls") or ():
        function: dict[str, str] = call.get("function") or {}
        reply.add_call(call["index"], call.get("id"), function.get("name"), function.get("arguments"))


async def _results(run: Run, tools: dict[str, Tool], calls: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return the answers to tool calls, in their order; they run at the same time."""
    contents = [""] * len(calls)

    async def perform(number: int, call: dict[str, str]) -> None:
        contents[number] = await _result(run, tools, call)

    async with trio.open_nursery() as nursery:
        for number, call in enumerate(calls):
            nursery.start_soon(perform, number, call)
    return [
        {"role": "tool", "tool_call_id": call["id"], "content": text}
        for call, text in zip(calls, contents, strict=True)
    ]


async def _result(run: Run, tools: dict[str, Tool], call: dict[str, str]) -> str:
    """Return what one tool says, as text; its failure is told to the model, which may do better."""
    try:
        arguments: dict[str, object] = json.loads(call["arguments"] or "{}")
        result = await run.call_tool(tools[call["name"]], timeout=TOOL_SECONDS, **arguments)
    except Exception as error:  # noqa: BLE001 - whatever a tool, or what the model made of its arguments, raises
        return f"{type(error).__name__}: {error}"
    return json.dumps(result, ensure_ascii=False)[:MAX_RESULT]


def _spec(tool: str, description: str, required: tuple[str, ...], /, **properties: str) -> dict[str, Any]:
    """Return a tool as a model is told of it; ``properties`` are names and JSON types."""
    schema = {
        "type": "object",
        "properties": {key: {"type": kind} for key, kind in properties.items()},
        "required": list(required),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": tool, "description": description, "parameters": schema}}


SPECS = (
    _spec(
        "search",
        "Search the standard library's names, docstrings and code; of one module if it is given.",
        ("query",),
        query="string",
        limit="integer",
        module="string",
    ),
    _spec(
        "read_source",
        "Signature, docstring and source, with its place, of a name such as DictReader in csv.",
        ("module", "name"),
        module="string",
        name="string",
    ),
    _spec(
        "run_example",
        "Run a short piece of Python apart from the server; returns what it printed.",
        ("code",),
        code="string",
    ),
)
