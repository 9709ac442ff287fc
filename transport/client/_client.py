"""The Python client: one session, followed across reconnects.

    async with connect("ws://127.0.0.1:8765", session="s1", token=token) as client:
        run_id = await client.start("assistant", "hello")
        async for event in client.events():
            ...

**Events.** Each once and in order, whatever happens to the connection. A :class:`Reset` among them says that the
position was lost: drop what was built from events before it. A duplicate is dropped; a gap drops the connection, and
the resume brings what was missing.

**A slow application.** Between socket and application wait at most ``buffer_events`` events (and about
``buffer_bytes``), give or take a message. When they are full the client stops reading, so that the server feels it, but
only for ``patience`` seconds, and not while a command waits for its reply. After that it reads on, to answer pings and
see replies, and lets events go; they are in the server's log. Once the application has taken half of what waits, the
client drops the connection, resumes after the last event it kept, and nothing was lost.

**Commands.** Each has an id. It is queued while offline, and sent again on the next connection until its reply comes:
the server does a command with one id once. The server remembers ids only for so long (``Welcome.command_memory_ms``): a
command that was first sent longer ago, by a clock that goes on while the machine sleeps, is not sent again, and raises
:class:`~transport.errors.OutcomeUnknown`. At most ``max_commands`` may be without a reply; one more is refused with
``overloaded``. By default they are fewer than a server takes at once, so that none of those that waited while offline
is refused for their number.

**The end.** The client comes back from everything that coming back may cure. From the rest it does not:
:meth:`Client.events` hands out what had arrived and raises :class:`~transport.errors.ConnectionClosedForGood`, as do
commands. These count as such: the close codes that say so, an upgrade refused with an HTTP status other than 408, 425,
429 and 5xx, an expired token with no callable to ask for another, a strict client's lost position, a server that breaks
the protocol.
"""

from __future__ import annotations

import copy
import inspect
import secrets
from collections import deque
from contextlib import asynccontextmanager
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import attrs
import trio

from actors.checks import is_whole
from actors.events.types import MAX_SEQ, Event, Position
from actors.failures import shown
from transport.client import _arguments as arguments
from transport.client import _link as links
from transport.client._buffer import EventBuffer
from transport.client._commands import Commands
from transport.client._core import Answer, ClientCore, Retry
from transport.client._frames import History, OpenRun, QueuedStart, Reset, Signal, Typist, Welcome
from transport.client._reconnect_delays import ReconnectDelays
from transport.client._statistics import ClientStatistics
from transport.client._stopwatch import awake_or_asleep
from transport.client._waiting import Items, Slot
from transport.errors import (
    ClientClosed,
    ConnectionClosedForGood,
    ServerBrokeProtocol,
    TokenUnavailable,
    TransportError,
)
from transport.protocol.close_codes import ABNORMAL, SESSION_CLOSED

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from actors.events.types import JSON
    from transport.client._core import Output

__all__ = [
    "Client",
    "ClientStatistics",
    "History",
    "OpenRun",
    "QueuedStart",
    "Reset",
    "Signal",
    "Typist",
    "Welcome",
    "connect",
]

Token: TypeAlias = "str | Callable[[], str | Awaitable[str]] | None"  # noqa: S105  a type
"""A token, or what to call for one: at the first connection, and again whenever the server says that it expired."""
State: TypeAlias = Literal["connecting", "live", "waiting", "closed"]

_COMMAND_ID_LENGTH = 128
_HISTORY_LIMIT = 500


@attrs.frozen(kw_only=True)
class _Options:
    """What :func:`connect` was told, as it is documented there."""

    buffer_events: int
    buffer_bytes: int
    max_commands: int
    signals: int
    patience: float
    connect_seconds: float
    token_seconds: float
    max_message_size: int


class Client:
    """A session, followed by :func:`connect`, which is the way to get one. Its methods may be called by any task.

    A command that is cancelled while it waits for its reply is withdrawn if it was not sent yet; if it was, it may or
    may not have been done, and is not sent again. A command that raises at the call leaves nothing behind.
    """

    def __init__(
        self, target: links.Target, core: ClientCore, token: Token, factory: links.StreamFactory, options: _Options
    ) -> None:
        self._target = target
        self._core = core
        self._token = token
        self._factory = factory
        self._options = options
        self._interrupt = links.Interrupt()
        self._state: State = "connecting"
        self._error: TransportError | None = None
        self._told = False
        self._slots: dict[str, Slot] = {}
        self._signals: deque[Signal] = deque(maxlen=options.signals)
        self._events_lot = trio.lowlevel.ParkingLot()
        self._signals_lot = trio.lowlevel.ParkingLot()
        self._outgoing = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()
        self._connections = self._failures = self._taken = self._catch_ups = self._signals_dropped = 0
        self._last_failure = ""

    @property
    def state(self) -> State:
        """``connecting``, ``live`` (since the welcome), ``waiting`` (for the next attempt) or ``closed``."""
        return "live" if self._core.live else self._state

    @property
    def position(self) -> Position | None:
        """What the application took so far, for a later ``connect(resume=…)``; None before the first welcome.

        It moves past an event when the iterator hands it out: read it after having dealt with the event.
        """
        return self._core.buffer.applied

    @property
    def welcome(self) -> Welcome | None:
        """The newest welcome: the runs that were open then, who was typing, what the server allows."""
        return self._core.welcome

    @property
    def queued(self) -> tuple[QueuedStart, ...]:
        """The session's starts that wait for their turn, as far as is known; :meth:`cancel` takes their command id.

        Kept up to date by the ``queued`` signals, which go on to :meth:`signals` too.
        """
        return tuple(self._core.queued.values())

    def statistics(self) -> ClientStatistics:
        """Count what happened since the client was made."""
        core = self._core
        return ClientStatistics(
            connections=self._connections,
            failures=self._failures,
            last_failure=self._last_failure,
            events=self._taken,
            waiting=len(core.buffer),
            duplicates=core.buffer.duplicates,
            skipped=core.buffer.skipped,
            catch_ups=self._catch_ups,
            resets=core.resets,
            commands=len(core.commands),
            resent=core.commands.resent,
            signals_dropped=self._signals_dropped,
            pings=core.pings,
            errors=core.errors,
        )

    def events(self) -> AsyncIterator[Event | Reset]:
        """Iterate over the session's events, each once and in order; a later iterator goes on where one was left.

        Ends when the ``async with`` block does; raises :class:`~transport.errors.ConnectionClosedForGood` or
        :class:`~transport.errors.TokenUnavailable` when the client gave up, after everything that had arrived.
        """
        return Items(self._take_event, self._events_lot, self._check)

    def signals(self) -> AsyncIterator[Signal]:
        """Iterate over ephemeral signals; the oldest are dropped if they are not taken. Ends as :meth:`events` does."""
        return Items(self._take_signal, self._signals_lot, self._check)

    async def start(self, agent: str, input: JSON = None, *, command_id: str | None = None) -> str:  # noqa: A002  api
        """Start a run; its id, once ``agent_started`` is committed.

        ``command_id`` (1 to 128 characters) may be given to be able to cancel a start that has no reply yet, or to
        repeat it from another process without starting it twice. Raises :class:`~actors.CommandRefused`.
        """
        result = await self._command("run.start", {"agent": agent, "input": input}, command_id)
        return cast("str", _field(result, "run_id", str))

    async def cancel(self, run_id: str | None = None, *, command_id: str | None = None) -> bool:
        """Ask a run to stop, by its id or by that of the command which started it; False if it is unknown or over.

        A start that still waits for its turn is refused as ``cancelled``, and makes no event.
        """
        if (run_id is None) == (command_id is None):
            raise ValueError("give either a run_id or a command_id")
        args: dict[str, JSON] = {"run_id": run_id} if run_id is not None else {"command_id": command_id}
        return cast("bool", _field(await self._command("run.cancel", args), "cancelled", bool))

    async def answer(self, run_id: str, call_id: str, value: JSON) -> None:
        """Answer an ``input_requested`` event.

        Raises :class:`~actors.CommandRefused`: ``not_waiting`` once the question was answered or withdrawn
        (``input_withdrawn``), ``unknown_run`` after the end of its run, which ends its questions too.
        """
        await self._command("input.answer", {"run_id": run_id, "call_id": call_id, "value": value})

    async def send(self, text: str) -> None:
        """Put a ``user_message`` event in the session. Raises :class:`~actors.CommandRefused`."""
        await self._command("message.send", {"text": text})

    async def close_session(self) -> None:
        """Close the session for everybody: its runs end, and nobody can attach again. Ends this client for good too."""
        try:
            await self._command("session.close", {})
        except ConnectionClosedForGood as error:
            if error.code != SESSION_CLOSED:  # else it was done, only the reply got lost
                raise

    async def typing(self, active: bool) -> None:  # noqa: FBT001 - the one argument of a toggle
        """Say whether the user is typing. Dropped while offline; the server lets it lapse after a few seconds."""
        self._check()
        self._core.typing(active=active)
        self._outgoing.unpark_all()
        await trio.lowlevel.checkpoint()

    async def history(self, after: int, limit: int = _HISTORY_LIMIT) -> History:
        """Get events above seq ``after``, at most ``limit`` (1 to 500): as many as fit one message, ascending.

        Where those were trimmed it begins at the oldest kept one. Raises :class:`~actors.CommandRefused`.
        """
        if not (is_whole(after, 0, MAX_SEQ) and is_whole(limit, 1, _HISTORY_LIMIT)):
            raise ValueError(f"after must be an integer from 0 to 2^53-1 and limit one from 1 to {_HISTORY_LIMIT}")
        page = await self._ask({"type": "history", "id": _new_id(), "after": after, "limit": limit})
        if not isinstance(page, History):
            raise ServerBrokeProtocol(reason="a reply to a history request that is no history")
        return page

    async def _command(self, name: str, args: dict[str, JSON], command_id: str | None = None) -> Any:
        if command_id is not None and not 1 <= len(command_id) <= _COMMAND_ID_LENGTH:
            raise ValueError(f"a command id has 1 to {_COMMAND_ID_LENGTH} characters")
        return await self._ask({"type": "command", "id": command_id or _new_id(), "name": name, "args": args})

    async def _ask(self, frame: dict[str, Any]) -> Any:
        self._check()
        self._core.commands.submit(frame)
        slot = self._slots[frame["id"]] = Slot()
        self._outgoing.unpark_all()
        self._room.unpark_all()
        try:
            await slot.arrived.wait()
        finally:
            # With the reply it was taken out: what is there now may be a later command of another task with this id.
            if self._slots.get(frame["id"]) is slot:
                del self._slots[frame["id"]]
                self._core.commands.forget(frame["id"])
        if isinstance(slot.outcome, TransportError):
            self._check()
        if isinstance(slot.outcome, Exception):
            raise slot.outcome
        return slot.outcome

    def _check(self) -> None:
        """Raise what ended the client, if something did: a fresh copy, so that tasks do not share a traceback."""
        if self._error is not None:
            self._told = True
            raise copy.copy(self._error) from self._error.__cause__

    def _take_event(self) -> Event | Reset | None:
        buffer = self._core.buffer
        item = buffer.take()
        if item is None:
            return None
        self._taken += isinstance(item, Event)
        if buffer.skipping and buffer.roomy:
            self._stop_skipping()
        if not buffer.full:
            self._room.unpark_all()
        return item

    def _stop_skipping(self) -> None:
        buffer = self._core.buffer
        if not buffer.missed:
            buffer.skipping = False
        elif self._core.live:
            self._interrupt.catch_up()

    def _take_signal(self) -> Signal | None:
        return self._signals.popleft() if self._signals else None

    def _deliver(self, outputs: list[Output]) -> None:
        """Hand on what a message meant; events are in the buffer already."""
        for output in outputs:
            match output:
                case Answer(id_, outcome):
                    self._slots.pop(id_).fill(outcome)
                case Signal():
                    self._signals_dropped += len(self._signals) == self._signals.maxlen
                    self._signals.append(output)
                    self._signals_lot.unpark_all()
                case Welcome():
                    self._connections += 1
        if len(self._core.buffer):
            self._events_lot.unpark_all()

    async def run(self) -> None:
        """Connect, converse and come back, until it is left or ended for good. Called by :func:`connect`."""
        token: str | None = None
        fetch = True
        while self._error is None and not self._interrupt.leaving:
            self._state = "connecting"
            ended: links.Ended | ServerBrokeProtocol | None = None
            if fetch:
                token, ended = await self._fetch_token()
                fetch = ended is not None
            if self._error is not None or self._interrupt.leaving:
                return
            decision = self._decide(ended or await self._link().run(token))
            if self._interrupt.leaving:
                return
            if isinstance(decision, TransportError):
                self._end(decision)
                return
            self._state = "waiting"
            with self._interrupt.begin(deadline=trio.current_time() + decision.delay):
                await trio.sleep_forever()
            fetch = fetch or decision.renew

    def _link(self) -> links.Link:
        self._interrupt.catching_up = False
        return links.Link(
            target=self._target,
            core=self._core,
            interrupt=self._interrupt,
            open_stream=self._factory,
            deliver=self._deliver,
            outgoing=self._outgoing,
            room=self._room,
            connect_seconds=self._options.connect_seconds,
            patience=self._options.patience,
            max_message_size=self._options.max_message_size,
        )

    def _decide(self, ended: links.Ended | ServerBrokeProtocol) -> Retry | TransportError:
        decision = self._judge(ended)
        self._deliver(self._core.forgotten())
        return decision

    def _judge(self, ended: links.Ended | ServerBrokeProtocol) -> Retry | TransportError:
        if isinstance(ended, links.Ended) and ended.catching_up:
            self._catch_ups += 1
            self._core.left()
            return Retry(0)
        self._failures += 1
        if isinstance(ended, ServerBrokeProtocol):
            self._core.left()
            self._last_failure = str(ended)
            return ended
        self._last_failure = f"{ended.status or ended.code}: {ended.reason}"
        if ended.status is not None:
            return self._core.rejected(ended.status, ended.reason)
        return self._core.closed(ended.code, ended.reason, ended.lived)

    async def _fetch_token(self) -> tuple[str | None, links.Ended | None]:
        """Get a token from the application, or return how the attempt ended because there was none in time.

        What the callable raises ends the client, and is raised to the tasks that use it. A callable that hangs is
        cancelled, so that nothing of it comes late, and called again with the next attempt.
        """
        if not callable(self._token):
            return self._token, None
        seconds = self._options.token_seconds
        try:
            with self._interrupt.begin(deadline=trio.current_time() + seconds):
                token = self._token()
                return arguments.checked_token(await token if inspect.isawaitable(token) else token), None
        except TokenUnavailable as error:
            self._end(error)
        except Exception as error:  # noqa: BLE001  the application's own code: whatever it raises is handed back to it
            unavailable = TokenUnavailable(f"the token callable raised {shown(error)}")
            unavailable.__cause__ = error
            self._end(unavailable)
        return None, links.Ended(ABNORMAL, f"no token within {seconds:g} s")

    def leave(self) -> None:
        """End the client, with a close frame if it is connected. Called by :func:`connect`."""
        self._interrupt.leave()

    def finish(self) -> None:
        """Tell everybody who still waits that it is over. Called by :func:`connect`, after :meth:`run`."""
        if self._error is None:
            self._end(ClientClosed("the client's block has ended"))

    def tell(self) -> None:
        """Raise what the application's own code raised, if nobody was told. Called by :func:`connect`, last."""
        if isinstance(self._error, TokenUnavailable) and not self._told:
            self._check()

    def _end(self, error: TransportError) -> None:
        self._core.left()
        self._state = "closed"
        self._error = error
        for slot in self._slots.values():
            slot.fill(error)
        self._events_lot.unpark_all()
        self._signals_lot.unpark_all()


@asynccontextmanager
async def connect(  # noqa: PLR0913  each has a default that is right for nearly everybody
    url: str,
    session: str,
    token: Token = None,
    *,
    resume: Position | None = None,
    from_: Literal["oldest", "latest"] = "oldest",
    strict: bool = False,
    client: str = "greenroom-python",
    buffer_events: int = 1024,
    buffer_bytes: int = 16 * 1024 * 1024,
    max_commands: int = 32,
    signals: int = 64,
    patience: float = 5.0,
    connect_seconds: float = 10.0,
    token_seconds: float = 15.0,
    max_message_size: int = 4 * 1024 * 1024,
    ssl_context: ssl.SSLContext | None = None,
    open_stream: links.StreamFactory | None = None,
    rng: Random | None = None,
) -> AsyncGenerator[Client]:
    """Follow ``session`` at ``url`` until the block is left. Returns at once: the first connection is made meanwhile.

    - ``token``: a string, or a callable, sync or async, that is asked for one at first and whenever it expired. What it
      raises ends the client (:class:`~transport.errors.TokenUnavailable`).
    - ``resume``: a :attr:`Client.position` that was kept; the first event is the one after it, or a :class:`Reset`.
    - ``from_``: without one, begin at the oldest event that is kept, or with what is new.
    - ``strict``: a position that cannot be recovered ends the client with :class:`~transport.errors.PositionLost`.
    - ``client``: what the program calls itself; for whoever reads the frames.
    - ``buffer_events``, ``buffer_bytes``, ``patience``, ``max_commands``: see the module.
    - ``signals``: how many signals wait to be taken.
    - ``connect_seconds``: for the TCP, TLS and WebSocket handshakes together.
    - ``token_seconds``: for one call of the token callable; then it is cancelled, and called again after a delay.
    - ``max_message_size``: in characters; above the server's ``max_event_bytes``, or a larger event ends the client.
    - ``open_stream``: opens the byte stream: through a proxy, over a Unix socket, in memory. What it raises is an
      attempt that failed; anything but ``OSError`` and ``trio.BrokenResourceError`` is logged with its traceback.
    - ``rng``: draws the jitter of the delays.

    Raises ``ValueError`` for arguments that no server would take. Leaving the block sends a close frame; cancelling it
    closes the connection without one. If the token callable failed and nobody was told, leaving raises it.
    """
    arguments.check_session(session, resume, from_)
    arguments.check_strings(client=client, token=None if callable(token) else token)
    arguments.check_numbers(
        buffer_events=buffer_events,
        buffer_bytes=buffer_bytes,
        max_commands=max_commands,
        max_message_size=max_message_size,
        signals=signals,
        patience=patience,
        connect_seconds=connect_seconds,
        token_seconds=token_seconds,
    )
    options = _Options(
        buffer_events=buffer_events,
        buffer_bytes=buffer_bytes,
        max_commands=max_commands,
        signals=signals,
        patience=patience,
        connect_seconds=connect_seconds,
        token_seconds=token_seconds,
        max_message_size=max_message_size,
    )
    core = ClientCore(
        session=session,
        hello={"from": from_, "strict": bool(strict), "client": client},
        buffer=EventBuffer(buffer_events, buffer_bytes, received=resume, applied=resume),
        commands=Commands(max_commands, (awake_or_asleep, trio.current_time)),
        delays=ReconnectDelays(rng or SystemRandom()),
        renewable=callable(token),
    )
    target = links.parse_url(url, ssl_context)
    one = Client(target, core, token, open_stream or links.open_stream, options)
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.run)
            try:
                yield one
            except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001  raised again below, ungrouped
                failure = error
            one.leave()
    finally:
        one.finish()
    if failure is not None:
        raise failure
    one.tell()


def _new_id() -> str:
    return secrets.token_urlsafe(16)


def _field(result: Any, name: str, kind: type[Any]) -> Any:
    """Take what a reply must hold."""
    value = cast("dict[str, Any]", result).get(name) if isinstance(result, dict) else None
    if type(value) is not kind:
        raise ServerBrokeProtocol(reason=f"a reply without {name}: {result!r}")
    return value
