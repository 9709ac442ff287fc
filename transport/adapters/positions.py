"""The position in a request for events: the parameters ``after`` and ``strict``, and the header ``Last-Event-ID``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from actors import Position
from actors.spi import MAX_SEQ
from transport.adapters.answers import Refused
from transport.protocol import close_codes
from transport.protocol.names import StartFrom

if TYPE_CHECKING:
    from transport.adapters.request import HttpRequest


@attrs.frozen
class Start:
    """The place at which a client wants its events to begin."""

    resume: Position | None
    from_latest: bool


def start_of(request: HttpRequest) -> Start:
    """Return the place at which the events of a request begin. ``Last-Event-ID`` counts before ``after``.

    *A browser's EventSource comes back with the URL of its first request, and names its position in the header.*

    Raises:
        Refused: The position cannot be read.
    """
    given = request.headers.get("last-event-id") or request.query.get("after") or StartFrom.OLDEST
    if given in {StartFrom.OLDEST, StartFrom.LATEST}:
        return Start(None, given == StartFrom.LATEST)
    epoch, colon, digits = given.rpartition(":")
    if not colon or not (digits.isascii() and digits.isdigit()) or len(digits) > len(str(MAX_SEQ)):
        raise Refused(close_codes.BAD_FRAME, "a position must be EPOCH:SEQ, oldest or latest")
    seq = int(digits)
    if seq > MAX_SEQ:
        raise Refused(close_codes.BAD_FRAME, f"seq must be from 0 to {MAX_SEQ}")
    return Start(Position(epoch, seq), from_latest=False)


def flag(request: HttpRequest, name: str) -> bool:
    """Return whether a parameter is ``1`` or ``true``. Raise ``Refused`` for another value than ``0`` or ``false``."""
    given = request.query.get(name, "0")
    if given not in {"0", "1", "false", "true"}:
        raise Refused(close_codes.BAD_FRAME, f"{name} must be 0 or 1")
    return given in {"1", "true"}


def seconds(request: HttpRequest, name: str) -> float | None:
    """Return a parameter that is a time in seconds. None if it is absent. Raise ``Refused`` for another value."""
    given = request.query.get(name)
    if given is None:
        return None
    whole, _, rest = given.partition(".")
    if not (whole.isascii() and whole.isdigit() and ((rest.isascii() and rest.isdigit()) or not rest)):
        raise Refused(close_codes.BAD_FRAME, f"{name} must be a number of seconds")
    return float(given) if len(whole) < len("1000000000") else float("inf")


def position_of(welcome: dict[str, object], start: Start) -> Position:
    """Return the position that a ``welcome`` frame implies: the events that follow come after it."""
    epoch, oldest, latest = str(welcome["epoch"]), _whole(welcome["oldest"]), _whole(welcome["latest"])
    if welcome["recovered"] and start.resume is not None:
        return Position(epoch, start.resume.seq)
    return Position(epoch, latest if start.from_latest else oldest - 1)


def _whole(value: object) -> int:
    assert isinstance(value, int)  # noqa: S101 - a frame of this server
    return value
