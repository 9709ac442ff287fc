"""The response to one HTTP request of an ASGI call. It is written in trio, and sent in the web server's library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from transport.asgi.writer import AsgiWriter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Message, Receive, Send

    from transport.adapters.answers import Answer
    from transport.asgi.tasks import Tasks

_WHOLE = {"Cache-Control": "no-store"}
_PIECES = {
    # no-transform: a proxy that compresses would hold events back until its buffer is full.
    "Cache-Control": "no-cache, no-transform",
    # nginx then passes each piece on at once, whatever `proxy_buffering` says.
    "X-Accel-Buffering": "no",
}


class ResponseOwner(Protocol):
    """The code that a response notifies. The methods must not wait or raise. They may be called in any library."""

    def on_drained(self) -> None:
        """Continue to write: the client has taken all bytes, after it had not taken them for some time."""

    def on_stuck(self) -> None:
        """End the response: the client has taken nothing for ``slow_seconds``, or too much waits for it."""

    def on_lost(self) -> None:
        """Handle that the client has left, or that the response is over."""

    def on_going_away(self) -> None:
        """Say goodbye, since the web server ends the call."""


class Response(AsgiWriter):
    """The response to one request.

    Args:
        send: The ``send`` of the ASGI call.
        tasks: The library of the ASGI call.
        slow_seconds: Time after which a client that takes nothing is given up.
        headers: Header fields of every response.
    """

    __slots__ = ("_headers", "begun", "ended", "owner")

    def __init__(self, send: Send, tasks: Tasks, slow_seconds: float, headers: Mapping[str, str]) -> None:
        super().__init__(send, tasks, slow_seconds)
        self._headers = headers
        self.begun = False
        """Whether the status was written."""
        self.ended = False
        """Whether the last part was written."""
        self.owner: ResponseOwner | None = None
        """The code that is notified. None before the request is handled, and after."""

    @property
    def slow_seconds(self) -> float:
        """Time in seconds after which a client that takes nothing is given up."""
        return self._slow_seconds

    @property
    def lost(self) -> bool:
        """Whether the client has left, or the response is over."""
        return self._lost

    # Writing, in trio

    def answer(self, answer: Answer) -> None:
        """Write a whole response."""
        head, body = self.messages(answer)
        self.ended = True
        self.write(head)
        self.write(body, len(answer.body))

    def begin(self, content_type: str, headers: Mapping[str, str]) -> None:
        """Begin a response with status 200. Its parts follow."""
        self.write(self._head(200, content_type, {**_PIECES, **headers}, None))
        # Sent now: some servers send the head together with the first bytes of the body.
        self._part(b"", more=True)

    def part(self, body: bytes) -> None:
        """Write the next part of the response."""
        if body:
            self._part(body, more=True)

    def end(self) -> None:
        """End the response. Do nothing if it has ended already."""
        if self.begun and not self.ended:
            self._part(b"", more=False)

    def messages(self, answer: Answer) -> tuple[Message, Message]:
        """Return the ASGI messages of a whole response, for a caller that sends them itself."""
        head = self._head(answer.status, answer.content_type, {**_WHOLE, **answer.headers}, len(answer.body))
        return head, {"type": "http.response.body", "body": answer.body, "more_body": False}

    def _head(self, status: int, content_type: str, headers: Mapping[str, str], length: int | None) -> Message:
        self.begun = True
        fields = {"Content-Type": content_type, **headers, **self._headers}
        if length is not None and status != 204:  # noqa: PLR2004 - HTTP's own number
            fields["Content-Length"] = str(length)
        encoded = [(name.lower().encode(), text.encode("latin-1", "replace")) for name, text in fields.items()]
        return {"type": "http.response.start", "status": status, "headers": encoded}

    def _part(self, body: bytes, *, more: bool) -> None:
        self.ended = not more
        self.write({"type": "http.response.body", "body": body, "more_body": more}, len(body))

    # The web server's side, in its own library

    async def read(self, receive: Receive) -> None:
        """Wait until the client has left, or the response was sent."""
        while not self._lost:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
        self.lose()

    def go_away(self) -> None:
        """Let the owner say goodbye, because the web server ends the ASGI call."""
        if self.owner is None:
            self.lose()
        else:
            self.owner.on_going_away()

    def lose(self) -> None:
        """Write no more: the client has left, or the response is over. Can be called more than once."""
        super().lose()
        if self.owner is not None:
            self.owner.on_lost()

    def on_drained(self) -> None:
        """Notify the owner that the server has taken all parts."""
        if self.owner is not None:
            self.owner.on_drained()

    def on_stuck(self) -> None:
        """Notify the owner that the client takes nothing."""
        if self.owner is None:
            self.lose()
        else:
            self.owner.on_stuck()
