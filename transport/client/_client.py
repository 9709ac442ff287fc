"""The calls of a client. The docstring of ``_connect.py`` has its promises to an application."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, cast

from actors.checks import is_whole
from actors.errors import CommandRefused
from actors.events.types import MAX_SEQ, Event, Position
from transport.client._follower import Follower, State
from transport.client._items import Items, States
from transport.errors import ConnectionClosedForGood, ServerBrokeProtocol, TransportError
from transport.protocol.client_frames import CommandFrame, HistoryFrame
from transport.protocol.close_codes import SESSION_CLOSED
from transport.protocol.limits import MAX_HISTORY, MAX_ID
from transport.protocol.names import CommandName
from transport.protocol.server_frames import History, QueuedStart, Signal, Welcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from actors.events.types import JSON
    from transport.client._buffer import Reset
    from transport.client._commands import Question
    from transport.client._statistics import ClientStatistics

__all__ = ["Client"]


class Client:
    """A client that follows one session. :func:`connect` returns it. Any task of its event loop can call its methods.

    If a call is cancelled while it waits for the reply, a command that was not sent yet is withdrawn. A command that
    was sent is not sent again, and it is not known whether the server does it. If a call raises before it waits, no
    command was queued.
    """

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._core = follower.core
        self._loop = follower.loop

    @property
    def state(self) -> State:
        """``connecting``, ``live`` (after the welcome), ``waiting`` (for the next attempt to connect) or ``closed``."""
        return self._follower.state

    def states(self) -> AsyncIterator[State]:
        """Iterate over the states of the client: first the present state, then each new state. The last is ``closed``.

        A state that passed while the application did something else is skipped.
        """
        return States[State](self._loop, lambda: self.state, self._follower.wakeups.states, "closed")

    @property
    def last_failure(self) -> str:
        """Reason why the newest connection ended or the newest attempt to connect failed; "" if there was no failure.

        The text begins with the close code, or with ``HTTP`` and the status if the server refused the upgrade: ``"4501:
        a token is required"``, ``"HTTP 403: this origin is not allowed"``. If the network fails, the code is 1006.
        """
        return self._follower.last_failure

    @property
    def position(self) -> Position | None:
        """Position of the newest event that the application took. Store it for a later ``connect(resume=…)``.

        None before the first welcome. The position advances to an event when the iterator returns that event, so store
        the position after you have processed the event.
        """
        return self._core.buffer.applied

    @property
    def welcome(self) -> Welcome | None:
        """The newest ``welcome`` frame of the server: open runs, typing users and agents, limits of the server.

        None before the first welcome.
        """
        return self._core.welcome

    @property
    def queued(self) -> tuple[QueuedStart, ...]:
        """The requests to start a run that wait in this session's queue, as far as the client knows.

        :meth:`cancel` takes the command id of a waiting start. ``queued`` signals keep this list up to date; the
        application gets these signals from :meth:`signals` too.
        """
        return tuple(self._core.queued.values())

    def statistics(self) -> ClientStatistics:
        """Return the client's counters."""
        return self._follower.statistics()

    def events(self) -> AsyncIterator[Event | Reset]:
        """Iterate over the session's events, each once and in order.

        A later iterator continues where this iterator stopped.

        The iterator ends when the ``async with`` block ends. If ``anext`` is cancelled, no event is lost.

        Raises:
            ConnectionClosedForGood: The client has ended. Raised after all events that had arrived.
            TokenUnavailable: The token callable failed. Raised after all events that had arrived.
            trio.BusyResourceError: Another task waits for events already. In asyncio this is a ``RuntimeError``.
        """
        follower = self._follower
        return Items(self._loop, follower.take_event, follower.wakeups.events, follower.ending.check)

    def signals(self) -> AsyncIterator[Signal]:
        """Iterate over signals: short-lived messages, for example that a user is typing.

        If the application is too slow, the oldest signals are dropped. The iterator ends when the ``async with`` block
        or the client ends, like the iterator of :meth:`events`.
        """
        return Items(
            self._loop, self._follower.signals.take, self._follower.wakeups.signals, self._follower.ending.check
        )

    async def start(
        self,
        agent: str,
        input: JSON = None,  # noqa: A002  api
        *,
        command_id: str | None = None,
        traceparent: str | None = None,
    ) -> str:
        """Start a run of an agent, and return the run's id when its ``agent_started`` event is committed.

        Args:
            agent: Name of the agent.
            input: Any JSON value that the agent accepts.
            command_id: Id of this command, 1 to 128 characters; by default a random id. With an id that it has chosen,
                the application can cancel the start before the reply to the start comes. The application can also
                repeat the start from another process, and the run still starts only once.
            traceparent: The caller's trace, as W3C Trace Context writes it. A server that traces its runs links the
                run to it. By default the trace of the WebSocket's own upgrade, if that has one.

        Raises:
            CommandRefused: The server refused the start; the error's ``code`` says why.
            ConnectionClosedForGood: The client has ended.
        """
        args: dict[str, JSON] = {"agent": agent, "input": input}
        if traceparent is not None:
            args["traceparent"] = traceparent
        result = await self._command(CommandName.RUN_START, args, command_id)
        return cast("str", _field(result, "run_id", str))

    async def cancel(self, run_id: str | None = None, *, command_id: str | None = None) -> bool:
        """Ask a run to stop. Return False if the run is unknown or has ended.

        If the run still waits in the queue, the request to start the run is refused with ``cancelled``, and no event is
        written.

        Args:
            run_id: Id of the run.
            command_id: Id of the command that started the run, in place of ``run_id``.

        Raises:
            ValueError: Both ids were given, or neither.
            CommandRefused: The server refused the command.
            ConnectionClosedForGood: The client has ended.
        """
        if (run_id is None) == (command_id is None):
            raise ValueError("give either a run_id or a command_id")
        args: dict[str, JSON] = {"run_id": run_id} if run_id is not None else {"command_id": command_id}
        return cast("bool", _field(await self._command(CommandName.RUN_CANCEL, args), "cancelled", bool))

    async def answer(self, run_id: str, call_id: str, value: JSON) -> None:
        """Answer an agent's question. The question came as an ``input_requested`` event.

        Args:
            run_id: The ``run_id`` of the event.
            call_id: The ``call_id`` of the event.
            value: The answer: any JSON value that fits the schema of the question.

        Raises:
            CommandRefused: With ``not_waiting`` if the question was answered or withdrawn (``input_withdrawn``) before,
                and with ``unknown_run`` if the run has ended: the questions of a run end with the run.
            ConnectionClosedForGood: The client has ended.
        """
        await self._command(CommandName.INPUT_ANSWER, {"run_id": run_id, "call_id": call_id, "value": value})

    async def send(self, text: str) -> None:
        """Append a ``user_message`` event to the session.

        Raise :class:`~actors.CommandRefused` if the server refuses the message.
        """
        await self._command(CommandName.MESSAGE_SEND, {"text": text})

    async def close_session(self) -> None:
        """Close the session permanently: its runs end, and no client can connect to it again. This client ends too."""
        try:
            await self._command(CommandName.SESSION_CLOSE, {})
        except ConnectionClosedForGood as error:
            if error.code != SESSION_CLOSED:  # with that code it was done, and only the reply got lost
                raise

    async def typing(self, active: bool) -> None:  # noqa: FBT001 - the one argument of a toggle
        """Tell the server whether the user is typing. Does nothing while the client is offline.

        The server assumes after a few seconds that the user has stopped typing, unless this method is called again.
        """
        self._loop.check()
        self._follower.ending.check()
        self._core.typing(active=active)
        self._follower.wakeups.outgoing.unpark_all()
        await self._loop.checkpoint()

    def reconnect(self) -> bool:
        """Begin the next attempt to connect now. Return False if the client is not ``waiting`` for an attempt."""
        self._loop.check()
        return self._follower.reconnect()

    async def history(self, after: int, limit: int = MAX_HISTORY) -> History:
        """Return past events with a seq above ``after``, oldest first: as many events as fit into one message.

        Args:
            after: Only events with a higher seq are returned. If the log has deleted the events after that seq, the
                result begins at the oldest event that is kept.
            limit: Maximum number of events, 1 to 500.

        Raises:
            ValueError: ``after`` or ``limit`` is outside the allowed numbers.
            CommandRefused: The server refused the request.
            ConnectionClosedForGood: The client has ended.
        """
        if not (is_whole(after, 0, MAX_SEQ) and is_whole(limit, 1, MAX_HISTORY)):
            raise ValueError(f"after must be an integer from 0 to 2^53-1 and limit one from 1 to {MAX_HISTORY}")
        page = await self._ask(HistoryFrame(_new_id(), after, limit))
        if not isinstance(page, History):
            raise ServerBrokeProtocol(reason="a reply to a history request that is no history")
        return page

    async def _command(self, name: str, args: dict[str, JSON], command_id: str | None = None) -> Any:
        if command_id is not None and not 1 <= len(command_id) <= MAX_ID:
            raise ValueError(f"a command id has 1 to {MAX_ID} characters")
        return await self._ask(CommandFrame(command_id or _new_id(), name, args))

    async def _ask(self, frame: Question) -> Any:
        try:
            return await self._follower.calls.ask(frame)
        except (CommandRefused, TransportError) as error:
            raise error.with_traceback(None) from error.__cause__  # without the client's own functions


def _new_id() -> str:
    return secrets.token_urlsafe(16)


def _field(result: Any, name: str, kind: type[Any]) -> Any:
    """Return the field ``name`` of a reply. Raise ``ServerBrokeProtocol`` unless its type is exactly ``kind``."""
    value = cast("dict[str, Any]", result).get(name) if isinstance(result, dict) else None
    if type(value) is not kind:
        raise ServerBrokeProtocol(reason=f"a reply without {name}: {result!r}")
    return value
