"""The check of a log: each event against every rule for the order of events (:mod:`actors.events.grammar`).

A fault names the rule that is broken. In addition to G1 to G5 the rules are ``event`` (a line is not an event), ``ts``
(time goes back), ``log`` (the engine finds its own data damaged) and ``state`` (the stream's state cannot be read).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import orjson

from actors.errors import GrammarError, LogCorrupt
from actors.eventlog._walk import StreamWalk
from actors.events.decoding import decode_event
from actors.events.grammar import Grammar, Kind
from actors.events.types import EventType
from actors.failures import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actors.eventlog.base import EventLog, Head, StreamKey
    from actors.events.types import Event

_ATTEMPTS = 3
"""Maximum number of attempts to check a session. A new attempt is made if the session was removed and made anew."""
_OPENING = {
    EventType.TOOL_COMPLETED: (EventType.TOOL_EXECUTING, Kind.CALL),
    EventType.INPUT_RECEIVED: (EventType.INPUT_REQUESTED, Kind.INPUT),
    EventType.INPUT_WITHDRAWN: (EventType.INPUT_REQUESTED, Kind.INPUT),
}
"""For each event type that closes a tool call or a question: the type of the opening event, and the kind of item."""


@attrs.frozen
class LogFault:
    """A fault in a log: a rule that is broken, and the event that breaks it."""

    user: str
    session: str
    seq: int
    """Seq of the event that breaks the rule. If events are missing at the session's end, the seq of the newest event.

    The seq is 0 if the session could not be read at all.
    """
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.user!r} {self.session}: seq {self.seq}: {self.rule}: {self.message}"


@attrs.frozen
class LogReport:
    """The result of the check of a log: the numbers of checked sessions and events, and all faults that were found."""

    sessions: int
    events: int
    faults: tuple[LogFault, ...]


async def verify_log(
    log: EventLog, on_progress: Callable[[int, int, int], None] = lambda _done, _all, _events: None
) -> LogReport:
    """Check every session in an open log, and change nothing.

    Events that are appended to a session during its check are not checked. Events that retention has dropped are
    assumed to have been correct.

    Args:
        log: An open log. To check a file that a server has open, open it with ``read_only``.
        on_progress: Called with the number of checked sessions, of all sessions, and of the events checked so far.

    Raises:
        LogUnavailable: The log cannot be read.

    Cancellation: nothing is left behind.
    """
    sessions, events = 0, 0
    faults: list[LogFault] = []
    keys = await log.streams()
    for number, key in enumerate(keys):
        on_progress(number, len(keys), events)
        head, count = await _verify_stream(log, key, faults)
        sessions += head is not None
        events += count
    return LogReport(sessions, events, tuple(faults))


async def _verify_stream(log: EventLog, key: StreamKey, faults: list[LogFault]) -> tuple[Head | None, int]:
    for _ in range(_ATTEMPTS):
        walk = await _begin(log, key, faults)
        if walk is None:  # removed since it was listed, or damaged
            return None, 0
        found, count = await _check(key, walk)
        if not walk.gone:
            faults += found
            return walk.head, count
    message = f"not checked: the session began anew {_ATTEMPTS} times while it was read"
    faults.append(LogFault(*key, 0, "log", message))
    return None, 0


async def _begin(log: EventLog, key: StreamKey, faults: list[LogFault]) -> StreamWalk | None:
    try:
        return await StreamWalk.of(log, key)
    except LogCorrupt as error:
        faults.append(LogFault(*key, 0, "log", text_of(error)))
        return None


async def _check(key: StreamKey, walk: StreamWalk) -> tuple[list[LogFault], int]:
    """Check the kept events of a stream. Return the faults, and the number of events that were checked."""
    found: list[LogFault] = []
    check = StreamCheck(walk.head.oldest)
    try:
        while lines := await walk.page():
            first = walk.position - len(lines) + 1
            if first != check.expected:  # the server has trimmed the next events, and so all that were checked
                found, check = [], StreamCheck(first)
            for line in lines:
                found += [LogFault(*key, check.seq, rule, message) for rule, message in check.take(line)]
    except LogCorrupt as error:
        return [*found, LogFault(*key, check.seq + 1, "log", text_of(error))], check.count
    if walk.position >= check.expected:
        return [], 0  # the server has trimmed all of it
    found += [LogFault(*key, walk.head.latest, rule, message) for rule, message in check.end(walk.head)]
    return found, check.count


class StreamCheck:
    """The check of one session's events.

    Pass each line of the session to :meth:`take`, from the line with seq ``oldest`` on. Then call :meth:`end`.
    """

    def __init__(self, oldest: int) -> None:
        self.seq = oldest - 1
        """Seq of the last event that was checked; ``oldest - 1`` before the first event is checked."""
        self.expected = oldest
        """Seq that the next line should have, counted from ``oldest``, even if lines have wrong numbers."""
        self.count = 0
        """Number of lines that were passed to :meth:`take`."""
        self._trimmed = oldest > 1
        self._grammar = Grammar()
        # Items to which at least one of the seen events belongs, closed items included.
        self._known: set[tuple[str, str]] = set()
        self._ts = 0

    def take(self, line: bytes) -> Iterator[tuple[str, str]]:
        """Check the session's next line. Yield (rule, message) for each rule that the line breaks."""
        expected = self.seq + 1
        self.seq = expected
        self.expected += 1
        self.count += 1
        try:
            event = decode_event(orjson.loads(line))
        except (ValueError, AttributeError) as error:
            yield "event", str(error)
            return
        self.seq = event.seq
        if event.seq != expected:
            yield "G1", f"seq {event.seq} stands where {expected} should be"
        if event.ts < self._ts:
            yield "ts", f"{event.ts} comes after {self._ts}"
        self._ts = max(self._ts, event.ts)
        yield from self._apply(event)

    def end(self, head: Head) -> Iterator[tuple[str, str]]:
        """Compare the checked events with the stream's summary ``head``. Yield (rule, message) for each broken rule.

        Call this after the last line.
        """
        if self.seq != head.latest:
            yield "G1", f"the newest event is {self.seq}, the log says {head.latest}"
        try:
            # See actors.streams._record for the layout of a state.
            record: list[Any] = orjson.loads(head.state) if head.state else [0, []]
            remembered = {(item.kind, item.id) for item in Grammar.restore(record[1]).open}
        except (ValueError, TypeError, LookupError) as error:
            yield "state", f"what is open cannot be read: {error}"
            return
        is_open = {(item.kind, item.id) for item in self._grammar.open}
        for kind, id_ in sorted(is_open - remembered):
            yield "G5", f"{kind} {id_} is open, and nothing remembers to close it"
        for kind, id_ in sorted(remembered - is_open):
            # An item that no kept event mentions may have been opened by a trimmed one: then it may well be open.
            if not self._trimmed or (kind, id_) in self._known:
                yield "G5", f"{kind} {id_} is remembered as open, and is not"

    def _apply(self, event: Event) -> Iterator[tuple[str, str]]:
        # If the beginning of the stream was trimmed, an event may belong to an item that was opened there.
        if self._trimmed:
            self._presume(event)
        if event.type == EventType.AGENT_STARTED and (Kind.RUN, str(event.run_id)) in self._known:
            yield "G2", f"run {event.run_id} was started before"
        name = str(getattr(event, "agent", getattr(event, "tool", "")))
        try:
            self._grammar.apply(
                event.type, event.run_id, event.call_id, parent_run_id=event.parent_run_id, name=name, ts=event.ts
            )
        except GrammarError as error:
            yield error.rule, str(error).removeprefix(f"{error.rule}: ")
        self._note(event)

    def _note(self, event: Event) -> None:
        if event.run_id is not None:
            self._known.add((Kind.RUN, event.run_id))
        for opening, kind in _OPENING.values():
            if event.type == opening and event.call_id is not None:
                self._known.add((kind, event.call_id))

    def _presume(self, event: Event) -> None:
        """Open the run, tool call or question that an event belongs to, if the opening event was perhaps trimmed."""
        if event.parent_run_id is not None:
            self._presume_run(event.parent_run_id, None)
        if event.run_id is not None and event.type != EventType.AGENT_STARTED:
            self._presume_run(event.run_id, event.parent_run_id)
        if event.type in _OPENING and event.call_id is not None:
            opening, kind = _OPENING[EventType(event.type)]
            if (kind, event.call_id) not in self._known:
                self._try(opening, event.run_id, event.call_id)

    def _presume_run(self, run_id: str, parent_run_id: str | None) -> None:
        if (Kind.RUN, run_id) not in self._known:
            self._known.add((Kind.RUN, run_id))
            self._try(EventType.AGENT_STARTED, run_id, parent_run_id=parent_run_id)

    def _try(self, event: str, run_id: str | None, call_id: str | None = None, **fields: Any) -> None:
        try:
            self._grammar.apply(event, run_id, call_id, **fields)
        except GrammarError:
            return  # the event itself breaks the rule too, and is reported
