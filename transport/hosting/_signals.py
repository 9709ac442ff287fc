"""SIGTERM and SIGINT of an asyncio web server: first the clients get a goodbye, then the server gets its signal.

*uvicorn closes all sockets with 1012 before it ends the lifespan. So clients would not be told when to come back, and
all of them would come back in the same instant.*
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio

from actors.failures import log_line
from actors.spi import INTERRUPT_HANDLER

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable, Generator

    from transport.hosting._guest import Guest

logger = logging.getLogger("greenroom.hosting")

GOODBYE_SECONDS = 3.0
"""How long the server's own handler waits for the goodbyes. *A client that reads nothing must not hold it up.*"""

# Modules with handlers that only wake a loop, which calls the server later. A wrapper around one would change nothing.
# Trio's own handler raises KeyboardInterrupt, which nothing should delay.
_LOOPS = ("asyncio.unix_events", "uvloop.loop", INTERRUPT_HANDLER)


@contextmanager
def goodbye_first(guest: Guest) -> Generator[None]:
    """Inside the block, SIGTERM and SIGINT first send the clients away, and then reach the server's own handler.

    Only handlers in Python are wrapped (uvicorn has such), and only in the main thread, since Python calls them there.
    A handler of ``loop.add_signal_handler`` and the system's own are left alone.
    """
    before = {number: handler for number in (signal.SIGTERM, signal.SIGINT) if (handler := _servers_own(number))}
    wrapper = _GoodbyeFirst(guest, before)
    on_signal = wrapper.on_signal  # one object, so that it can be recognised
    for number in before:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is on_signal:  # else somebody has replaced it since
                signal.signal(number, handler)


def _servers_own(number: signal.Signals) -> Callable[[int, Any], object] | None:
    """Return the handler of a signal, if it is code of the server that can be wrapped."""
    if threading.current_thread() is not threading.main_thread():
        return None
    handler = signal.getsignal(number)
    if not callable(handler) or handler is signal.default_int_handler:
        return None
    return None if getattr(handler, "__module__", "") in _LOOPS else handler


class _GoodbyeFirst:
    """The signal handler that holds back the first signals until the clients have got their goodbyes."""

    def __init__(self, guest: Guest, before: dict[signal.Signals, Callable[[int, Any], object]]) -> None:
        self._guest = guest
        self._before = {int(number): handler for number, handler in before.items()}
        self._held: list[int] = []
        self._seen: set[int] = set()
        self._passed = False

    def on_signal(self, number: int, frame: Any) -> None:
        """Hold back the first signal, and pass on all signals when it comes again.

        The other signal is held back, too: *a Ctrl-C reaches all processes of a terminal as SIGINT, and the parent of
        the workers sends SIGTERM besides.* A second SIGINT also ends a drain.
        """
        again = number in self._seen
        self._seen.add(number)
        if self._passed:
            if again and number == signal.SIGINT:
                self._guest.loop.call_soon_threadsafe(self._guest.hurry)
            self._before[number](number, frame)
            return
        self._held.append(number)
        if again:
            self._pass_on()
        elif len(self._held) == 1:
            self._guest.loop.call_soon_threadsafe(self._say_goodbye)

    def _say_goodbye(self) -> None:
        host = self._guest.server.host.asyncio
        if self._guest.ended.done() or host is None:
            self._pass_on()
        else:
            host.soon(self._goodbyes).future.add_done_callback(self._on_said)

    async def _goodbyes(self) -> None:
        with trio.move_on_after(GOODBYE_SECONDS):
            await self._guest.server.endpoint.say_goodbye()

    def _on_said(self, said: Future[None]) -> None:
        if not said.cancelled():
            said.exception()  # asyncio logs an exception that is never looked at
        self._pass_on()

    def _pass_on(self) -> None:
        """Give the server the signals that were held back, in their order. Do nothing if it has them."""
        self._passed = True
        held, self._held = self._held, []
        for number in held:
            self._before[number](number, None)


def stop_web_server() -> bool:
    """Stop the web server as a SIGTERM does, because the app behind it has given up.

    Return False if the server does not handle SIGTERM, or not in this thread: the signal would then end the process in
    the middle of its work.
    """
    if threading.current_thread() is not threading.main_thread() or not callable(signal.getsignal(signal.SIGTERM)):
        return False
    log_line(logger, logging.CRITICAL, "the app has given up: the web server is stopped, as by SIGTERM")
    signal.raise_signal(signal.SIGTERM)
    return True


def is_worker() -> bool:
    """Return whether this is the main thread of a worker process that does not handle SIGTERM.

    Such a worker (of Hypercorn) goes on without its lifespan. Its parent stops the server if the worker ends with an
    exit status other than 0.
    """
    return (
        multiprocessing.parent_process() is not None
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
