"""Whether what a log holds is whole: every rule of the grammar (:mod:`actors.events.grammar`), event by event.

Beside G1 to G5 a fault may be of the rule ``event`` (a line that is not an event), ``ts`` (time goes back), ``log``
(the engine finds its own data damaged) or ``state`` (what is remembered beside the events cannot be read).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import orjson

from actors.errors import GrammarError, LogCorrupt
from actors.eventlog._walk import StreamWalk
from actors.events.decoding import decode_event
from actors.events.grammar import CALL, INPUT, RUN, Grammar
from actors.failures import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors.eventlog.base import EventLog, Head, StreamKey
    from actors.events.types import Event

_ATTEMPTS = 3
"""How often a session is read that is forgotten and begins anew while it is read."""
_OPENING = {
    "tool_completed": ("tool_executing", CALL),
    "input_received": ("input_requested", INPUT),
    "input_withdrawn": ("input_requested", INPUT),
}


@attrs.frozen
class LogFault:
    """One place where a log breaks a rule."""

    user: str
    session: str
    seq: int
    """The event that breaks it; the newest one where what is missing is the fault."""
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.user!r} {self.session}: seq {self.seq}: {self.rule}: {self.message}"


@attrs.frozen
class LogReport:
    """What was looked at, and every fault in it."""

    sessions: int
    events: int
    faults: tuple[LogFault, ...]


async def verify_log(log: EventLog) -> LogReport:
    """Check every session in an open log; nothing is changed. One that a server writes to is checked as it stood.

    What retention has dropped is taken for having been right. Raises :class:`~actors.LogUnavailable`. Safe to cancel.
    """
    sessions, events = 0, 0
    faults: list[LogFault] = []
    for key in await log.streams():
        head, count = await _verify_stream(log, key, faults)
        sessions += head is not None
        events += count
    return LogReport(sessions, events, tuple(faults))


async def _verify_stream(log: EventLog, key: StreamKey, faults: list[LogFault]) -> tuple[Head | None, int]:
    for _ in range(_ATTEMPTS):
        walk = await _begin(log, key, faults)
        if walk is None:
            return None, 0
        found, count = await _check(key, walk)
        if not walk.gone:
            faults += found
            return walk.head, count
    message = f"it began anew {_ATTEMPTS} times while it was read: it was not checked"
    faults.append(LogFault(*key, 0, "log", message))
    return None, 0


async def _begin(log: EventLog, key: StreamKey, faults: list[LogFault]) -> StreamWalk | None:
    try:
        return await StreamWalk.of(log, key)
    except LogCorrupt as error:
        faults.append(LogFault(*key, 0, "log", text_of(error)))
        return None


async def _check(key: StreamKey, walk: StreamWalk) -> tuple[list[LogFault], int]:
    """Return the faults of what is kept of the stream, and how many events were checked."""
    found: list[LogFault] = []
    check = StreamCheck(walk.head.oldest)
    try:
        while lines := await walk.page():
            first = walk.position - len(lines) + 1
            if first != check.expected:  # the server dropped what was to be read, and what was checked
                found, check = [], StreamCheck(first)
            for line in lines:
                found += [LogFault(*key, check.seq, rule, message) for rule, message in check.take(line)]
    except LogCorrupt as error:
        return [*found, LogFault(*key, check.seq + 1, "log", text_of(error))], check.count
    if walk.position >= check.expected:
        return [], 0  # it dropped all of it
    found += [LogFault(*key, walk.head.latest, rule, message) for rule, message in check.end(walk.head)]
    return found, check.count


class StreamCheck:
    """The rules of one session, over its lines from ``oldest`` on: :meth:`take` each, then :meth:`end`. Pure."""

    def __init__(self, oldest: int) -> None:
        self.seq = oldest - 1
        """The event taken last."""
        self.expected = oldest
        """The place of the next line."""
        self.count = 0
        self._trimmed = oldest > 1
        self._grammar = Grammar()
        self._known: set[tuple[str, str]] = set()
        self._ts = 0

    def take(self, line: bytes) -> Iterator[tuple[str, str]]:
        """Take the next line; yield the rules that it breaks, and how."""
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
        """After the last line: compare with where the log says that the session stands."""
        if self.seq != head.latest:
            yield "G1", f"the newest event is {self.seq}, the log says {head.latest}"
        try:
            record: list[Any] = orjson.loads(head.state) if head.state else [0, []]
            remembered = {(item.kind, item.id) for item in Grammar.restore(record[1]).open}
        except (ValueError, TypeError, LookupError) as error:
            yield "state", f"what is open cannot be read: {error}"
            return
        is_open = {(item.kind, item.id) for item in self._grammar.open}
        for kind, id_ in sorted(is_open - remembered):
            yield "G5", f"{kind} {id_} is open, and nothing remembers to close it"
        for kind, id_ in sorted(remembered - is_open):
            if not self._trimmed or (kind, id_) in self._known:
                yield "G5", f"{kind} {id_} is remembered as open, and is not"

    def _apply(self, event: Event) -> Iterator[tuple[str, str]]:
        if self._trimmed:
            self._presume(event)
        if event.type == "agent_started" and (RUN, str(event.run_id)) in self._known:
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
            self._known.add((RUN, event.run_id))
        for opening, kind in _OPENING.values():
            if event.type == opening and event.call_id is not None:
                self._known.add((kind, event.call_id))

    def _presume(self, event: Event) -> None:
        """Open what must have been opened by an event that retention has dropped."""
        if event.parent_run_id is not None:
            self._presume_run(event.parent_run_id, None)
        if event.run_id is not None and event.type != "agent_started":
            self._presume_run(event.run_id, event.parent_run_id)
        if event.type in _OPENING and event.call_id is not None:
            opening, kind = _OPENING[event.type]
            if (kind, event.call_id) not in self._known:
                self._try(opening, event.run_id, event.call_id)

    def _presume_run(self, run_id: str, parent_run_id: str | None) -> None:
        if (RUN, run_id) not in self._known:
            self._known.add((RUN, run_id))
            self._try("agent_started", run_id, parent_run_id=parent_run_id)

    def _try(self, event: str, run_id: str | None, call_id: str | None = None, **fields: Any) -> None:
        try:
            self._grammar.apply(event, run_id, call_id, **fields)
        except GrammarError:
            return  # then the event itself breaks the rule, and says so
