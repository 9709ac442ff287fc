"""One session of one user, as an actor. It owns the session's runs, events, commands and attachments (clients)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio

from actors.errors import LogCorrupt, LogError, SessionClosed, Trimmed
from actors.events.line import envelope
from actors.events.types import Custom
from actors.loop.boundary import attempted
from actors.runtime._actor import Actor
from actors.runtime._incarnation import life_of
from actors.runtime._lifecycle import Failure
from actors.sessions._attachment import Attachment
from actors.sessions._command_handlers import CommandHandlers
from actors.sessions._commands import Command
from actors.sessions._messages import Attach, Emit, Typing
from actors.sessions._recovery import memory_for, recover
from actors.sessions._replies import Replies
from actors.sessions._run_statistics import runs_of
from actors.sessions._snapshot import snapshot
from actors.sessions._starts import Starts
from actors.sessions._tasks import SessionTasks
from actors.streams._ahead import AheadClients, is_ahead
from actors.streams._cursor import SessionEnding
from actors.streams._listeners import notify_ended
from actors.streams._signals import Typist
from actors.streams.resume import decide

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from actors.eventlog.base import StreamKey
    from actors.runs._recorder import RunRecorder
    from actors.runtime._lifecycle import ExitReason
    from actors.runtime._reply import Reply
    from actors.sessions._closing import Closing
    from actors.sessions._command_memory import CommandMemory
    from actors.sessions._run_statistics import RunStatistics
    from actors.sessions._services import SessionServices
    from actors.sessions._statistics import SessionStatistics
    from actors.streams._emit_rate import EmitRate
    from actors.streams._stream import SessionStream


class Session(Actor):
    """One session of one user, as an actor that is built from the session's log.

    The actor ends when it crashes, when it is idle, when the session is closed, or when the server ends. The next
    attach builds the actor again, unless the session was closed permanently. A session has these parts, in this order:
    :class:`SessionTasks`, the recorder, :class:`Replies`, :class:`Starts`, :class:`CommandHandlers`. A part refers only
    to earlier parts, never to the session. So there are no reference cycles, and an ended session is freed at once.
    """

    _recorder: RunRecorder
    _memory: CommandMemory
    _tasks: SessionTasks
    _replies: Replies
    _starts: Starts
    _handlers: CommandHandlers
    _ahead: AheadClients | None = None
    """The clients that are ahead of the committed events; None until there is one."""

    def __init__(self, key: StreamKey, services: SessionServices) -> None:
        self._key = key
        self._services = services
        self._connections: list[str] = []
        self._handles_message = False
        self._active_at = 0.0

    async def started(self) -> None:
        """Recover the session from its log: close the runs that were left open, and remember the recent commands.

        Raises:
            SessionClosed: The session was closed permanently, and retention has not removed it yet.
            LogError: The log failed.
        """
        self._life, self._ref, services = life_of(self), self.ref, self._services
        self._memory = memory = memory_for(self._key, services)
        self._tasks = tasks = SessionTasks(self.nursery, services)
        self._recorder = recorder = await recover(self._key, services, memory, tasks, self.nursery.cancel_scope)
        self._replies = replies = Replies(memory, recorder.stream, services.clock, services.failures)
        self._starts = starts = Starts(services, recorder, replies, tasks)
        self._handlers = CommandHandlers(services, recorder, memory, replies, starts)
        self._active_at = trio.current_time()
        tasks.is_up = True

    async def receive(self, message: object) -> object:
        """Handle a message to the session: a command, an attach, a typing notice, or an event of the application."""
        self._active_at = self._services.clock()
        self._handles_message = True
        try:
            match message:
                case Command() | Typing():
                    self._handle(message)
                case Attach():
                    await self._answer(self._attach, message)
                case Emit():
                    await self._answer_emit(message)
                case _:
                    return await super().receive(message)
        finally:
            self._handles_message = False
        return None

    def _handle(self, message: Command | Typing) -> None:
        self._active_at = now = self._services.clock()
        if isinstance(message, Typing):
            self._show_typing(message)
            return
        # The handlers cannot start this task: it stops the actor, and they have no reference to the actor.
        was_closing = self._handlers.closing is not None
        self._handlers.handle(message, now)
        closing = self._handlers.closing
        if closing is not None and not was_closing:
            self._tasks.start_soon(self._close, closing)

    async def _close(self, closing: Closing) -> None:
        """Complete the permanent close of the session, and stop the actor."""
        await closing.finish()
        if closing.is_done:
            await self.ref.stop()  # this cancels this very task; the stop continues without it

    async def _answer(self, handle: Callable[[Any], Awaitable[Callable[[], object]]], message: object) -> None:
        """Answer a request to the session. If the log fails, only the request fails, not the session.

        ``handle`` waits, and returns a function that makes the answer. If the caller has given up meanwhile, the
        function is not called: it could make an attachment (a client's connection) that is never detached.
        """
        if self._handlers.closing is not None:
            self.context.defer().fail(SessionClosed(f"session {self._key.session} is being closed permanently"))
            return
        try:
            make_answer = await handle(message)
        except LogError as error:
            self.context.defer().fail(error)
        else:
            reply = self.context.defer()
            reply.send(make_answer() if reply.wanted else None)

    async def _answer_emit(self, emit: Emit) -> None:
        rate = self._recorder.account.rate
        if rate is None or self._handlers.closing is not None:
            await self._answer(self._emit, emit)
        else:
            _emit_within(rate, self._recorder.stream, emit, self.context.defer(), self._tasks)

    async def stopping(self, reason: ExitReason) -> None:
        """Stop the runs of the session. Wait until the runs are closed and all events are committed to the log."""
        if not self._tasks.is_up:
            return
        recorder = self._recorder
        self._tasks.is_up = False
        recorder.stopping = not isinstance(reason, Failure)
        self._starts.leave_queue()  # notify_ended() refuses them
        for run in tuple(recorder.runs.values()):
            run.stop(recorder.cancelled_as)
        while recorder.runs:
            await self._services.run_over.park()
        with suppress(LogError):
            await recorder.stream.synced()

    def notify_ended(self, reason: SessionEnding) -> None:
        """Notify the listeners that the session has ended, and refuse all commands that have no reply.

        The spawner, which makes the sessions, calls this when the actor has ended. The listeners are notified first, so
        their connections end. A client then connects again, and sends its commands again with the same ids. If the
        client got the refusal first, the client would give up the command.
        """
        self._tasks.is_up = False
        notify_ended(self._recorder.stream.cursors, reason)
        code = "internal" if reason is not SessionEnding.MOVED else "owner_unreachable"
        for command_id in self._memory.pending():
            self._replies.refuse(command_id, code, "the session ended before it could reply")

    # What an attachment calls: CommandSink

    def post(self, message: Command | Typing) -> None:
        """Handle a message at once, or put it into the mailbox. Never wait. Raise MailboxFull or ActorTerminated."""
        if self._tasks.is_failing or not self._life.handle_at_once(self._handle, message):
            self._ref.tell_nowait(message)

    def detach(self, connection: str) -> None:
        """Forget a client's connection, and end its user's typing. Never wait.

        This can be called more than once, and also after the session's end.
        """
        if connection in self._connections:
            self._connections.remove(connection)
        self._recorder.signals.set_typing(Typist.USER, connection, active=False)
        self.touch()

    async def history(self, after: int, limit: int, size: int) -> tuple[Sequence[bytes], bool]:
        """Return committed events with a seq above ``after``, as JSON lines; see :meth:`Attachment.history`."""
        return await _history(self._recorder.stream, after, limit, size)

    # What the registry and the spawner call

    @property
    def is_closed(self) -> bool:
        """Whether the session was closed permanently, and the log has recorded this."""
        return self._handlers.closing is not None and self._handlers.closing.is_done

    @property
    def idle_since(self) -> float | None:
        """Time at which the session became idle, in seconds on trio's clock. None if it is not idle.

        The session is not idle while it handles a message, or has a client, a run, a queued start, a command without a
        reply, or a lease.
        """
        busy = self._handles_message or self.stream.cursors or self.has_work or self._key in self._services.leases
        return None if busy else max(self._active_at, self._starts.active_at)

    @property
    def has_work(self) -> bool:
        """Whether the session has a run, a queued start, or a command without a reply."""
        return bool(self._recorder.runs or self._starts or self._memory.pending())

    def touch(self) -> None:
        """Restart the session's idle time: count it from now on."""
        self._active_at = trio.current_time()

    async def trim_log(self) -> None:
        """Delete from the log the session's events that exceed the limits of retention. Cancelling this does no harm.

        A log that is unavailable is tried again at the next check. Any other failure is logged.
        """
        await attempted("the trimming of a session's log", self._trim_log)

    @property
    def stream(self) -> SessionStream:
        """The stream of the session's events."""
        return self._recorder.stream

    async def _trim_log(self) -> None:
        with suppress(LogError):
            await self._recorder.stream.oldest()

    def statistics(self) -> SessionStatistics:
        """Return numbers that describe the session's state, and the faults that were found in the session."""
        return snapshot(self._services, self._recorder, self._memory, self._starts)

    # Messages other than commands

    async def _attach(self, attach: Attach) -> Callable[[], Attachment]:
        stream = self._recorder.stream
        if attach.resume is not None and is_ahead(attach.resume, stream.epoch, stream.committed_seq):
            self._ahead = self._ahead or AheadClients()
            await self._ahead.until_sure(stream, attach.resume)
        oldest = await stream.oldest()
        return lambda: self._make_attachment(attach, oldest)

    def _make_attachment(self, attach: Attach, oldest: int) -> Attachment:
        """Make a client's cursor and attachment, while no other task runs: the client gets each event exactly once."""
        stream = self._recorder.stream
        latest = stream.committed_seq
        start = decide(
            epoch=stream.epoch, oldest=oldest, latest=latest, resume=attach.resume, from_latest=attach.from_latest
        )
        if attach.connection not in self._connections:
            self._connections.append(attach.connection)
        return Attachment(
            sink=self,
            session=self._key.session,
            connection=attach.connection,
            cursor=stream.attach(attach.listener, start.after),
            epoch=stream.epoch,
            oldest=oldest,
            latest=latest,
            recovered=start.recovered,
            reset=start.reset,
            runs=stream.open_runs(),
            queued=tuple(start.queued for start in self._starts.queued()),
            typing=self._recorder.signals.typing(),
        )

    def _show_typing(self, typing: Typing) -> None:
        signals = self._recorder.signals
        if typing.connection in self._connections or typing.elsewhere:  # else it ended while this message waited
            signals.set_typing(Typist.USER, typing.connection, active=typing.active)
        if not signals.expiring and signals.next_expiry() is not None:
            signals.expiring = True
            self._tasks.start_soon(signals.expire)

    async def _emit(self, emit: Emit) -> Callable[[], None]:
        if self._recorder.stream.put(envelope(Custom.type, None), emit.data):
            await self._recorder.stream.admit()
        return lambda: None


async def _history(stream: SessionStream, after: int, limit: int, size: int) -> tuple[Sequence[bytes], bool]:
    """Return committed events of a stream, as :meth:`Session.history` does."""
    lines: Sequence[bytes] = ()
    after = max(after, await stream.oldest() - 1)
    while after < stream.committed_seq and not lines:
        try:
            lines = await stream.read(after, limit, size)
        except Trimmed as trimmed:
            # Another task trimmed the log just now: continue with the new oldest line. If that line is not above
            # the requested one, the log contradicts itself, and this loop would never end.
            if trimmed.oldest <= after + 1:
                raise LogCorrupt(f"event {after + 1} is missing") from trimmed
            after = trimmed.oldest - 1
    return lines, after + len(lines) < stream.committed_seq


def _emit_within(rate: EmitRate, stream: SessionStream, emit: Emit, reply: Reply, tasks: SessionTasks) -> None:
    """Emit an event of the application. Answer the request when the user is within the limits per second again."""
    try:
        stream.put(envelope(Custom.type, None), emit.data)
    except LogError as error:
        reply.fail(error)
    else:
        # A task of its own: the session must carry out commands while the caller waits.
        tasks.start_soon(_reply_after, rate, rate.due(), reply)


async def _reply_after(rate: EmitRate, due: tuple[float, str], reply: Reply) -> None:
    """Answer a request to emit an event, after the delay ``due``: the user is then within the limits per second."""
    await rate.sleep(*due)
    reply.send(None)


def open_runs(session: Session) -> Iterator[tuple[RunStatistics, ...]]:
    """Yield the runs of a session that have not ended, as :func:`runs_of` does. Those in the queue come last."""
    # A function for the private names: a method would make the class too long.
    return runs_of(session._recorder, session._starts)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as said
