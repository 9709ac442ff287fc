"""The task that keeps a client connected: it connects, reads and reconnects until the client ends."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal, TypeAlias

from actors.events.types import Event
from actors.failures import log_line
from transport.client._buffer import EventBuffer
from transport.client._calls import Calls
from transport.client._commands import Commands
from transport.client._core import Answer, ClientCore, Retry
from transport.client._ended import Ended
from transport.client._ending import Ending
from transport.client._interrupt import Interrupt
from transport.client._items import SignalBuffer, Wakeups
from transport.client._link import Link
from transport.client._statistics import ClientStatistics
from transport.client._stopwatch import awake_or_asleep
from transport.client._token_source import TokenSource
from transport.errors import ClientClosed, ServerBrokeProtocol, TokenUnavailable, TransportError
from transport.protocol.close_codes import ABNORMAL
from transport.protocol.server_frames import Renewed, Signal, Welcome

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from transport.client._buffer import Reset
    from transport.client._connection import Dialer
    from transport.client._core import Output
    from transport.client._loop import EventLoop
    from transport.client._options import Options, Token
    from transport.client._reconnect_delays import ReconnectDelays
    from transport.protocol.client_frames import Hello

logger = logging.getLogger("greenroom.client")

State: TypeAlias = Literal["connecting", "live", "waiting", "closed"]


class Follower:
    """The part of a :class:`~transport.Client` that follows a session across all its connections."""

    def __init__(  # noqa: PLR0913  the functions `connect` pass all of them
        self,
        loop: EventLoop,
        dialer: Dialer,
        hello: Hello,
        *,
        token: Token,
        options: Options,
        delays: ReconnectDelays,
    ) -> None:
        self.core = ClientCore(
            hello=hello,
            buffer=EventBuffer(
                options.buffer_events, options.buffer_bytes, received=hello.resume, applied=hello.resume
            ),
            commands=Commands(options.max_commands, (awake_or_asleep, loop.now)),
            delays=delays,
            renewable=callable(token),
        )
        self.loop = loop
        self.wakeups = Wakeups(loop)
        self.ending = Ending()
        self.calls = Calls(loop, self.core.commands, self.ending, self.wakeups)
        self.signals = SignalBuffer(options.signals)
        self._session = hello.session
        self._dialer = dialer
        self._tokens = TokenSource(loop, token, hello.session)
        self._options = options
        self._interrupt = Interrupt(loop)
        self._state: State = "connecting"
        self._connections = self._failures = self._taken = self._catch_ups = 0
        self.last_failure = self._logged_failure = ""

    @property
    def state(self) -> State:
        """``connecting``, ``live`` (after the welcome), ``waiting`` (for the next attempt to connect) or ``closed``."""
        return "live" if self.core.live else self._state

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Stay connected until the ``with`` block is left. Then send a close frame, unless the block was cancelled."""
        failure: BaseException | None = None
        try:
            async with self.loop.tasks() as tasks:
                tasks.start(self._run)
                try:
                    yield
                except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001  raised below, ungrouped
                    failure = error
                self._interrupt.leave()
        finally:
            if self.ending.error is None:
                self._end(ClientClosed("the client's block has ended"))
        if failure is not None:
            raise failure
        self.ending.raise_unseen()

    # For the application's tasks

    def reconnect(self) -> bool:
        """End the delay before the next attempt. Return False if the client is not ``waiting``."""
        if self.state != "waiting":
            return False
        self._interrupt.scope.cancel()
        return True

    def take_event(self) -> Event | Reset | None:
        """Remove and return the next event or reset from the buffer. Return None if there is none."""
        buffer = self.core.buffer
        item = buffer.take()
        if item is None:
            return None
        self._taken += isinstance(item, Event)
        if buffer.skipping and buffer.roomy:
            self._stop_skipping()
        if not buffer.full:
            self.wakeups.room.unpark_all()
        return item

    def _stop_skipping(self) -> None:
        buffer = self.core.buffer
        if not buffer.missed:
            buffer.skipping = False
        elif self.core.live:
            # Only a resume brings the events that were skipped.
            self._interrupt.catch_up()

    def statistics(self) -> ClientStatistics:
        """Return the client's counters."""
        core = self.core
        return ClientStatistics(
            connections=self._connections,
            failures=self._failures,
            last_failure=self.last_failure,
            events=self._taken,
            waiting=len(core.buffer),
            duplicates=core.buffer.duplicates,
            skipped=core.buffer.skipped,
            catch_ups=self._catch_ups,
            resets=core.resets,
            commands=len(core.commands),
            resent=core.commands.resent,
            signals_dropped=self.signals.dropped,
            pings=core.pings,
            errors=core.errors,
        )

    # The task

    async def _run(self) -> None:
        """Connect, read and reconnect. Return when the application closes the client, or an error ends the client."""
        fetch = True
        while self.ending.error is None and not self._interrupt.leaving:
            self._enter("connecting")
            ended: Ended | ServerBrokeProtocol | None = None
            if fetch:
                ended = await self._fetch_token()
                fetch = ended is not None
            if self.ending.error is not None or self._interrupt.leaving:  # while the token was fetched
                return
            decision = self._decide(ended or await self._link().run(self._tokens.newest))
            if self._interrupt.leaving:
                return
            if isinstance(decision, TransportError):
                self._end(decision)
                return
            self._enter("waiting")
            async with self._interrupt.begin(deadline=self.loop.now() + decision.delay):
                await self.loop.lot().park()  # nothing wakes it but the deadline, `reconnect` or `leave`
            fetch = fetch or decision.renew

    def _enter(self, state: State) -> None:
        self._state = state
        self.wakeups.states.unpark_all()

    def _link(self) -> Link:
        self._interrupt.catching_up = False  # it concerned the previous connection
        return Link(
            loop=self.loop,
            dialer=self._dialer,
            core=self.core,
            interrupt=self._interrupt,
            deliver=self._deliver,
            wakeups=self.wakeups,
            options=self._options,
            fresh_token=self._tokens.fresh,
        )

    def _deliver(self, outputs: list[Output]) -> None:
        """Pass the outputs of one message to the waiting tasks. Events are in the buffer already."""
        for output in outputs:
            match output:
                case Answer(id_, outcome):
                    self.calls.answer(id_, outcome)
                case Signal():
                    self.signals.put(output)
                    self.wakeups.signals.unpark_all()
                case Welcome():
                    self._connections += 1
                    self._logged_failure = ""
                    self.wakeups.states.unpark_all()
                    self.wakeups.expiry.unpark_all()
                case Renewed():
                    self.wakeups.expiry.unpark_all()
        if len(self.core.buffer):
            self.wakeups.events.unpark_all()

    def _decide(self, ended: Ended | ServerBrokeProtocol) -> Retry | TransportError:
        decision = self._on_ended(ended)
        self._deliver(self.core.expire_commands())
        return decision

    def _on_ended(self, ended: Ended | ServerBrokeProtocol) -> Retry | TransportError:
        if isinstance(ended, Ended) and ended.catching_up:
            # Not a failure: the client ended this connection itself, and reconnects without a delay.
            self._catch_ups += 1
            self.core.on_left()
            return Retry(0)
        self._failures += 1
        if isinstance(ended, ServerBrokeProtocol):
            self.core.on_left()
            self.last_failure = str(ended)
            return ended
        number = ended.code if ended.status is None else f"HTTP {ended.status}"
        self.last_failure = f"{number}: {ended.reason or 'no reason given'}"
        if ended.status is not None:
            decision = self.core.on_rejected(ended.status, ended.reason)
        else:
            decision = self.core.on_closed(ended.code, ended.reason, ended.lived)
        if isinstance(decision, Retry):
            self._log_failure()
        return decision

    def _log_failure(self) -> None:
        """Log why the client is not connected: once for each reason, until it is connected again."""
        # A line for each attempt would fill the log while a server is away.
        if self.last_failure != self._logged_failure:
            self._logged_failure = self.last_failure
            log_line(
                logger, logging.INFO, "session %s: not connected, trying again: %s", self._session, self.last_failure
            )

    async def _fetch_token(self) -> Ended | None:
        """Get a token from the application. If none comes in time, return an ``Ended``: the attempt has failed.

        If the callable raises, the client ends, and the tasks that use the client get the exception. If the callable
        takes too long, the call is cancelled, so that an old token cannot arrive late. The next attempt calls the
        callable again.
        """
        seconds = self._options.token_seconds
        try:
            async with self._interrupt.begin(deadline=self.loop.now() + seconds):
                await self._tokens.fetch()
                return None
        except TokenUnavailable as error:
            self._end(error)
        return Ended(ABNORMAL, f"no token within {seconds:g} s")

    def _end(self, error: TransportError) -> None:
        """End the client with ``error``: wake every task that waits for something."""
        self.core.on_left()
        self._enter("closed")
        self.ending.error = error
        self.calls.end(error)
        self.wakeups.events.unpark_all()
        self.wakeups.signals.unpark_all()
