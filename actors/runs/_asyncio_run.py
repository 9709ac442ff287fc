"""The run of an asyncio agent: the same object as for trio agents, with methods that wait in asyncio."""

from __future__ import annotations

import asyncio
import concurrent.futures
from contextlib import contextmanager
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, Self, TypeVar

import trio

from actors.events.types import Status
from actors.loop.asyncio_host import AsyncioCancelled
from actors.loop.threads import wrong_place
from actors.runs._agents import needs_asyncio
from actors.runs._asyncio_scope import AsyncioRunScope
from actors.runs._asyncio_tools import AsyncioToolCall
from actors.runs._emits import string_of
from actors.runs._outcome import Outcome
from actors.runs._raised import CodeEnded
from actors.runs._run import FINISHING_SECONDS, Run
from actors.runs._task_scope import TaskScope, has_cancelled, is_ending
from actors.streams._stream import has_room

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Mapping

    from actors.loop.asyncio_host import AsyncioHost
    from actors.runs._agents import AgentFunction
    from actors.runs._recorder import RunRecorder
    from actors.runs._tools import ToolCall
    from actors.streams._emit_rate import EmitRate
    from actors.streams._stream import SessionStream

T = TypeVar("T")


class AsyncioRun(Run):
    """One run of an asyncio agent. Greenroom passes it to a function that is registered with ``host="asyncio"``.

    It has the methods of :class:`~actors.Run`, which wait in asyncio here. An emit is a plain call into the session in
    the same thread. Every 16 events an emit lets other tasks run, as ``asyncio.sleep(0)`` does. While 64 events of the
    session are not yet committed to the log, an emit waits.

    All tasks of the event loop can use the run until it ends. If the run is cancelled, the agent's task is cancelled,
    once. An agent that has not ended ``abandon_seconds`` later is left behind, and its emits raise
    :class:`~actors.RunClosed`.

    In another thread, such as one of ``asyncio.to_thread``, methods of the run that are not async can be called
    directly, and async methods by ``asyncio.run_coroutine_threadsafe(…, loop)``. In a loop of its own, a thread gets a
    RuntimeError from every async method, and nothing happens.
    """

    __slots__ = ("_shields", "shielding")

    def __init__(self, recorder: RunRecorder, agent: str, parent: Self | None = None) -> None:
        super().__init__(recorder, agent, parent)
        self._pause = partial(_pause, recorder.stream, recorder.account.rate, recorder.host)
        self.shielding: trio.CancelScope | TaskScope | None = None
        """The scope that :meth:`shield` shields: around the wait for the agent's asyncio task, or around its block."""
        self._shields = 0

    @property
    def _host(self) -> AsyncioHost:
        host = self._recorder.host
        if host is None:
            raise needs_asyncio(self.agent)
        return host

    async def await_in_asyncio(self, function: Callable[..., Awaitable[T]], *arguments: object) -> T:
        """Await the agent's function in an asyncio task. Trio code calls this, inside the scope of the run.

        If the loop ends by force and has cancelled all tasks, the run ends as ``interrupted``.
        """
        host = self._host
        with trio.CancelScope() as scope:
            self.shielding = scope
            try:
                return await host.await_asyncio(function, *arguments)
            except AsyncioCancelled:
                if not is_ending(host.loop):
                    raise
                # Without a checkpoint: the log is about to end, too.
                raise CodeEnded(Outcome.stopped(Status.INTERRUPTED, "the event loop has ended by force")) from None
            finally:
                self.shielding = None
        raise AssertionError("only the scope's own cancellation comes here, and it has none")

    def tool(self, name: str, arguments: Mapping[str, object] | None = None) -> ToolCall:
        """Record a ``with`` block of the agent's own code as a tool call; see :meth:`Run.tool`."""
        if get_ident() != self._stream.thread:
            return self._hop("tool()", self.tool, name, arguments)
        call_id, label = self._next_call(), string_of(name)
        return AsyncioToolCall(self, self._recorder, call_id, label, arguments or {}, host=self._host)

    async def call_agent(self, agent: str | AgentFunction, input: object = None) -> Any:  # noqa: A002 - its name on the wire
        """Run another agent as a sub-agent of this run, and return its result; see :meth:`Run.call_agent`.

        A sub-agent on asyncio runs in the same task, and one on trio in a trio task of its own.
        """
        if trio.lowlevel.in_trio_task():
            return await super().call_agent(agent, input)
        self._require_task("call_agent()")
        found = self._recorder.agents.find(agent)
        if found.host != "asyncio":
            return await self._host.run(super().call_agent, agent, input)
        text, value = self._input_for(found, input)
        child = AsyncioRun(self._recorder, found.name, self)
        scope = AsyncioRunScope(child, self._recorder, text, timeout=found.timeout)
        return await self._result_of(child, scope, partial(found.function, *found.arguments(child, value)))

    def subrun(self, name: str, input: object = None) -> AsyncioRunScope[AsyncioRun]:  # type: ignore[override]  # noqa: A002  # pyright: ignore[reportIncompatibleMethodOverride]  # a block of the other library
        """Open a sub-agent. Its code is the body of an ``async with`` block; see :meth:`Run.subrun`."""
        if get_ident() != self._stream.thread:
            return self._hop("subrun()", self.subrun, name, input)
        text = self._subrun_input(name, input)
        return AsyncioRunScope(AsyncioRun(self._recorder, name, self), self._recorder, text)

    async def _ask(self, prompt: str, into: object, schema: object, seconds: float | None) -> Any:
        if trio.lowlevel.in_trio_task():
            return await super()._ask(prompt, into, schema, seconds)
        self._require_task("ask_user()")
        return await self._host.run(partial(super()._ask, prompt, into, schema, seconds))

    @contextmanager
    def shield(self, seconds: float = FINISHING_SECONDS) -> Generator[None]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]  # trio's scope is for trio
        """Delay a cancellation of the run inside the block ``with run.shield(): …``, for at most ``seconds``.

        Use it to finish important work. Once the cancellation has reached the agent, a ``finally`` block can await
        without a shield, but the agent must end within ``abandon_seconds``.
        """
        if trio.lowlevel.in_trio_task():
            with super().shield(seconds):
                yield
            return
        self._require_task("shield()")
        shielded = [run for run in self._lineage() if isinstance(run, AsyncioRun)]  # pyright: ignore[reportUnnecessaryIsInstance]  # one above may be on trio
        for run in shielded:
            run._add_shield(1)  # noqa: SLF001 - of the same class

        def lower() -> None:
            for run in shielded:
                run._add_shield(-1)  # noqa: SLF001 - as above

        lift = _Once(lower)
        timer = asyncio.get_running_loop().call_later(seconds, lift)
        try:
            yield
        finally:
            timer.cancel()
            lift()

    def _add_shield(self, count: int) -> None:
        self._shields += count
        scope = self.shielding or (self.scope if isinstance(self.scope, TaskScope) else None)
        if scope is not None:
            scope.shield = self._shields > 0

    def _require_task(self, name: str) -> None:
        if get_ident() != self._stream.thread or not (
            trio.lowlevel.in_trio_task() or _running_loop() is self._host.loop
        ):
            raise wrong_place(name)

    def _hop(self, name: str, function: Callable[..., T], *args: object) -> T:
        """Call ``function`` in the session's event loop, from another thread, which waits for the result."""
        loop, done = self._host.loop, concurrent.futures.Future[T]()

        def call() -> None:
            try:
                done.set_result(function(*args))
            except BaseException as error:  # noqa: BLE001 - the thread gets it
                done.set_exception(error)

        if not loop.is_running():  # nothing would ever call it
            raise wrong_place(name)
        try:
            loop.call_soon_threadsafe(call)
        except RuntimeError as error:  # the loop was closed just now
            raise wrong_place(name) from error
        return done.result()

    def _has_cancelled(self, error: BaseException) -> bool:
        return super()._has_cancelled(error) or has_cancelled(error)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class _Once:
    """A call that is made only once."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[], object]) -> None:
        self._call: Callable[[], object] | None = call

    def __call__(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()


async def _pause(stream: SessionStream, rate: EmitRate | None, host: AsyncioHost | None) -> None:
    """Wait as :meth:`SessionStream.admit` does, in asyncio or trio: the run may be in the hands of either library."""
    if trio.lowlevel.in_trio_task():
        await stream.admit()
        return
    if rate is not None:
        await rate.sleep(*rate.due(), asyncio.sleep)
    if host is not None and not stream.can_write:
        await host.run(stream.pass_gate)
    if has_room(stream):
        await asyncio.sleep(0)
        return
    while not has_room(stream):
        await _stored(stream)


async def _stored(stream: SessionStream) -> None:
    """Wait in asyncio until all events so far are committed to the log, or cannot be."""
    stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_stored(_: object) -> None:
        if not stored.done():  # the emitter may be cancelled
            stored.set_result(None)

    stream.when_committed(on_stored)
    await stored
