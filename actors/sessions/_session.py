"""One session of one user, as an actor: its runs, its events, whoever is attached."""

from __future__ import annotations

import contextvars
import logging
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
import orjson
import trio

from actors.errors import (
    CommandRefused,
    LogCorrupt,
    LogError,
    LogUnavailable,
    SessionClosed,
    Trimmed,
    UnserialisableEvent,
)
from actors.events.encoding import encode, is_text
from actors.events.grammar import interrupted
from actors.events.line import envelope
from actors.events.types import Custom, UserMessage
from actors.failures import log_failure
from actors.loop.boundary import attempted
from actors.loop.weakly import weakly
from actors.runs._raised import only_cancelled
from actors.runs._recorder import RunRecorder
from actors.runs._run import Run, RunScope
from actors.runtime._actor import Actor
from actors.runtime._frames import let_go_of_frames
from actors.runtime._lifecycle import Failure
from actors.sessions._attachment import Attachment
from actors.sessions._commands import Command, CommandMemory, CommandReply
from actors.sessions._health import SessionHealth, audit
from actors.sessions._messages import Attach, Emit, Typing
from actors.sessions._start import Start
from actors.streams._ages import AgeClock
from actors.streams._listeners import notify_ended
from actors.streams._signals import Signals
from actors.streams._stream import SessionStream, StreamLimits, StreamStatistics, now_ms
from actors.streams.resume import decide

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from actors.eventlog.base import EventLog, Retention, StreamKey
    from actors.events.redaction import Redact
    from actors.events.types import JSON
    from actors.runs._agents import Agents
    from actors.runs._tool_threads import ToolThreads
    from actors.runtime._lifecycle import ExitReason
    from actors.sessions._run_limiter import RunLimiter
    from actors.sessions._settings import SessionSettings
    from actors.streams._committer import Committer
    from actors.streams._cursor import SessionEnding

logger = logging.getLogger("greenroom.sessions")

_SHOWN = 100

CLOSING_SECONDS = 10.0
"""How long runs may take to end when their session is closed for good; then they are closed over their heads."""


@attrs.define(eq=False)
class SessionServices:
    """What all sessions of a server share."""

    log: EventLog
    committer: Committer
    agents: Agents
    settings: SessionSettings
    redact: Redact
    limiter: RunLimiter
    retention: Retention
    threads: ToolThreads
    context: contextvars.Context = attrs.field(factory=contextvars.copy_context)
    """The context variables every run starts with, as they were when the server was made: none of any user's."""
    run_over: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    """Who waits for the end of runs."""
    leases: dict[StreamKey, int] = attrs.field(factory=dict["StreamKey", int])
    """How often each session is held in memory by code of the server, over its incarnations."""
    ages: AgeClock = attrs.field(factory=lambda: AgeClock(now_ms))
    """By which events, and what is remembered, are too old."""
    draining: bool = False
    """Whether the server is about to end: no run is started any more."""


@attrs.frozen
class SessionStatistics:
    """How one session stands."""

    user: str
    """Whose it is."""
    session: str
    """Its name."""
    runs: int
    """Open runs, sub-agents included."""
    queued: int
    """Runs that wait for their turn."""
    commands: int
    """Commands whose ids are remembered."""
    typing: int
    """Who is typing."""
    leases: int
    """How often code of the server holds it in memory."""
    journal: StreamStatistics
    """Its events."""
    audit: SessionHealth
    """What should not be."""


class Session(Actor):
    """Built from its log, ended by a crash, by being idle or by the server's end; the next attach builds it again."""

    def __init__(self, key: StreamKey, services: SessionServices) -> None:
        self._key = key
        self._services = services
        self._commands = CommandMemory(services.settings.command_memory_seconds, services.settings.command_memory_bytes)
        self._starts: dict[str, Start] = {}
        """Starts whose task is not over, by the id of their run, in order."""
        self._connections: list[str] = []
        self._recorder: RunRecorder
        self._is_up = False
        self._in_hand = False
        self._active_at = 0.0
        self._closers: list[str] = []
        self.is_closed = False
        """Whether it ended because it was closed for good."""

    async def started(self) -> None:
        """Read the log's head, close what an earlier incarnation left open, remember the commands that it took.

        Raises SessionClosed when it was closed for good; one that retention has removed since begins anew.
        """
        await self._services.committer.barrier()
        stream = await self._open()
        if stream.closed_at is not None:
            await stream.oldest()
            if not stream.outlived:
                self._close_interrupted(stream)
                await stream.synced()
                raise SessionClosed(f"session {self._key.session} was closed for good")
            await self._services.log.remove(self._key)
            stream = await self._open()
        self._recall_commands(stream)
        if stream.open_runs():
            self._close_interrupted(stream)
            await stream.synced()
        self._active_at = trio.current_time()
        self._is_up = True

    async def _open(self) -> SessionStream:
        """Take up the events where the log has them."""
        services, settings = self._services, self._services.settings
        head = await services.log.make(self._key)
        stream = SessionStream(
            self._key,
            head,
            log=services.log,
            committer=services.committer,
            retention=services.retention,
            limits=StreamLimits(
                ring_events=settings.ring_events,
                ring_bytes=settings.ring_bytes,
                window=settings.emit_window,
                command_seconds=settings.command_memory_seconds,
                command_bytes=settings.command_memory_bytes,
            ),
            ages=services.ages,
            on_failure=weakly(self.log_failed),
        )
        signals = Signals(stream.cursors, settings.typing_seconds)
        self._recorder = RunRecorder(
            self._key,
            stream,
            services.agents,
            settings,
            services.redact,
            signals,
            self.nursery.cancel_scope,
            services.threads,
        )
        return stream

    async def receive(self, message: object) -> object:
        """Commands, attachments, typing and the application's own events; what is asked for is returned."""
        self._active_at = trio.current_time()
        self._in_hand = True
        try:
            match message:
                case Command():
                    self._command(message)
                case Attach():
                    await self._answer(self._attach, message)
                case Typing():
                    self._typing(message)
                case Emit():
                    await self._answer(self._emit, message)
                case _:
                    return await super().receive(message)
        finally:
            self._in_hand = False
        return None

    async def _answer(self, handle: Callable[[Any], Awaitable[Callable[[], object]]], message: object) -> None:
        """Do what is asked for and answer. The asker hears why it cannot be done; one who left is given nothing."""
        if self._closers:
            self.context.defer().fail(SessionClosed(f"session {self._key.session} is being closed for good"))
            return
        try:
            finish = await handle(message)
        except LogError as error:
            self.context.defer().fail(error)
        else:
            reply = self.context.defer()
            reply.send(finish() if reply.wanted else None)

    async def stopping(self, reason: ExitReason) -> None:
        """Stop the runs, wait until they are closed and everything is in the log."""
        if not self._is_up:
            return
        recorder = self._recorder
        self._is_up = False
        recorder.stopping = not isinstance(reason, Failure)
        for start in self._waiting():
            start.place.leave()  # its task ends; what is still without a reply then gets it from farewell()
        for run in tuple(recorder.runs.values()):
            run.stop(recorder.abandoned)
        while recorder.runs:
            await self._services.run_over.park()
        with suppress(LogError):
            await recorder.stream.synced()

    def _waiting(self) -> tuple[Start, ...]:
        """List the starts that wait for their turn, in order."""
        return tuple(start for start in self._starts.values() if not start.begun)

    def farewell(self, reason: SessionEnding) -> None:
        """Tell everyone who is still there that the session has ended; for the factory, when nothing of it runs.

        Listeners first: a client whose connection ends sends its pending commands again, with the same ids.
        """
        self._is_up = False
        notify_ended(self._recorder.stream.cursors, reason)
        for command_id in self._commands.pending():
            self._refuse(command_id, "internal", "the session ended before it could reply")

    def detach(self, attachment: Attachment) -> None:
        """Let go of a cursor; its owner no longer types. Never waits. Idempotent, also after the session's end."""
        attachment.cursor.detach()
        if attachment.connection in self._connections:
            self._connections.remove(attachment.connection)
        self._recorder.signals.set_typing("user", attachment.connection, active=False)
        self._active_at = trio.current_time()

    async def history(self, after: int, limit: int, size: int) -> tuple[Sequence[bytes], bool]:
        """Read as :meth:`Attachment.history` says."""
        stream = self._recorder.stream
        lines: Sequence[bytes] = ()
        after = max(after, await stream.oldest() - 1)
        while after < stream.committed_seq and not lines:
            try:
                lines = await stream.read(after, limit, size)
            except Trimmed as trimmed:  # in this very moment, by somebody else: from the new oldest one, then
                if trimmed.oldest <= after + 1:  # the same again and again
                    raise LogCorrupt(f"event {after + 1} is missing") from trimmed
                after = trimmed.oldest - 1
        return lines, after + len(lines) < stream.committed_seq

    @property
    def idle_since(self) -> float | None:
        """Since when (trio's clock) nothing and nobody has needed the session; None while something does."""
        recorder = self._recorder
        busy = self._in_hand or recorder.stream.cursors or recorder.runs or self._starts or self._commands.pending()
        return None if busy or self._key in self._services.leases else self._active_at

    def touch(self) -> None:
        """Begin the time of being idle anew."""
        self._active_at = trio.current_time()

    async def tidy(self) -> None:
        """Let the log drop what retention no longer keeps; a log that cannot is asked again later. Safe to cancel.

        Whatever else the log raises is logged: its failure with this session is nothing to the others.
        """
        await attempted("the trimming of a session's log", self._trim)

    async def _trim(self) -> None:
        with suppress(LogError):
            await self._recorder.stream.oldest()

    def statistics(self) -> SessionStatistics:
        """Say how it stands."""
        recorder = self._recorder
        return SessionStatistics(
            user=self._key.user,
            session=self._key.session,
            runs=len(recorder.runs),
            queued=len(self._waiting()),
            commands=len(self._commands),
            typing=len(recorder.signals.typing()),
            leases=self._services.leases.get(self._key, 0),
            journal=recorder.stream.statistics(),
            audit=audit(recorder),
        )

    # Coming back after a crash

    def _close_interrupted(self, stream: SessionStream) -> None:
        last_ts = stream.ts
        for closing in stream.grammar.closings():
            item = closing.item
            call_id = None if item.id == item.run_id else item.id
            data = encode(interrupted(closing, last_ts), self._services.settings.max_event_bytes + 1024)
            self._recorder.close(closing.type, data, item.run_id, call_id)

    def _recall_commands(self, stream: SessionStream) -> None:
        """Remember the commands of earlier incarnations within the time: one that is sent again is done once."""
        now, at = self._services.ages.now(self._services.settings.command_memory_seconds), trio.current_time()
        stream.done.forget(now)
        for done in stream.done:
            self._commands.recall(CommandReply(done.command_id, done.result), at - max(0, now - done.ts) / 1000)

    # Messages

    async def _attach(self, attach: Attach) -> Callable[[], Attachment]:
        oldest = await self._recorder.stream.oldest()
        return lambda: self._attached(attach, oldest)

    def _attached(self, attach: Attach, oldest: int) -> Attachment:
        stream = self._recorder.stream
        latest = stream.committed_seq
        start = decide(
            epoch=stream.epoch, oldest=oldest, latest=latest, resume=attach.resume, from_latest=attach.from_latest
        )
        cursor = stream.attach(attach.listener, start.after)
        if attach.connection not in self._connections:
            self._connections.append(attach.connection)
        return Attachment(
            session=self,
            connection=attach.connection,
            cursor=cursor,
            epoch=stream.epoch,
            oldest=oldest,
            latest=latest,
            recovered=start.recovered,
            reset=start.reset,
            runs=stream.open_runs(),
            queued=tuple(start.queued for start in self._waiting()),
            typing=self._recorder.signals.typing(),
        )

    def _typing(self, typing: Typing) -> None:
        signals = self._recorder.signals
        if typing.connection not in self._connections:
            return  # it ended while this waited
        signals.set_typing("user", typing.connection, active=typing.active)
        if not signals.expiring and signals.next_expiry() is not None:
            signals.expiring = True
            self._start_soon(signals.expire)

    async def _emit(self, emit: Emit) -> Callable[[], None]:
        if self._recorder.stream.put(envelope(Custom.type, None), emit.data):
            await self._recorder.stream.admit()
        return lambda: None

    # Commands

    def _command(self, command: Command) -> None:
        if not self._commands.admit(command, trio.current_time()):
            return
        if self._closers and command.name != "session.close":
            self._refuse(command.id, "cancelled", "the session is being closed for good")
            return
        try:
            self._obey(command)
        except CommandRefused as refusal:
            self._refuse(command.id, refusal.code, refusal.message)

    def _obey(self, command: Command) -> None:
        match command.name:
            case "run.start":
                self._run_start(command)
            case "run.cancel":
                self._run_cancel(command)
            case "input.answer":
                self._input_answer(command)
            case "message.send":
                self._message_send(command)
            case "session.close":
                self._session_close(command)
            case _:
                raise _unknown(command)

    def _refuse(self, command_id: str, code: str, message: str) -> None:
        self._reply(CommandReply(command_id, code=code, message=message))

    def _reply(self, reply: CommandReply) -> None:
        self._commands.answer(reply, trio.current_time())

    def _reference(self, command_id: str, error: Exception) -> str:
        """Log what failed, and make what the client is told of it: where to find it, nothing else."""
        reference = secrets.token_hex(4)
        log_failure(logger, "command %r of %s/%s, reference %s", command_id, *self._key, reference, error=error)
        return f"reference {reference}"

    def _run_start(self, command: Command) -> None:
        if self._services.draining:
            raise CommandRefused("overloaded", "the server is about to end: try again after reconnecting")
        agent = self._services.agents.find(command.text("agent"))
        try:
            text = self._recorder.encode(command.args.get("input"))
        except UnserialisableEvent as error:
            raise CommandRefused("bad_args", str(error)) from error
        value = agent.fit(orjson.loads(text))
        run = Run(self._recorder, agent.name)
        seconds = agent.timeout if agent.timeout is not None else self._services.settings.run_seconds
        scope = RunScope(run, text, timeout=seconds, command_id=None if command.internal else command.id)
        place = self._services.limiter.enter(self._key.user)
        # Only a client sends a command again, and only such a log can have lost it and still be there.
        recorded = trio.Event() if self._services.log.outlives_process and not command.internal else None
        since = self._recorder.stream.now()
        start = self._starts[run.id] = Start(command.id, agent, value, run, scope, place, since, recorded)
        self._start_soon(self._perform, start)  # first: from here on the place is left, whatever happens
        if place.held:
            self._begin(start)
        else:
            self._show_queued(start, waiting=True)

    def _show_queued(self, start: Start, *, waiting: bool) -> None:
        """Tell everyone attached that a start begins to wait, or no longer does. Nothing where it never had to."""
        if start.place.waited:
            data = {"command_id": start.command_id, "agent": start.agent.name, "waiting": waiting}
            self._recorder.signals.send("queued", orjson.dumps(data))

    def _begin(self, start: Start) -> bool:
        """Emit ``agent_started`` of a run that has its place; False where it cannot begin: the start was refused."""
        if self._services.draining or not self._is_up or self._recorder.scope.cancel_called:
            self._drop(start, "overloaded", "the server is about to end: try again after reconnecting")
            return False
        try:
            start.scope.open()
        except LogUnavailable as error:
            self._drop(start, "internal", self._reference(start.command_id, error))
            return False
        start.begun = True
        if start.recorded is not None:
            self._recorder.stream.when_committed(start.note_commit)
        self._reply_when_committed(start.command_id, {"run_id": start.run.id})
        return True

    def _drop(self, start: Start, code: str, message: str) -> None:
        """Refuse a start that has not begun, and never will."""
        del self._starts[start.run.id]
        start.place.leave()
        self._refuse(start.command_id, code, message)
        self._show_queued(start, waiting=False)

    def log_failed(self, error: LogError) -> None:
        if self._is_up and not self._recorder.scope.cancel_called:
            self._start_soon(_fail, error)

    def _start_soon(self, function: Any, *args: object) -> None:  # trio's own signature
        """Start a task with context variables of its own: whoever happened to cause it lends it none."""
        self._services.context.copy().run(self.nursery.start_soon, function, *args)

    async def _perform(self, start: Start) -> None:
        """Wait for the place, perform the run, leave the place: the one task of a start."""
        try:
            if start.begun or (await start.place.taken() and self._has_its_turn(start)):
                await self._conduct(start)
        finally:
            start.place.leave()
            self._starts.pop(start.run.id, None)
            self._active_at = trio.current_time()
            if self._services.run_over:
                self._services.run_over.unpark_all()

    def _has_its_turn(self, start: Start) -> bool:
        """Begin a run that waited; return whether it goes on."""
        if self._begin(start):
            self._show_queued(start, waiting=False)
        return start.begun

    async def _conduct(self, start: Start) -> None:
        """Perform a run that has begun. An agent that fails, however oddly, ends its run and nothing else."""
        run, agent = start.run, start.agent
        try:
            async with start.scope:
                await start.may_call()
                run.result = await agent(run, start.value)
        # Nor does a cancellation go on from here: nothing follows in this task. A Ctrl-C is not among these, see
        # interrupts_deferred().
        except BaseException as error:  # noqa: BLE001 - as said
            if not only_cancelled(error):
                log_failure(logger, "agent %s failed in run %s of %s/%s", agent.name, run.id, *self._key, error=error)
            # From Python 3.12 on a timeout of trio leaves a cycle in these frames, and with it all that leads to them.
            let_go_of_frames(error)

    def _run_cancel(self, command: Command) -> None:
        run_id = self._run_named(command)
        run, start = self._recorder.runs.get(run_id), self._starts.get(run_id)
        waits = start is not None and not start.begun
        if run is not None:
            run.stop()
        elif start is not None and waits:
            self._withdraw(start)
        result: dict[str, JSON] = {"cancelled": run is not None or waits}
        if start is not None and start.in_doubt:
            # Told before, the death of the process could have the start sent again, and a run that was cancelled go on.
            self._reply_when_committed(command.id, result)
        else:
            self._reply(CommandReply(command.id, result))

    def _run_named(self, command: Command) -> str:
        """Return the id of the run that the command names by itself, or by the command that started it."""
        if "command_id" not in command.args or command.args.get("run_id") is not None:
            return command.text("run_id")
        started_by = command.text("command_id")
        return next((id_ for id_, start in reversed(self._starts.items()) if start.command_id == started_by), "")

    def _withdraw(self, start: Start) -> None:
        """Take back a start that waits for its turn: it gets ``cancelled`` as its reply, and no events."""
        self._drop(start, "cancelled", "the start was cancelled before its turn came")

    def _input_answer(self, command: Command) -> None:
        run_id, call_id = command.text("run_id"), command.text("call_id")
        if run_id not in self._recorder.runs:
            raise CommandRefused("unknown_run", f"run {run_id} is unknown or over")
        question = self._recorder.questions.get(call_id)
        if question is None or question.run_id != run_id:
            raise CommandRefused("not_waiting", f"run {run_id} does not wait for an answer to {call_id}")
        if "value" not in command.args:
            raise CommandRefused("bad_args", "value is missing")
        data = self._payload({"value": command.args["value"], "by": command.by})
        self._recorder.record("input_received", data, run_id, call_id)
        del self._recorder.questions[call_id]
        question.answer(command.args["value"])
        self._reply_when_done(command, {})

    def _message_send(self, command: Command) -> None:
        text = command.args.get("text")
        if not isinstance(text, str):
            raise CommandRefused("bad_args", "text must be a string")
        self._recorder.stream.put(envelope(UserMessage.type, None), self._payload({"text": text}))
        self._reply_when_done(command, {"seq": self._recorder.stream.seq})

    def _session_close(self, command: Command) -> None:
        """Begin to close for good: from now on the log knows, and nothing else is taken."""
        self._closers.append(command.id)
        if len(self._closers) > 1:
            return
        recorder = self._recorder
        recorder.stream.closed_at = recorder.stream.now()
        for start in self._waiting():
            self._withdraw(start)
        for run in tuple(recorder.runs.values()):
            if run.parent is None:
                run.stop()
        self._start_soon(self._close)

    async def _close(self) -> None:
        """Wait for the end of the runs, have it in the log that all is over, reply, and end."""
        recorder = self._recorder
        with trio.move_on_after(CLOSING_SECONDS):
            while recorder.runs:
                await self._services.run_over.park()
        recorder.close_all()
        try:
            await recorder.stream.synced()
        except LogError:
            return  # the session ends with it: the next one finishes this
        await self._services.log.mark(self._key, recorder.stream.record())
        self.is_closed = True
        for command_id in self._closers:
            self._reply(CommandReply(command_id, {}))
        await self.ref.stop()  # which cancels this very task, and then goes on by itself

    def _payload(self, data: object) -> bytes:
        try:
            return self._recorder.encode(data)
        except UnserialisableEvent as error:
            raise CommandRefused("bad_args", str(error)) from error

    def _reply_when_done(self, command: Command, result: dict[str, JSON]) -> None:
        """Reply once the event put last, which is all that the command does, is committed; remember it beside that."""
        if not command.internal:
            self._recorder.stream.remember_done(command.id, result)
        self._reply_when_committed(command.id, result)

    def _reply_when_committed(self, command_id: str, result: dict[str, JSON]) -> None:
        def reply(error: LogError | None) -> None:
            if error is None:
                self._reply(CommandReply(command_id, result))
            else:
                self._refuse(command_id, "internal", self._reference(command_id, error))

        self._recorder.stream.when_committed(reply)


def _unknown(command: Command) -> CommandRefused:
    if not is_text(command.name):
        return CommandRefused("bad_args", "the command's name has a lone surrogate")
    name = command.name if len(command.name) <= _SHOWN else command.name[:_SHOWN] + "…"
    return CommandRefused("unknown_command", f"there is no command {name!r}")


async def _fail(error: LogError) -> None:
    """End the session as failed: nothing it emits can be promised any more."""
    raise LogUnavailable("the session's events could not be committed") from error
