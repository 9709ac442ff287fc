"""The handle on a session, for the server's code outside of sessions: an HTTP route, a queue, a scheduler."""

from __future__ import annotations

import secrets
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, cast

import orjson
import trio

from actors.errors import ActorTerminated, CommandRefused, GreenroomError
from actors.events.encoding import encode, is_text
from actors.events.types import Position
from actors.loop.one_shot import OneShot
from actors.sessions._commands import LOCAL, TRACEPARENT, Command, CommandReply
from actors.sessions._messages import Attach, Emit
from actors.sessions._run_block import BlockAgent, Companion, RunBlock
from actors.streams._cursor import NO_LISTENER

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from actors.eventlog.base import StreamKey
    from actors.events.types import Event
    from actors.runs._agents import Agent, AgentHost
    from actors.runs._run import Run
    from actors.sessions._attachment import Attachment
    from actors.sessions._directory import Directory
    from actors.sessions._statistics import SessionStatistics

_LEAVE_SECONDS = 5.0
"""Maximum time in which a block that is cancelled before it begins takes its start back, in seconds."""
HISTORY_EVENTS = 100
"""Default number of events that :meth:`SessionHandle.history` returns at most."""


MAX_ID = 128
"""Maximum length of a command id that the server's own code chooses, in characters; as for clients."""


class SessionHandle:
    """A handle on one session of one user. The server's own code uses it to start runs. ``sessions.get`` returns it.

    The handle stays valid when the session stops and is made again. The handle need not be released.
    """

    __slots__ = ("_directory", "_key")

    def __init__(self, directory: Directory, key: StreamKey) -> None:
        self._directory = directory
        self._key = key

    @property
    def user(self) -> str:
        """Id of the user to which the session belongs."""
        return self._key.user

    @property
    def session(self) -> str:
        """Name of the session. The name is unique among the sessions of the user."""
        return self._key.session

    async def start(self, agent: str, input: object = None, *, command_id: str | None = None) -> str:  # noqa: A002 - its name on the wire
        """Start a run, and wait until its event ``agent_started`` is committed to the log.

        Args:
            agent: Name of the agent.
            input: The agent's input: JSON, or another value that an event can carry.
            command_id: An id of your own for this start, of 1 to 128 characters, for a request that may be repeated. A
                start with the same id within ``command_memory_seconds`` starts nothing, and returns the first run's id.

        Returns:
            The id of the run.

        Raises:
            CommandRefused: The start was refused; ``code`` is the reason.
            UnserialisableEvent: The input is not JSON, or too large.

        Cancellation: it is not known whether the run was started. A queued start stays in the queue.
        """
        text = encode(input, self._directory.settings.max_event_bytes)
        reply = await self._command("run.start", self._start_of(agent), encoded_input=text, command_id=command_id)
        return str(reply["run_id"])

    def run(self, agent: str, input: object = None, *, timeout: float | None = None) -> RunBlock:  # noqa: A002 - as above
        """Open a run. Its code is the body of an ``async with`` block in the caller's task.

        Use it as ``async with handle.run("import", rows) as run: run.result = …``. The run has its place among the
        user's runs: entry waits if too many runs are open. If the block raises an exception, the run ends as ``error``,
        and the exception propagates. Inside the block, ``current_run()`` is this run.

        Args:
            agent: Name that clients see as the name of the agent. It need not be registered.
            input: Input that clients see, any JSON value.
            timeout: Time limit in seconds. By default the setting ``run_seconds``.

        Raises:
            RunCancelled: The run was stopped: by its user, by its time limit, or by the end of the server. The block is
                cancelled, and this is raised at its end.
            CommandRefused: The start was refused; ``code`` is the reason. Raised on entry to the block.
            UnserialisableEvent: The input is not JSON, or too large.

        Cancellation: the run ends as ``cancelled``.
        """
        text = encode(input, self._directory.settings.max_event_bytes)
        return RunBlock(partial(self._begin_block, agent, text, timeout, "trio"))

    async def _begin_block(
        self,
        agent: str,
        text: bytes,
        seconds: float | None,
        host: AgentHost,
        companion: Companion,
    ) -> Run:
        """Start the run of a block, and return it when its start is committed to the log. The blocks call this.

        Cancellation: the run is cancelled, or its start leaves the queue.
        """
        block = BlockAgent(agent, companion, seconds, host, None)
        command_id = _local_id()
        try:
            args = self._start_of(agent)
            await self._command("run.start", args, encoded_input=text, command_id=command_id, agent=block)
            return await companion.opened.wait()
        except trio.Cancelled:
            with trio.move_on_after(_LEAVE_SECONDS, shield=True), suppress(GreenroomError):
                await self._command("run.cancel", {"command_id": command_id})
            raise

    async def answer(self, run_id: str, call_id: str, value: object) -> None:
        """Answer a question that a run asks its user.

        Args:
            run_id: Id of the run.
            call_id: Id of the question, as in its event ``input_requested``.
            value: The answer: JSON, or another value that an event can carry.

        Raises:
            CommandRefused: The run does not wait for this answer (``not_waiting``, ``unknown_run``), or the answer does
                not fit.
            UnserialisableEvent: The answer is not JSON, or too large.

        Cancellation: it is not known whether the question was answered.
        """
        fit = orjson.loads(encode(value, self._directory.settings.max_event_bytes))
        await self._command("input.answer", {"run_id": run_id, "call_id": call_id, "value": fit})

    async def cancel(self, run_id: str) -> bool:
        """Ask a run to stop, and return True. Return False if the run is unknown or has ended.

        Cancellation: it is not known whether the run was asked to stop.
        """
        reply = await self._command("run.cancel", {"run_id": run_id})
        return bool(reply["cancelled"])

    async def emit(self, name: str, value: object = None) -> None:
        """Emit a ``custom`` event of the session. The event belongs to no run.

        Args:
            name: The ``name`` in the event's data.
            value: The ``value`` in the event's data: JSON, or another value that an event can carry.

        Raises:
            UnserialisableEvent: The value is not JSON, or too large.
            LogUnavailable: The log has failed. The event is not in the log.
            ActorTerminated: The session ended meanwhile. It is not known whether the event is in the log.

        Cancellation: it is not known whether the event was emitted.
        """
        data = encode({"name": name, "value": value}, self._directory.settings.max_event_bytes)
        await self._directory.ask(self._key, Emit(data))

    async def position(self) -> Position:
        """Return the position of the newest event in the session's log.

        The position of any other event has the same epoch, and the seq of that event.

        Raises:
            LogError: The log could not be read.
        """
        attach = Attach(_local_id(), NO_LISTENER, from_latest=True)
        attachment = cast("Attachment", await self._directory.ask(self._key, attach))
        attachment.detach()
        return Position(attachment.epoch, attachment.latest)

    async def close(self) -> None:
        """Close the session permanently, and wait until the log has recorded the close.

        The runs of the session end as ``cancelled``. The session's clients are disconnected and do not reconnect. Until
        retention removes the session from the log, every later call for it raises :class:`~actors.SessionClosed`.

        Cancellation: it is not known whether the session was closed.
        """
        await self._command("session.close", {})

    def lease(self) -> AbstractAsyncContextManager[None]:
        """Keep the session in memory inside ``async with handle.lease(): …``, even if it is idle.

        Take a lease while the session waits for something outside, such as a webhook or a job in another system. After
        a crash of the session the lease is still valid, but the session is made again only at the next call. A lease
        does not delay the end of the server.
        """
        return self._directory.lease(self._key)

    async def history(
        self, *, after: int | None = None, before: int | None = None, limit: int = HISTORY_EVENTS
    ) -> Sequence[Event]:
        """Return committed events of the session in their order, without attaching a client.

        With ``after``, the first events with a higher seq are returned. Otherwise the newest events are returned: those
        before ``before``, or the newest of all. Events that retention has deleted are left out. For the next page pass
        the seq of the last event as ``after``, or the seq of the first event as ``before``.

        Args:
            after: Only events with a higher seq are returned.
            before: Only events with a lower seq are returned.
            limit: Maximum number of events, from 1 to 1,000.

        Raises:
            ValueError: An argument is not within its bounds.
            LogError: The log failed.
        """
        self._directory.require_task("history()")
        return await self._directory.history(self._key, after, before, limit)

    def statistics(self) -> SessionStatistics | None:
        """Return the state of the session. Return None if it is not in memory.

        A thread that the session's event loop started can call this too.
        """
        return self._directory.statistics_of(self._key)

    def _start_of(self, agent: str) -> dict[str, object]:
        """Return the arguments of a ``run.start``. They name the trace of the caller, if runs are traced."""
        tracer = self._directory.agents.tracer
        origin = None if tracer is None else tracer.origin()
        return {"agent": agent} if origin is None else {"agent": agent, TRACEPARENT: origin}

    async def _command(
        self,
        name: str,
        args: dict[str, object],
        *,
        encoded_input: bytes | None = None,
        command_id: str | None = None,
        agent: Agent | None = None,
    ) -> dict[str, object]:
        """Send a command to the session, and return the result of the reply.

        With ``command_id`` and without ``agent``, the reply is remembered: a command with the same id gets it again.
        Raise ``CommandRefused`` if the command is refused.
        """
        self._directory.require_task(name)
        replied = OneShot[CommandReply]()
        command = Command(
            _local_id() if command_id is None else _checked_id(command_id),
            name,
            args,
            LOCAL,
            replied.set,
            internal=command_id is None or agent is not None,
            encoded_input=encoded_input,
            agent=agent,
        )
        try:
            await self._directory.ask(self._key, command)
        except ActorTerminated as error:
            raise CommandRefused("internal", "the session ended before it could reply") from error
        reply = await replied.wait()
        if reply.code is not None:
            raise CommandRefused(reply.code, reply.message)
        return dict(reply.result)  # type: ignore[arg-type]  # every command's result is an object


def _local_id() -> str:
    """Return a new id for a command of the server's own code."""
    return f"local-{secrets.token_hex(8)}"


def _checked_id(command_id: object) -> str:
    """Return an id that the caller has chosen. Raise ``CommandRefused("bad_args")`` if it cannot be one."""
    if not isinstance(command_id, str) or not 0 < len(command_id) <= MAX_ID or not is_text(command_id):
        raise CommandRefused("bad_args", f"command_id must be a string of 1 to {MAX_ID} characters")
    return command_id
