"""The decision where a client that attaches to a session begins to read its events. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from actors.events.types import ResetReason

if TYPE_CHECKING:
    from actors.events.types import Position


@attrs.frozen
class ResumeDecision:
    """The decision for an attaching client: its first event to read, and whether it must drop its old events."""

    after: int
    """Seq after which the client begins to read events."""
    recovered: bool
    """Whether the client continues at its own position and misses no event."""
    reset: ResetReason | None = None
    """The reason why the client must drop the events that it has; None if there is no reason."""


def decide(*, epoch: str, oldest: int, latest: int, resume: Position | None, from_latest: bool) -> ResumeDecision:
    """Choose the first event that an attaching client reads. Decide whether the client must drop its old events.

    The epoch (random id of the log) is compared first: a position in another log means nothing in this log. A client at
    the newest event recovers even if everything was trimmed. If an event after the client's position is missing, the
    client gets a reset: it drops its events and reads from the oldest kept event.

    Args:
        epoch: Epoch of the session's log.
        oldest: Lowest seq that the log keeps; ``latest + 1`` if it keeps no event.
        latest: Seq of the newest committed event.
        resume: Position of the client; None for a client without a position.
        from_latest: Whether a client without a position wants new events only.
    """
    if resume is None:
        return ResumeDecision(latest if from_latest else oldest - 1, recovered=False)
    if resume.epoch != epoch:
        return ResumeDecision(oldest - 1, recovered=False, reset=ResetReason.EPOCH_CHANGED)
    if resume.seq > latest:
        return ResumeDecision(oldest - 1, recovered=False, reset=ResetReason.AHEAD)
    # A client at `oldest - 1` misses nothing: the next event that it needs is `oldest`.
    if resume.seq < oldest - 1:
        return ResumeDecision(oldest - 1, recovered=False, reset=ResetReason.TRIMMED)
    return ResumeDecision(resume.seq, recovered=True)
