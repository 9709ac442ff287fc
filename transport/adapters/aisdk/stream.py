"""The response that shows one run: server-sent events with the chunks of a UI message stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from transport.adapters.aisdk.encoder import Encoder
from transport.adapters.answers import Answer, Refused
from transport.adapters.format import Format

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from transport.adapters.aisdk.encoder import Chunk

HEADERS = {"x-vercel-ai-ui-message-stream": "v1"}
"""The header field by which clients know the protocol and its version."""

_DONE = b"data: [DONE]\n\n"
_NOT_KEPT = "the events of this run are no longer kept"


class MessageStream(Format):
    """The format of one run's response. It leaves out everything before the run's start, and ends with the run.

    Args:
        run_id: Id of the run. Its start must be in the log when the stream begins.
    """

    headers = HEADERS

    def __init__(self, run_id: str) -> None:
        super().__init__()
        self._encoder = Encoder(run_id)
        self._mark = orjson.dumps(run_id)
        self._latest = 0
        """Seq of the newest event at the beginning. The run's start is not after it."""

    def welcome(self, frame: dict[str, Any]) -> bytes:
        """Note how far the log goes. Return an error if it has no events."""
        self._latest = frame["latest"]
        return self._refuse(_NOT_KEPT) if frame["oldest"] > self._latest else b""

    def events(self, lines: Sequence[bytes]) -> bytes:
        """Return the chunks of some events."""
        if not self._encoder.started:
            # Most lines before the run's start belong to other runs: they need not be parsed.
            first = next((place for place, line in enumerate(lines) if self._mark in line), len(lines))
            if first == len(lines):
                is_lost = orjson.loads(lines[-1])["seq"] >= self._latest
                return self._refuse(_NOT_KEPT) if is_lost else b""
            lines = lines[first:]
        made = as_bytes(chunk for line in lines for chunk in self._encoder.feed(orjson.loads(line)))
        self.over = self._encoder.over
        return made + _DONE if self.over else made

    def goodbye(self, code: int, reason: str, retry_ms: int | None) -> bytes:
        """Return an error, because the run goes on: the client can reconnect."""
        del code, retry_ms
        return self._refuse(f"disconnected: {reason}")

    def refusal(self, refused: Refused) -> Answer:
        """Return the response in place of a stream that is refused."""
        return refusal(refused)

    def _refuse(self, reason: str) -> bytes:
        self.over = True
        return as_bytes([{"type": "error", "errorText": reason}]) + _DONE


def as_bytes(chunks: Iterable[Chunk]) -> bytes:
    """Return chunks as server-sent events."""
    return b"".join(b"data: %b\n\n" % orjson.dumps(chunk) for chunk in chunks)


def refusal(refused: Refused) -> Answer:
    """Return the response to a refused request. The client shows its text as the error's message."""
    return text_answer(refused.status, refused.reason, refused.retry_ms)


def text_answer(status: int, text: str, retry_ms: int | None = None) -> Answer:
    """Return a response with a text for people."""
    headers = {} if retry_ms is None else {"Retry-After": str(-(-retry_ms // 1000))}
    if status == 401:  # noqa: PLR2004 - HTTP's own number
        headers["WWW-Authenticate"] = "Bearer"
    return Answer(status, text.encode("utf-8", "replace"), "text/plain; charset=utf-8", headers)
