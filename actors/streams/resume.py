"""Where a client that comes (back) is to read on: the resume decision (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from actors.events.types import Position

EPOCH_CHANGED, TRIMMED, AHEAD = "epoch_changed", "trimmed", "ahead"


@attrs.frozen
class Start:
    """Read what is above ``after``. ``recovered``: nothing is missing. ``reset``: why what the client has is void."""

    after: int
    recovered: bool
    reset: str | None = None


def decide(*, epoch: str, oldest: int, latest: int, resume: Position | None, from_latest: bool) -> Start:
    """Say what a client that was at ``resume`` gets from a log with that epoch, ``oldest`` kept and ``latest`` seq.

    The epoch is compared first: positions of another log mean nothing. ``seq`` = ``latest`` recovers whatever was
    trimmed. Otherwise nothing is replayed in part: the client is reset and reads from the oldest kept event.
    """
    if resume is None:
        return Start(latest if from_latest else oldest - 1, recovered=False)
    if resume.epoch != epoch:
        return Start(oldest - 1, recovered=False, reset=EPOCH_CHANGED)
    if resume.seq > latest:
        return Start(oldest - 1, recovered=False, reset=AHEAD)
    if resume.seq < oldest - 1:
        return Start(oldest - 1, recovered=False, reset=TRIMMED)
    return Start(resume.seq, recovered=True)
