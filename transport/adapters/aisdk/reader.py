"""The message that a client makes of the chunks of one run: ``readUIMessageStream`` of Vercel AI SDK 6. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transport.adapters.aisdk.encoder import Chunk


class MessageReader:
    """One message of the assistant, which grows with each chunk.

    It knows the chunks that :class:`.Encoder` makes. ``abort``, ``error`` and transient parts leave nothing in it.
    """

    def __init__(self) -> None:
        self.message: dict[str, Any] = {"id": "", "role": "assistant", "parts": []}
        """The message, as JSON."""
        self._growing: dict[str, list[str]] = {}
        """The pieces of each text that is open. *Strings that grow by each piece take quadratic time.*"""
        self._known: dict[tuple[str, str], dict[str, Any]] = {}
        """Parts that later chunks change, by their kind and id."""

    def take(self, chunks: Iterable[Chunk]) -> None:
        """Take the next chunks."""
        for chunk in chunks:
            self._take(chunk)

    def _take(self, chunk: Chunk) -> None:
        kind = str(chunk["type"])
        name, _, verb = kind.rpartition("-")
        if "messageMetadata" in chunk:
            self.message["metadata"] = {**self.message.get("metadata", {}), **chunk["messageMetadata"]}
        if kind == "start":
            self.message["id"] = chunk["messageId"]
        elif kind == "start-step":
            self._add({"type": "step-start"})
        elif name in {"text", "reasoning"}:
            self._grow(name, verb, chunk)
        elif kind.startswith("tool-"):
            self._tool(kind, chunk)
        elif kind.startswith("data-") and not chunk.get("transient"):
            self._data(kind, chunk)

    def _add(self, part: dict[str, Any]) -> dict[str, Any]:
        self.message["parts"].append(part)
        return part

    def _grow(self, name: str, verb: str, chunk: Chunk) -> None:
        key = (name, chunk["id"])
        if verb == "start":
            about = {"id": chunk["id"]} if name == "reasoning" else {}
            self._known[key] = self._add({"type": name, **about, "text": "", "state": "streaming"})
            self._growing[chunk["id"]] = []
        elif verb == "delta":
            self._growing[chunk["id"]].append(chunk["delta"])
        else:
            self._known.pop(key).update(text="".join(self._growing.pop(chunk["id"])), state="done")

    def _tool(self, kind: str, chunk: Chunk) -> None:
        key = ("tool", chunk["toolCallId"])
        if kind == "tool-input-available":
            call = {name: chunk[name] for name in ("toolName", "toolCallId", "input", "providerExecuted")}
            self._known[key] = self._add({"type": "dynamic-tool", **call, "state": "input-available"})
        elif kind == "tool-output-available":
            self._known.pop(key).update(state="output-available", output=chunk["output"])
        else:
            self._known.pop(key).update(state="output-error", errorText=chunk["errorText"])

    def _data(self, kind: str, chunk: Chunk) -> None:
        key = (kind, chunk["id"])
        if key in self._known:
            self._known[key]["data"] = chunk["data"]
        else:
            self._known[key] = self._add({"type": kind, "id": chunk["id"], "data": chunk["data"]})
