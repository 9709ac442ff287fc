"""A run as a node in the tree of runs: its position, its cancellation and its end."""

from __future__ import annotations

import secrets
from threading import get_ident
from typing import TYPE_CHECKING, Any, Self

import orjson
import trio

from actors.errors import RunClosed, RunFailed
from actors.events.types import Status
from actors.failures import shown
from actors.loop.stack import require_room
from actors.loop.threads import hop, require_task
from actors.runs._context import RunContext
from actors.streams._signals import Typist

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors.events.types import JSON
    from actors.runs._outcome import Outcome
    from actors.runs._recorder import RunRecorder

EXIT_FRAMES = 32
"""Number of nested calls for which the stack must have room when a run, call or question is opened.

Closing it needs fewer nested calls, so it can always be closed.
"""

_STOPPED = (Status.CANCELLED, Status.INTERRUPTED, Status.TIMEOUT)
"""The statuses of a run that was asked to stop."""


class RunNode:
    """The state of a run: its position in the tree, its cancellation and its end.

    :class:`~actors.Run` adds the methods that an agent calls. It extends this class for speed: each emit reads
    ``closed`` and other attributes, and reading them from a second object would take longer.
    """

    __slots__ = (
        "_recorder",
        "_root",
        "_usage",
        "agent",
        "closed",
        "context",
        "id",
        "outcome",
        "parent",
        "result",
        "scope",
        "started_at",
        "stopped_as",
        "subruns",
        "waits",
    )

    def __init__(self, recorder: RunRecorder, agent: str, parent: Self | None = None) -> None:
        self._recorder = recorder
        self.id = f"r-{secrets.token_hex(8)}"
        """Id of the run. It is unique, also across restarts."""
        self.agent = agent
        """Name of the agent."""
        self.parent = parent
        """The run that this one is a sub-agent of; None for a run that a user started."""
        self.started_at = 0.0
        """Time of the start on trio's clock, in seconds."""
        self.context = self.context_until(float("inf"))
        """The run as plain values, with its deadline. :func:`~actors.current_run` returns it inside the run."""
        self.result: Any = None
        """Result of a run that ends without an error. A ``subrun`` block sets it; agents return it instead."""
        self._usage: bytes | None = None
        self.scope = trio.CancelScope()
        self.stopped_as: Status | None = None
        # None for a root: a reference to itself would be a cycle, which only the garbage collector frees.
        self._root: Self | None = None if parent is None else parent.root
        self.subruns = 0
        """Number of open runs below this run, at all depths. Counted only if this run has no parent."""
        # A call or question that a tool's thread awaits is in no cancel scope of the run.
        self.waits: set[trio.CancelScope] = set()
        """Cancel scopes around the calls and questions that are open."""
        self.closed = False
        """Whether the run has ended."""
        self.outcome: Outcome | None = None
        """Status and result, or error, with which the run has ended. None while it is open."""

    @property
    def root(self) -> Self:
        """The run that a user started: this one or one above it."""
        return self if self._root is None else self._root

    @property
    def user(self) -> str:
        """Name of the user."""
        return self._recorder.key.user

    @property
    def session(self) -> str:
        """Name of the session, unique within its user."""
        return self._recorder.key.session

    @property
    def usage(self) -> JSON:
        """Tokens or other resources that the run has used. They are sent with ``agent_completed``.

        Setting it raises :class:`~actors.UnserialisableEvent` if the value cannot be sent.
        """
        return None if self._usage is None else orjson.loads(self._usage)

    @usage.setter
    def usage(self, value: object) -> None:
        if get_ident() != self._recorder.stream.thread:
            hop("usage", setattr, self, "usage", value)
            return
        self._usage = None if value is None else self._recorder.encode(value)

    @property
    def cancelled(self) -> bool:
        """Whether this run, or a run above it, was asked to stop or has run out of time."""
        if get_ident() != self._recorder.stream.thread:
            return hop("cancelled", lambda: self.cancelled)
        return any(run.scope.cancel_called for run in self._lineage())

    @property
    def cancelled_as(self) -> Status:
        """Status with which this run, or a call in it, completes if it is cancelled now.

        The status comes from this run or the nearest run above it that was stopped; if no run was stopped, from the
        session.
        """
        for run in self._lineage():
            if run.stopped_as is not None:
                return run.stopped_as
            if run.scope.cancel_called:
                return Status.CANCELLED
        return self._recorder.cancelled_as

    def stop(self, status: str = "cancelled") -> None:
        """Ask the run to stop. It is cancelled where it waits, and completes with ``status``. Further calls do nothing.

        Args:
            status: ``cancelled``, ``interrupted`` or ``timeout``.

        Raises:
            ValueError: ``status`` is anything else.
        """
        if get_ident() != self._recorder.stream.thread:
            hop("stop()", self.stop, status)
            return
        # By type: a foreign object may claim to equal anything, or raise as it is compared.
        if type(status) not in {str, Status} or status not in _STOPPED:
            raise ValueError(f"a run is stopped as one of {', '.join(_STOPPED)}, not {shown(status)}")
        if self.stopped_as is None:
            self.stopped_as = Status(status)
            self.scope.cancel()

    def abandon(self, outcome: Outcome) -> None:
        """Mark the run as closed, since the recorder closed it, and cancel the code that still runs in it."""
        self.stop(outcome.status)
        self.end(outcome)

    def end(self, outcome: Outcome) -> None:
        """Mark the run as closed: it can emit no more events. Idempotent."""
        if self.closed:
            return
        self.closed = True
        self.outcome = outcome
        self.root.subruns -= self is not self.root  # a root does not count itself
        del self._recorder.runs[self.id]
        # Otherwise calls in threads of sync tools would continue: they are in no cancel scope of the run.
        for scope in self.waits:
            scope.cancel()
        self._recorder.signals.set_typing(Typist.AGENT, self.id, active=False)

    def context_until(self, deadline: float) -> RunContext:
        """Return the run's context. Its deadline is the earlier of ``deadline`` and the parent's deadline."""
        key, parent = self._recorder.key, self.parent
        return RunContext(
            user=key.user,
            session=key.session,
            run_id=self.id,
            agent=self.agent,
            parent_run_id=None if parent is None else parent.id,
            depth=0 if parent is None else parent.context.depth + 1,
            deadline=deadline if parent is None else min(deadline, parent.context.deadline),
        )

    def encode_completed(self, outcome: Outcome, spent_ms: int) -> bytes:
        """Encode the payload of ``agent_completed``. Raise UnserialisableEvent if the result cannot be sent."""
        usage = {} if self._usage is None else {"usage": orjson.Fragment(self._usage)}
        return self._recorder.encode_closing(outcome, agent=self.agent, duration_ms=spent_ms, **usage)

    async def ready(self) -> None:
        """Wait until the session has room for the event that opens a run, call or question.

        Raise :class:`~actors.RunClosed` after the run's end, RuntimeError outside of the session's loop, and
        RecursionError if the stack is nearly full.
        """
        require_task(self._recorder.stream.thread, "this")
        require_room(EXIT_FRAMES)
        self._require_open()
        await self._recorder.stream.admit()
        # Once more: the run may have been closed during the wait.
        self._require_open()

    def check_limits(self, name: str) -> None:
        """Raise :class:`~actors.RunFailed` if a run called ``name`` may not be opened below this one."""
        settings = self._recorder.settings
        if self.context.depth >= settings.max_run_depth:
            deep = f"{settings.max_run_depth} runs are within each other already"
            raise RunFailed(self.id, name, "error", "too_deep", deep)
        if self.root.subruns >= settings.max_subruns:
            many = f"{settings.max_subruns} runs are open below {self.root.id} already"
            raise RunFailed(self.id, name, "error", "overloaded", many)

    def _lineage(self) -> Iterator[Self]:
        """Yield this run and the runs above it, innermost first."""
        # A loop and no recursion: runs may be as deep as the stack.
        run: Self | None = self
        while run is not None:
            yield run
            run = run.parent

    def _require_open(self) -> None:
        if self.closed:
            raise RunClosed(f"run {self.id} of {self.agent} is over")
