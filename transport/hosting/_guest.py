"""Trio as a guest of a running asyncio loop, from its start to its end, and the app inside it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from actors import ActorTerminated, ConfigError
from actors.loop.asyncio_host import AsyncioHost, uninterrupted
from transport._running import Host

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from outcome import Outcome

    from actors import EventLog
    from transport._running import Server
    from transport.app import Greenroom


class Guest:
    """A run of trio as a guest of the running asyncio loop, with one app inside. A thread can have one at a time.

    Args:
        app: The app.
        log: The log that replaces the app's own, or None.
    """

    def __init__(self, app: Greenroom, log: str | EventLog | None) -> None:
        self._app, self._log = app, log
        self.loop = asyncio.get_running_loop()
        """The asyncio loop."""
        self.ended: asyncio.Future[Outcome[None]] = self.loop.create_future()
        """The outcome of trio's run: an error if the app failed."""
        self.leaving = False
        """Whether the end of the app was asked for."""
        self._ready: asyncio.Future[Server] = self.loop.create_future()
        self._leave: trio.Event
        self._scope = trio.CancelScope()

    @property
    def server(self) -> Server:
        """The app's server, after :meth:`start`."""
        return self._ready.result()

    async def start(self) -> None:
        """Start trio and the app.

        Raises:
            ConfigError: The thread has a run of trio already, or the app cannot run.
            Exception: Another error of the app's start, such as a LogError.

        Cancellation: trio has ended when this raises.
        """
        try:
            trio.lowlevel.start_guest_run(
                self._run,
                run_sync_soon_threadsafe=self.loop.call_soon_threadsafe,
                run_sync_soon_not_threadsafe=self.loop.call_soon,
                done_callback=self.ended.set_result,
                host_uses_signal_set_wakeup_fd=True,
            )
        except RuntimeError as error:
            raise ConfigError(
                "a thread can host one app: another one (or another run of trio) is in this thread. Register all "
                "agents with one Greenroom, or run the second web server in a process or thread of its own"
            ) from error
        either: tuple[asyncio.Future[Any], ...] = (self._ready, self.ended)
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.hurry()
            await self.stop()
            raise
        if not self._ready.done():
            self.ended.result().unwrap()

    async def call(self, function: Callable[..., Awaitable[object]], *arguments: object) -> None:
        """Await a trio function. Return early if the app ends meanwhile: :meth:`stop` raises its error."""
        host = self.server.host.asyncio
        if host is not None and not self.ended.done():
            try:
                await host.run(function, *arguments)
            except (ActorTerminated, ConfigError):
                await uninterrupted(self.ended)

    def hurry(self) -> None:
        """End the app without waiting for its runs: they are cancelled. :meth:`stop` waits for the end."""
        self.leaving = True
        self._scope.cancel()

    async def stop(self) -> None:
        """Let the app drain, and wait until trio has ended. Raise the error with which the app ended.

        Cancellation: raised at the end only. *Trio that is not run to its end stays in the thread for ever.*
        """
        self.leaving = True
        if self._ready.done():
            self._leave.set()
        await uninterrupted(self.ended)
        self.ended.result().unwrap()

    async def _run(self) -> None:
        self._leave = trio.Event()
        with self._scope:
            async with self._app.running_in(self._make_host, log=self._log) as server:
                self._ready.set_result(server)
                await self._leave.wait()

    def _make_host(self, nursery: trio.Nursery) -> Host:
        return Host("asyncio", nursery, AsyncioHost(self.loop, nursery, self._app.settings.abandon_seconds))


@asynccontextmanager
async def in_guest(
    app: Greenroom, log: str | EventLog | None, stop_server: Callable[[], bool] = bool
) -> AsyncGenerator[Guest]:
    """Run the app on trio as a guest inside the block.

    If the app ends by itself, since its supervision gave up, ``stop_server`` is called. If it returns False, the block
    is cancelled. In both cases the error of the app is raised at the end of the block.
    """
    guest = Guest(app, log)
    await guest.start()
    block = _Block(guest, stop_server)
    guest.ended.add_done_callback(block.on_ended)
    try:
        yield guest
    except asyncio.CancelledError:
        guest.hurry()
        if not block.takes_back():
            raise
    except BaseException:
        guest.hurry()
        raise
    finally:
        guest.ended.remove_done_callback(block.on_ended)
        await guest.stop()


class _Block:
    """The task of a block that is cancelled when the app ends by itself."""

    def __init__(self, guest: Guest, stop_server: Callable[[], bool]) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - it is a task that calls
        self._guest, self._task, self._stop_server = guest, task, stop_server
        self._before = task.cancelling()
        self._cancelled = False

    def on_ended(self, _: object) -> None:
        """Stop the server, or cancel the block, unless the end of the app was asked for."""
        if not self._guest.leaving and not self._stop_server():
            self._cancelled = self._task.cancel()

    def takes_back(self) -> bool:
        """Return whether the task was cancelled by this object alone. If so, it counts as not cancelled any more."""
        return self._cancelled and self._task.uncancel() <= self._before
