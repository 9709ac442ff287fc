"""A format: the frames of ``greenroom.v1`` to a client, as the bytes of a response."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from transport.adapters.answers import Answer, Refused, refusal_answer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EVENT_STREAM = "text/event-stream; charset=utf-8"
"""The content type of server-sent events (WHATWG HTML, section 9.2)."""


class Format:
    """The base class of formats. Each object formats one response. The methods are called in trio and must not wait.

    By default all frames but events are left out.
    """

    content_type = EVENT_STREAM
    """The content type of the response."""
    headers: Mapping[str, str] = MappingProxyType({})
    """Further header fields of the response, unless it is sent at its end."""
    is_whole = False
    """Whether the response is sent at its end, as :meth:`whole` returns it, and not piece by piece."""

    def __init__(self) -> None:
        self.over = False
        """Whether the response is complete. A method sets it to True to end the stream after the bytes it returns."""

    def welcome(self, frame: dict[str, Any]) -> bytes:
        """Return the bytes of the ``welcome`` frame, the first of all. It has the position of the session."""
        del frame
        return b""

    def events(self, lines: Sequence[bytes]) -> bytes:
        """Return the bytes of some events. Each of the ``lines`` is the JSON of one event, as the log stores it.

        The events come in their order, each once, without a gap.
        """
        raise NotImplementedError

    def signal(self, frame: bytes) -> bytes:
        """Return the bytes of a ``signal`` frame."""
        del frame
        return b""

    def other(self, frame: bytes) -> bytes:
        """Return the bytes of another frame: ``token`` or ``error``."""
        del frame
        return b""

    def goodbye(self, code: int, reason: str, retry_ms: int | None) -> bytes:
        """Return the last bytes of a stream that the server ends. The arguments are those of a ``goodbye`` frame."""
        del code, reason, retry_ms
        return b""

    def comment(self) -> bytes:
        """Return bytes without a meaning. They show the client, and proxies, that the connection lives."""
        return b":\n\n"

    def whole(self) -> Answer:
        """Return the whole response, if :attr:`is_whole` is True. Called once, at its end."""
        raise NotImplementedError

    def refusal(self, refused: Refused) -> Answer:
        """Return the response in place of a stream that is refused before its welcome."""
        return refusal_answer(refused)
