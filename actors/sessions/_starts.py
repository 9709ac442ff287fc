"""The starts of runs in one session: from the command to the end of the run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import attrs
import orjson
import trio

from actors.errors import LogUnavailable
from actors.failures import log_failure
from actors.recent_failures import FailureKind
from actors.runs._raised import CodeEnded, only_cancelled
from actors.runs._run import make_run
from actors.runs._scope import RunScope
from actors.runtime._frames import let_go_of_frames
from actors.sessions._commands import TRACEPARENT
from actors.sessions._messages import Queued

if TYPE_CHECKING:
    from actors.errors import LogError
    from actors.runs._agents import Agent
    from actors.runs._recorder import RunRecorder
    from actors.runs._run import Run
    from actors.sessions._commands import Command
    from actors.sessions._replies import Replies
    from actors.sessions._run_limiter import Place
    from actors.sessions._services import SessionServices
    from actors.sessions._tasks import SessionTasks

logger = logging.getLogger("greenroom.sessions")


@attrs.define(eq=False)
class Start:
    """An accepted request to start a run. This object exists from the command until the end of the run.

    The task that executes the run owns the object.
    """

    command_id: str
    agent: Agent
    value: object
    """The input for the agent, already converted to the type that the agent's function expects."""
    run: Run
    """The run that is to be started. The run has an id already while it waits in the queue."""
    scope: RunScope[Run]
    place: Place
    since: int
    """Time at which the request came into the queue, in ms since 1970. 0 if it did not have to wait."""
    recorded: trio.Event | None
    """Event that is set when the commit of ``agent_started`` has succeeded or failed. The agent is not called before.

    The value is None if the agent need not wait for the commit: no client can send the start again, or the log is lost
    with the process anyway.
    """
    holds_commit: bool = False
    """Whether the commit of ``agent_started`` waits for the first turn of the run's task."""
    begun: bool = False
    """Whether the run was started: its event ``agent_started`` was emitted."""

    @property
    def queued(self) -> Queued:
        """The request as clients see it while it waits in the queue."""
        return Queued(self.command_id, self.agent.name, self.since)

    @property
    def in_doubt(self) -> bool:
        """Whether ``agent_started`` is emitted but not yet committed to the log.

        If the process died now, the log would not know the start. If the client then sent the command again, the run
        would be started a second time.
        """
        return self.begun and self.recorded is not None and not self.recorded.is_set()

    def on_committed(self, error: LogError | None) -> None:
        """Allow the call of the agent, because ``agent_started`` is committed.

        If the commit failed, stop the run instead, so that the agent is never called. A failed commit also ends the
        session.
        """
        if error is not None:
            self.run.stop("interrupted")
        if self.recorded is not None:
            self.recorded.set()


class Starts:
    """The accepted requests to start a run in one session, called starts.

    Each start has a task. The task waits until the user's limit allows the run, and then executes the run. During this
    wait the start is queued: all attached clients see the start, and can cancel it until the run begins.
    """

    __slots__ = ("_recorder", "_replies", "_services", "_starts", "_tasks", "active_at")

    def __init__(self, services: SessionServices, recorder: RunRecorder, replies: Replies, tasks: SessionTasks) -> None:
        self._services = services
        self._recorder = recorder
        self._replies = replies
        self._tasks = tasks
        self._starts: dict[str, Start] = {}  # by the id of the run, in the order of the commands
        self.active_at = 0.0
        """Time at which the last run of the session ended, in seconds on trio's clock."""

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def recorder(self) -> RunRecorder:
        """The recorder of the session."""
        return self._recorder

    def queued(self) -> tuple[Start, ...]:
        """Return the requests to start a run that wait in the queue, in order."""
        return tuple([start for start in self._starts.values() if not start.begun])

    def find(self, run_id: str) -> Start | None:
        """Return the start (the request to start a run) that belongs to this run. Return None if there is none."""
        return self._starts.get(run_id)

    def find_run(self, command_id: str) -> str:
        """Return the id of the newest run that this command started. Return an empty string if there is none."""
        return next((id_ for id_, start in reversed(self._starts.items()) if start.command_id == command_id), "")

    def accept(self, command: Command, agent: Agent, value: object, text: bytes) -> None:
        """Start a run now, or put it into the queue if its user has too many runs.

        The command gets its reply when ``agent_started`` is committed to the log.

        Args:
            command: The ``run.start``.
            agent: The agent to run.
            value: The input for the agent.
            text: The input as JSON text, for ``agent_started``.

        Raises:
            CommandRefused: Too many runs of the user are queued (``overloaded``), or were started in the last minute
                (``rate_limited``).
        """
        services = self._services
        run = make_run(self._recorder, agent)
        seconds = agent.timeout if agent.timeout is not None else services.settings.run_seconds
        command_id = None if command.internal else command.id
        origin = command.args.get(TRACEPARENT)
        scope = RunScope(run, self._recorder, text, timeout=seconds, command_id=command_id, origin=origin)
        account = self._recorder.account
        now = services.clock()
        account.require_start(now)
        place = services.limiter.enter(account.user)
        account.count_start(now)
        # A start that is sent again must not call its agent a second time. Only clients send one again. If the log
        # does not outlive the process, the whole session ends with the process.
        recorded = trio.Event() if services.log.outlives_process and not command.internal else None
        since = 0 if place.held else self._recorder.stream.now()
        start = self._starts[run.id] = Start(command.id, agent, value, run, scope, place, since, recorded)
        # Start the task before anything else can raise: it leaves the place on every path.
        self._tasks.start_soon(self._perform, start)
        services.at_work[self._recorder.stream.key] = self
        if place.held:
            if recorded is None:
                # The agent's first turn comes next: what it emits there is committed and sent together with its start.
                start.holds_commit = True
                services.committer.wakeup.hold()
            # Begin now, not in the task: a later command must find the run begun, and that command's events come after.
            self._begin(start)
        else:
            self._show_queued(start, waiting=True)

    def refuse(self, start: Start, code: str, message: str) -> None:
        """Refuse a start (a request to start a run) before its run has begun, and emit no event.

        The start is removed from the queue, and its command gets the error as reply.
        """
        del self._starts[start.run.id]
        start.place.leave()
        self._replies.refuse(start.command_id, code, message)
        self._show_queued(start, waiting=False)

    def cancel_queued(self, start: Start) -> None:
        """Remove from the queue a start that was cancelled, and refuse its command as ``cancelled``."""
        self.refuse(start, "cancelled", "the start was cancelled before its turn came")

    def leave_queue(self) -> None:
        """Remove all requests to start a run from the queue, because the session stops.

        The commands of these requests are refused when the session has ended.
        """
        for start in self.queued():
            start.place.leave()

    async def _perform(self, start: Start) -> None:
        """Wait until the user's limit allows the run, execute the run, then let the next run of the user begin.

        Each requested start has one task, and this task runs only this method.
        """
        services = self._services
        try:
            if start.holds_commit:
                services.committer.wakeup.release()
            if start.begun or (await start.place.taken() and self._begin(start)):
                await self._run(start)
        finally:
            start.place.leave()
            self._starts.pop(start.run.id, None)
            # No more if a start was refused: it has left the starts before its task ends.
            if not self._starts and services.at_work.get(key := self._recorder.stream.key) is self:
                del services.at_work[key]
            self.active_at = services.clock()
            if services.run_over:
                services.run_over.unpark_all()

    def _begin(self, start: Start) -> bool:
        """Emit ``agent_started``, and return True. If the run cannot begin, refuse the start and return False."""
        if self._services.draining or not self._tasks.is_up or self._recorder.scope.cancel_called:
            self.refuse(start, "overloaded", "the server is about to end: try again after reconnecting")
            return False
        try:
            start.scope.open()
        except LogUnavailable as error:
            self.refuse(start, "internal", self._replies.log_error(start.command_id, error))
            return False
        start.begun = True
        if start.recorded is not None:
            self._recorder.stream.when_committed(start.on_committed)
        self._replies.send_when_committed(start.command_id, {"run_id": start.run.id})
        if start.place.waited:
            self._show_queued(start, waiting=False)
        return True

    async def _run(self, start: Start) -> None:
        """Run the agent that was started. A failure of any kind ends only this run."""
        run, agent = start.run, start.agent
        try:
            async with start.scope:
                if start.recorded is not None:
                    await start.recorded.wait()
                run.result = await agent(run, start.value)
        # A cancellation ends here too: this task has nothing else to do. A Ctrl-C does not come here, see
        # interrupts_deferred().
        except BaseException as error:  # noqa: BLE001 - as said
            # The exception of a block propagates in the task of the block, whose owner reports it.
            if not only_cancelled(error) and type(error) is not CodeEnded:
                key, text = self._recorder.key, "agent %s failed in run %s of %s/%s"
                fields: dict[str, Any] = {"user": key.user, "session": key.session, "run": run.id}
                log_failure(logger, text, agent.name, run.id, *key, error=error, fields=fields)
                self._services.failures.add(FailureKind.AGENT, f"agent {agent.name} failed", error, **fields)
            # From Python 3.12 on a timeout of trio leaves a cycle in these frames, which would keep all their objects.
            let_go_of_frames(error)

    def _show_queued(self, start: Start, *, waiting: bool) -> None:
        """Signal to all clients that a start waits in the queue now (``waiting``), or waits no longer.

        Do nothing for a start that never had to wait.
        """
        if start.place.waited:
            data = {"command_id": start.command_id, "agent": start.agent.name, "waiting": waiting}
            self._recorder.signals.send("queued", orjson.dumps(data))
