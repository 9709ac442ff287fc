"""The state of a run in the tree of runs (runs and their sub-agents): its position, its cancellation and its end."""

from __future__ import annotations

from os import urandom
from threading import get_ident
from typing import TYPE_CHECKING, Any, Self, TypeVar

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
    from collections.abc import Awaitable, Callable, Iterator

    from actors.events.types import JSON
    from actors.runs._outcome import Outcome
    from actors.runs._protocols import Cancellable
    from actors.runs._recorder import RunRecorder
    from actors.runs._tracing import Span

T = TypeVar("T")

EXIT_FRAMES = 32
"""Number of nested calls for which the stack must have room when a run, a tool call or a question is opened.

The close of a run, tool call or question needs fewer nested calls. So an open run, tool call or question can always
be closed without a RecursionError.
"""

_STOPPED = (Status.CANCELLED, Status.INTERRUPTED, Status.TIMEOUT)
"""The statuses with which a run can end after it was asked to stop."""


class RunNode:
    """The state of a run: its position in the tree of runs, its cancellation and its end.

    :class:`~actors.Run` extends this class by the methods that an agent calls. The run and its state are one object for
    speed: each emit reads ``closed`` and other attributes, and reading them from a second object would take longer.
    """

    __slots__ = (
        "_context",
        "_pause",
        "_recorder",
        "_root",
        "_usage",
        "agent",
        "closed",
        "id",
        "outcome",
        "parent",
        "result",
        "scope",
        "span",
        "started_at",
        "stopped_as",
        "subruns",
        "waits",
    )

    def __init__(self, recorder: RunRecorder, agent: str, parent: Self | None = None) -> None:
        self._recorder = recorder
        # Awaited after an event, while too many events are not committed: by far the most emits do not await it.
        self._pause: Callable[[], Awaitable[None]] = recorder.stream.admit
        self.id = f"r-{urandom(8).hex()}"
        """Id of the run. It is unique, even across restarts of the server."""
        self.agent = agent
        """Name of the agent that this run executes."""
        self.parent = parent
        """The run that started this run as a sub-agent. None if this run is not a sub-agent."""
        self.started_at = 0.0
        """Time at which the run started, in seconds on trio's clock."""
        self._context: RunContext | None = None
        self.result: Any = None
        """Result of the run, for a run that ends without an error.

        An agent returns its result. Code in a ``subrun`` block sets this attribute instead.
        """
        self._usage: bytes | None = None
        self.scope: Cancellable = trio.CancelScope()
        self.stopped_as: Status | None = None
        # None for a root: a reference to itself would be a cycle, which only the garbage collector frees.
        self._root: Self | None = None if parent is None else parent.root
        self.subruns = 0
        """Number of open sub-agents below this run, on all levels. Only the topmost run counts them."""
        # A call or question that a tool's thread awaits is in no cancel scope of the run.
        self.waits: set[Cancellable] = set()
        """Cancel scopes around the tool calls and questions of the run that are open."""
        self.closed = False
        """Whether the run has ended."""
        self.span: Span | None = None  # of a trace
        self.outcome: Outcome | None = None
        """The status and the result or error with which the run has ended. None while the run is open."""

    @property
    def context(self) -> RunContext:
        """The names, ids and deadline of the run. :func:`~actors.current_run` returns them to code inside the run."""
        return self._context or self.begin_until(float("inf"))

    @property
    def root(self) -> Self:
        """The topmost run of the tree: this run itself if it is not a sub-agent, else a run above it."""
        return self if self._root is None else self._root

    @property
    def user(self) -> str:
        """Name of the user that the run works for."""
        return self._recorder.key.user

    @property
    def session(self) -> str:
        """Name of the session that the run belongs to. The name is unique among the sessions of the user."""
        return self._recorder.key.session

    @property
    def app(self) -> Any:
        """The :class:`transport.Greenroom` that runs the agent. Use ``run.app.state`` for the app's own objects.

        None if the sessions belong to no app.
        """
        return self._recorder.agents.app

    @property
    def usage(self) -> JSON:
        """Tokens or other resources that the run has used, as JSON. The event ``agent_completed`` contains them.

        Setting this property raises :class:`~actors.UnserialisableEvent` if the value is not JSON or is too large.
        """
        return None if self._usage is None else orjson.loads(self._usage)

    @usage.setter
    def usage(self, value: object) -> None:
        if get_ident() != self._recorder.stream.thread:
            self._hop("usage", setattr, self, "usage", value)
            return
        self._usage = None if value is None else self._recorder.encode(value)

    @property
    def cancelled(self) -> bool:
        """Whether this run, or a run above it, was asked to stop or has reached its time limit."""
        if get_ident() != self._recorder.stream.thread:
            return self._hop("cancelled", lambda: self.cancelled)
        return any(run.scope.cancel_called for run in self._lineage())

    @property
    def cancelled_as(self) -> Status:
        """The status that this run, or a tool call in this run, gets if it is cancelled now.

        The status comes from the nearest run that was stopped: this run, or a run above it. If no run was stopped, the
        session decides the status.
        """
        for run in self._lineage():
            if run.stopped_as is not None:
                return run.stopped_as
            if run.scope.cancel_called:
                return Status.CANCELLED
        return self._recorder.cancelled_as

    def stop(self, status: str = "cancelled") -> None:
        """Ask the run to stop. Its code is cancelled, and the run ends with ``status``. Only the first call counts.

        Args:
            status: ``cancelled``, ``interrupted`` or ``timeout``.

        Raises:
            ValueError: ``status`` has another value.
        """
        if get_ident() != self._recorder.stream.thread:
            self._hop("stop()", self.stop, status)
            return
        # By type: a foreign object may claim to equal anything, or raise as it is compared.
        if type(status) not in {str, Status} or status not in _STOPPED:
            raise ValueError(f"a run is stopped as one of {', '.join(_STOPPED)}, not {shown(status)}")
        if self.stopped_as is None:
            self.stopped_as = Status(status)
            self.scope.cancel()

    def abandon(self, outcome: Outcome) -> None:
        """Mark the run as closed, because the recorder has emitted its closing event.

        Cancel the code that still runs in the run.
        """
        self.stop(outcome.status)
        self.end(outcome)

    def end(self, outcome: Outcome) -> None:
        """Mark the run as closed: it can emit no more events. Do nothing if the run is closed already."""
        if self.closed:
            return
        self.closed = True
        self.outcome = outcome
        if self._root is not None:  # a root does not count itself
            self._root.subruns -= 1
        del self._recorder.runs[self.id]
        # Otherwise calls in threads of sync tools would continue: they are in no cancel scope of the run.
        for scope in self.waits:
            scope.cancel()
        self._recorder.signals.set_typing(Typist.AGENT, self.id, active=False)
        if self.span is not None:
            self.span.end(outcome, self._usage)

    def begin_until(self, deadline: float) -> RunContext:
        """Make and return the context of the run. Its deadline is ``deadline``, or the parent's if that is earlier."""
        key, parent = self._recorder.stream.key, self.parent
        made = self._context = RunContext(
            user=key.user,
            session=key.session,
            run_id=self.id,
            agent=self.agent,
            parent_run_id=None if parent is None else parent.id,
            depth=0 if parent is None else parent.context.depth + 1,
            deadline=deadline if parent is None else min(deadline, parent.context.deadline),
        )
        return made

    def encode_completed(self, outcome: Outcome, spent_ms: int) -> bytes:
        """Encode the data of ``agent_completed``. Raise UnserialisableEvent if the result is not JSON or too large."""
        usage = {} if self._usage is None else {"usage": orjson.Fragment(self._usage)}
        return self._recorder.encode_closing(outcome, agent=self.agent, duration_ms=spent_ms, **usage)

    def require_result(self) -> None:
        """Raise UnserialisableEvent if the run's result is not JSON or too large."""
        self._recorder.encode(self.result)

    async def ready(self) -> None:
        """Wait until the session can take the event that opens a run, a tool call or a question.

        A session takes no opening event while too many of its events are not yet committed to the log.

        Raise :class:`~actors.RunClosed` if the run has ended, RuntimeError outside of the session's event loop, and
        RecursionError if the stack is nearly full.
        """
        self.require_ready()
        await self._pause()
        if self.closed:  # during the wait
            self._require_open()

    def require_ready(self) -> None:
        """Raise the errors of :meth:`ready`, without waiting."""
        self._require_task("this")
        require_room(EXIT_FRAMES)
        if self.closed:
            self._require_open()

    def check_limits(self, name: str) -> None:
        """Raise :class:`~actors.RunFailed` if one more sub-agent would exceed ``max_run_depth`` or ``max_subruns``.

        ``name`` is the name of the sub-agent, for the error.
        """
        settings = self._recorder.settings
        if self.context.depth >= settings.max_run_depth:
            self._recorder.account.reached("max_run_depth")
            deep = f"{settings.max_run_depth} runs are within each other already"
            raise RunFailed(self.id, name, "error", "too_deep", deep)
        if self.root.subruns >= settings.max_subruns:
            self._recorder.account.reached("max_subruns")
            many = f"{settings.max_subruns} runs are open below {self.root.id} already"
            raise RunFailed(self.id, name, "error", "overloaded", many)

    def _lineage(self) -> Iterator[Self]:
        """Yield this run, then its parent, and so on up to the topmost run."""
        # A loop and no recursion: runs may be as deep as the stack.
        run: Self | None = self
        while run is not None:
            yield run
            run = run.parent

    def _require_open(self) -> None:
        if self.closed:
            raise RunClosed(f"run {self.id} of {self.agent} is over")

    def _require_task(self, name: str) -> None:
        """Raise RuntimeError unless the caller is a task of the event loop in which the run's code is executed.

        ``name`` names the caller in the error.
        """
        require_task(self._recorder.stream.thread, name)

    def _hop(self, name: str, function: Callable[..., T], *args: object) -> T:
        """Call ``function`` in the session's event loop, from another thread; see :func:`actors.loop.threads.hop`."""
        return hop(name, function, *args)
