"""The frames of one stream as parts of a response, and the end of the response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import trio

from transport.adapters.answers import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from transport.adapters.format import Format
    from transport.adapters.response import Response


class StreamFrames:
    """The part of a :class:`.StreamWire` that writes frames to the response, in a format.

    Args:
        response: The response.
        format_: The format of the response.
        comment_seconds: The longest silence, after which a comment is written.
    """

    def __init__(self, response: Response, format_: Format, comment_seconds: float) -> None:
        self.connection = ""
        """Id of the connection. Empty before the welcome."""
        self.on_welcome: Callable[[], None] = _nothing
        """Called when the welcome was written."""
        self._response = response
        self._format = format_
        self._comment_seconds = comment_seconds
        self._nursery: trio.Nursery
        self._welcomed = False
        self._closed = False
        """Whether nothing more is written but the end of the response."""
        self._wrote_at = 0.0

    # The state of the network

    @property
    def blocked(self) -> bool:
        """Whether the client has not taken all bytes yet."""
        return self._response.blocked

    @property
    def pending(self) -> int:
        """Number of bytes that the network did not take yet."""
        return self._response.pending

    @property
    def blocked_seconds(self) -> float:
        """Seconds for which the client has taken nothing, although bytes wait."""
        return self._response.blocked_seconds

    @property
    def is_open(self) -> bool:
        """Whether the client is still there, and the response not complete."""
        return not self._closed and not self._response.lost

    def end(self) -> None:
        """Write nothing more but the end of the response."""
        self._closed = True

    # For the wire

    def _welcome(self, frame: dict[str, Any]) -> None:
        self.connection = str(frame["connection"])
        self._welcomed = True
        if not self._format.is_whole:
            self._response.begin(self._format.content_type, self._format.headers)
            self._nursery.start_soon(self._comment)
        self._write(self._format.welcome(frame))
        self.on_welcome()

    def _goodbye(self, frame: dict[str, Any]) -> None:
        retry_ms = cast("int | None", frame.get("retry_ms"))
        if self._welcomed:
            self._write(self._format.goodbye(frame["code"], frame["reason"], retry_ms))
            return
        refused = Refused(frame["code"], frame["reason"])
        refused.retry_ms = retry_ms
        self._refuse(refused)

    def _refuse(self, refused: Refused) -> None:
        self._closed = True
        self._response.answer(self._format.refusal(refused))

    async def _comment(self) -> None:
        """Write a comment after each silence of ``comment_seconds``."""
        while not self._closed:
            left = self._wrote_at + self._comment_seconds - trio.current_time()
            if left > 0:
                await trio.sleep(left)
            elif self.blocked:  # bytes wait already, and show the same
                self._wrote_at = trio.current_time()
            else:
                self._write(self._format.comment())

    def _write(self, data: bytes) -> None:
        if not self._format.is_whole:
            self._response.part(data)
            self._wrote_at = trio.current_time()
        if self._format.over:
            self.end()

    def _finish(self) -> None:
        """Write the end of the response, if it is not written yet."""
        self._closed = True
        if self._response.begun or not self._welcomed:
            self._response.end()
        else:
            self._response.answer(self._format.whole())


def _nothing() -> None:
    """Do nothing."""
