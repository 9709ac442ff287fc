"""The recorder: it adds the events of a session's runs to the session's stream, after a check of their order."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING

import attrs
import orjson
import trio

from actors.errors import LogUnavailable
from actors.events.encoding import encode
from actors.events.grammar import Kind
from actors.events.line import envelope
from actors.events.redaction import redact_text
from actors.events.types import Status
from actors.loop.threads import wrong_place
from actors.runs._meter import Meter
from actors.runs._outcome import Outcome
from actors.runs._question import Question

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.eventlog.base import StreamKey
    from actors.events.grammar import Open
    from actors.events.redaction import Redact
    from actors.events.types import JSON
    from actors.loop.asyncio_host import AsyncioHost
    from actors.runs._agents import Agents
    from actors.runs._protocols import Closable, RunSettings
    from actors.runs._tool_threads import ToolThreads
    from actors.runs.inputs import InputType
    from actors.streams._accounts import UserAccount
    from actors.streams._signals import Signals
    from actors.streams._stream import SessionStream


@attrs.define(eq=False)
class RunRecorder:
    """The parts of one session that its runs use, and the methods that record the events of runs.

    The session makes its recorder. Runs get only this object, so a run cannot reach other sessions.
    """

    stream: SessionStream
    agents: Agents
    settings: RunSettings
    redact: Redact
    signals: Signals
    scope: trio.CancelScope
    """The cancel scope around all runs of the session. The scope is cancelled when the session fails or is killed."""
    threads: ToolThreads
    account: UserAccount
    host: AsyncioHost | None = None
    """The asyncio loop that hosts trio; None if the server does not run inside asyncio."""
    clock: Callable[[], float] = trio.current_time
    """The time on trio's clock, in seconds."""
    meter: Meter = attrs.Factory(Meter)
    """The counts of ended runs and tool calls of the server."""
    runs: dict[str, Closable] = attrs.Factory(dict[str, "Closable"])
    """The open runs of the session, by run id. Sub-agents are included."""
    questions: dict[str, Question] = attrs.Factory(dict[str, "Question"])
    """The questions that have no answer yet, by call id (a call id identifies a question or a tool call)."""
    stopping: bool = False
    """Whether the session was asked to stop. A failure or a kill of the session does not set this."""

    @property
    def key(self) -> StreamKey:
        """The user and the session."""
        return self.stream.key

    @property
    def cancelled_as(self) -> Status:
        """Status of runs that end because their session ends.

        The status is ``interrupted`` if the session failed, and ``cancelled`` if the session was stopped.
        """
        return Status.INTERRUPTED if self.scope.cancel_called and not self.stopping else Status.CANCELLED

    def encode(self, value: object) -> bytes:
        """Encode the data of an event as JSON text.

        Raise :class:`~actors.UnserialisableEvent` if the value is not JSON or is larger than ``max_event_bytes``.
        """
        return encode(value, self.settings.max_event_bytes)

    @trio.lowlevel.enable_ki_protection
    def record(  # noqa: PLR0913 - the fields of an event
        self,
        event: str,
        data: bytes,
        run_id: str,
        call_id: str | None = None,
        *,
        parent_run_id: str | None = None,
        name: str = "",
    ) -> None:
        """Append an event that opens or closes a run, a tool call or a question. Never wait.

        The grammar (the rules for the order of events) must allow the event. ``parent_run_id`` is needed only for the
        start of a run. For later events the parent is known.

        Raise RuntimeError outside of the thread of the session's event loop. If any exception is raised (for example a
        RecursionError), nothing has changed.
        """
        stream = self.stream
        if get_ident() != stream.thread:
            raise wrong_place("an emit")
        # Before the grammar is asked. Once the log has failed, the grammar is out of date, and would be wrong.
        stream.require_log()
        ts = stream.now()
        run = stream.grammar.run(run_id)
        parent = parent_run_id if run is None else run.parent_run_id
        items = stream.grammar.check(event, run_id, call_id, parent_run_id=parent, name=name, ts=ts)
        stream.put(envelope(event, run_id, parent, call_id), data, at=ts)
        # After the event was put, and fewer calls deep than the put: this does not fail, even if the stack is full.
        stream.changes.append((stream.seq, items))
        stream.grammar.change(items)

    def encode_closing(self, outcome: Outcome, **fields: object) -> bytes:
        """Encode the data of the event that closes a run or a tool call.

        The size of a result is limited by ``max_event_bytes``. An error is always encoded, even if it is larger.
        """
        if outcome.error is None:
            ending: dict[str, object] = {
                "status": outcome.status,
                "result": orjson.Fragment(encode(outcome.result, self.settings.max_event_bytes)),
            }
        else:
            ending = {"status": outcome.status, "error": self._redacted(outcome.status, outcome.error)}
        return orjson.dumps({**fields, **ending})

    def _redacted(self, status: Status, error: dict[str, JSON]) -> dict[str, JSON]:
        """Return the error as clients get it. Remove the secrets from a message that comes from foreign code."""
        if status is not Status.ERROR:
            return error
        return {**error, "message": redact_text(self.redact, str(error.get("message", "")))}

    def close(self, event: str, data: bytes, run_id: str, call_id: str | None = None) -> bool:
        """Append an event that closes a run, a tool call or a question. Return False if the log has failed.

        After a failure of the log the session ends. The session appends the closing event when it is made again from
        the log.
        """
        try:
            self.record(event, data, run_id, call_id)
        except LogUnavailable:
            return False
        return True

    def open_question(self, run_id: str, call_id: str, expected: InputType | None = None) -> Question:
        """Store a new open question of a run, count it for the user, and return it.

        An answer must have the type ``expected``, if it is not None. The caller must call :meth:`forget_question`
        later.
        """
        question = self.questions[call_id] = Question(run_id, expected)
        self.account.count_questions(1)
        return question

    def forget_question(self, call_id: str) -> None:
        """Forget a question, also if it was answered or withdrawn before. The user then has one open question less."""
        self.questions.pop(call_id, None)
        self.account.count_questions(-1)

    def withdraw(self, run_id: str, call_id: str, reason: str) -> None:
        """Emit ``input_withdrawn``, which closes an open question without an answer. Never wait.

        Do nothing if the question was answered, or was closed together with its run.
        """
        if self.questions.pop(call_id, None) is not None and run_id in self.runs:
            self.close("input_withdrawn", orjson.dumps({"reason": reason}), run_id, call_id)

    def close_within(self, run_id: str) -> None:
        """Close all runs and tool calls that are still open inside the run ``run_id``, the innermost first.

        For example, a tool call stays open if it was made in a generator that was never finished.
        """
        for item in self.stream.grammar.within(run_id):
            if item.kind is Kind.CALL:
                self._close_left("tool_completed", "tool", item, item.id)
            elif item.kind is Kind.RUN:
                self._close_left("agent_completed", "agent", item, None)
                # A run that ended after the log had failed is no longer here, and no event has closed it.
                if (run := self.runs.get(item.id)) is not None:
                    run.abandon(Outcome.stopped(Status.CANCELLED, "the run that it was part of is over"))

    def close_all(self) -> None:
        """Close all runs of the session that are still open although they were cancelled, the innermost first."""
        for run in [run for run in self.runs.values() if run.parent is None]:
            self.close_within(run.id)
            item = self.stream.grammar.run(run.id)
            if item is not None:
                self._close_left("agent_completed", "agent", item, None)
            run.abandon(Outcome.stopped(Status.CANCELLED, "the run did not end when it was cancelled"))

    def _close_left(self, event: str, label: str, item: Open, call_id: str | None) -> None:
        """Close a run or tool call that was left open, with the status ``cancelled``."""
        # In the time of day, as `started` is: an item may be older than this process.
        spent = max(0, self.stream.now() - item.started)
        outcome = Outcome.stopped(Status.CANCELLED, "the run that it was part of is over")
        data = self.encode_closing(outcome, **{label: item.name}, duration_ms=spent)
        if self.close(event, data, item.run_id, call_id):
            self.meter.ended(event, item.name, outcome.status, spent / 1000)
