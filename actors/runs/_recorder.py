"""What the runs of one session share: where their events go, and the rules they obey."""

from __future__ import annotations

from contextlib import suppress
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
from actors.loop.threads import wrong_place
from actors.runs._outcome import ended

if TYPE_CHECKING:
    from actors.eventlog.base import StreamKey
    from actors.events.grammar import Open
    from actors.events.redaction import Redact
    from actors.events.types import JSON
    from actors.runs._agents import Agents
    from actors.runs._outcome import Outcome
    from actors.runs._question import Question
    from actors.runs._run import Run
    from actors.runs._tool_threads import ToolThreads
    from actors.sessions._settings import SessionSettings
    from actors.streams._signals import Signals
    from actors.streams._stream import SessionStream


@attrs.define(eq=False)
class RunRecorder:
    """One session's inside, made by the session and handed to its runs. No other session can be reached from it."""

    key: StreamKey
    stream: SessionStream
    agents: Agents
    settings: SessionSettings
    redact: Redact
    signals: Signals
    scope: trio.CancelScope
    """Around all runs: cancelled when the session fails or is killed."""
    threads: ToolThreads
    runs: dict[str, Run] = attrs.Factory(dict[str, "Run"])
    """Open runs by id, children among them: what a cancel looks in."""
    questions: dict[str, Question] = attrs.Factory(dict[str, "Question"])
    """Questions that wait for the user, by call id."""
    stopping: bool = False
    """Whether the session was asked to stop."""

    @property
    def abandoned(self) -> str:
        """The status of what is cancelled by nobody's wish: ``interrupted`` when the session failed under it."""
        return "interrupted" if self.scope.cancel_called and not self.stopping else "cancelled"

    def encode(self, value: object) -> bytes:
        """Encode a payload, within ``max_event_bytes``; raises :class:`~actors.UnserialisableEvent`."""
        return encode(value, self.settings.max_event_bytes)

    @trio.lowlevel.enable_ki_protection
    def record(  # noqa: PLR0913 - what an event has
        self,
        event: str,
        data: bytes,
        run_id: str,
        call_id: str | None = None,
        *,
        parent_run_id: str | None = None,
        name: str = "",
    ) -> None:
        """Put an event that opens or closes something, after the grammar has agreed. Never waits.

        Raises RuntimeError in another thread than the session's. Where this or anything else is raised (RecursionError,
        say) nothing has changed.

        The parent need only be said where a run starts: from then on it is the run's.
        """
        stream = self.stream
        if get_ident() != stream.thread:
            raise wrong_place("an emit")
        # Before the grammar is asked: it stands still once nothing can be put, and no longer knows what is closed.
        stream.require_log()
        ts = stream.now()
        run = stream.grammar.run(run_id)
        parent = parent_run_id if run is None else run.parent_run_id
        # Beside the one that counts, which it replaces once the event is there: no call is left then that could fail.
        grammar = stream.grammar.copy()
        grammar.apply(event, run_id, call_id, parent_run_id=parent, name=name, ts=ts)
        stream.put(envelope(event, run_id, parent, call_id), data, at=ts)
        stream.grammar = grammar

    def encode_closing(self, outcome: Outcome, **fields: object) -> bytes:
        """Encode a closing event's payload. A result obeys ``max_event_bytes``; why something failed is always told."""
        if outcome.error is None:
            ending: dict[str, object] = {
                "status": outcome.status,
                "result": orjson.Fragment(self.encode(outcome.result)),
            }
        else:
            ending = {"status": outcome.status, "error": self._told(outcome.status, outcome.error)}
        return orjson.dumps({**fields, **ending})

    def _told(self, status: str, error: dict[str, JSON]) -> dict[str, JSON]:
        """Return what clients are told of an error: what foreign code raised may have secrets in its text."""
        if status != "error":
            return error
        return {**error, "message": redact_text(self.redact, str(error.get("message", "")))}

    def close(self, event: str, data: bytes, run_id: str, call_id: str | None = None) -> None:
        """Put a closing event. After the log has failed there is nothing to put it in: the next incarnation closes."""
        with suppress(LogUnavailable):
            self.record(event, data, run_id, call_id)

    def withdraw(self, run_id: str, call_id: str, reason: str) -> None:
        """Emit ``input_withdrawn`` for a question that is open. Never waits.

        Nothing happens where the question was answered, or its run is over and took it along.
        """
        if self.questions.pop(call_id, None) is not None and run_id in self.runs:
            self.close("input_withdrawn", orjson.dumps({"reason": reason}), run_id, call_id)

    def close_within(self, run_id: str) -> None:
        """Close what a run has left open (a call in a generator that nobody finished), innermost first."""
        for item in self.stream.grammar.within(run_id):
            if item.kind is Kind.CALL:
                self._abandon("tool_completed", "tool", item, item.id)
            elif item.kind is Kind.RUN:
                self._abandon("agent_completed", "agent", item, None)
                # Not there where it ended after the log had failed: then no event closed it.
                if (run := self.runs.get(item.id)) is not None:
                    run.abandon(ended("cancelled", "the run that it was part of is over"))

    def close_all(self) -> None:
        """Close all runs, innermost first: those that did not end although they were cancelled."""
        for run in [run for run in self.runs.values() if run.parent is None]:
            self.close_within(run.id)
            item = self.stream.grammar.run(run.id)
            if item is not None:
                self._abandon("agent_completed", "agent", item, None)
            run.abandon(ended("cancelled", "the run did not end when it was cancelled"))

    def _abandon(self, event: str, label: str, item: Open, call_id: str | None) -> None:
        spent = max(0, self.stream.now() - item.started)
        outcome = ended("cancelled", "the run that it was part of is over")
        data = self.encode_closing(outcome, **{label: item.name}, duration_ms=spent)
        self.close(event, data, item.run_id, call_id)
