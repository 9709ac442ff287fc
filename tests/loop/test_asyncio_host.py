"""Calls between asyncio code and trio code while trio is a guest of the asyncio loop (``AsyncioHost``)."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import trio
import trio.testing

from actors import ActorTerminated, ConfigError
from actors.loop.asyncio_host import AsyncioCancelled, AsyncioHost, TrioCall

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from outcome import Outcome

ABANDON_SECONDS = 0.05
T = TypeVar("T")
who: ContextVar[str] = ContextVar("who", default="nobody")


def hosted(story: Callable[[AsyncioHost], Awaitable[Any]], *, stop_first: bool = False) -> Any:
    """Run ``story`` in a new asyncio loop with trio as its guest, then end trio. Return its result.

    With ``stop_first`` the nursery of the calls is cancelled before the story begins.
    """

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[AsyncioHost] = loop.create_future()
        ended: asyncio.Future[Outcome[None]] = loop.create_future()
        leave = trio.Event()

        async def guest() -> None:
            async with trio.open_nursery() as nursery:
                ready.set_result(AsyncioHost(loop, nursery, ABANDON_SECONDS))
                await leave.wait()
                nursery.cancel_scope.cancel()

        trio.lowlevel.start_guest_run(
            guest,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            run_sync_soon_not_threadsafe=loop.call_soon,
            done_callback=ended.set_result,
            host_uses_signal_set_wakeup_fd=True,
        )
        host = await ready
        try:
            if stop_first:
                leave.set()
                await ended
            return await story(host)
        finally:
            leave.set()
            (await ended).unwrap()
            assert asyncio.all_tasks() == {asyncio.current_task()}

    return asyncio.run(main())


async def turn() -> None:
    """Let the other asyncio tasks run once."""
    done = asyncio.get_running_loop().create_future()
    done.get_loop().call_soon(done.set_result, None)
    await done


async def blocked() -> None:
    """Wait until all trio tasks but this one wait."""
    await trio.testing.wait_all_tasks_blocked()


def test_run_returns_the_result() -> None:
    """``run`` returns the result of a trio function, with the caller's context variables, in the loop's thread."""

    async def work(number: int) -> tuple[int, str, int]:
        await trio.lowlevel.checkpoint()
        return number, who.get(), threading.get_ident()

    async def story(host: AsyncioHost) -> object:
        who.set("ann")
        return await host.run(work, 5)

    assert hosted(story) == (5, "ann", threading.get_ident())


def test_run_raises_the_error() -> None:
    """``run`` raises the exception of the trio function itself."""
    wrong = ValueError("wrong")

    async def work() -> None:
        raise wrong

    async def story(host: AsyncioHost) -> None:
        with pytest.raises(ValueError, match="wrong") as raised:
            await host.run(work)
        assert raised.value is wrong

    hosted(story)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_exits_of_trio_code(error: BaseException) -> None:
    """A SystemExit or KeyboardInterrupt in trio code becomes a RuntimeError, and both loops go on."""

    async def work() -> None:
        raise error

    async def story(host: AsyncioHost) -> None:
        with pytest.raises(RuntimeError, match=f"{type(error).__name__}.* was raised"):
            await host.run(work)
        await host.run(trio.lowlevel.checkpoint)

    hosted(story)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_exits_of_asyncio_code(error: BaseException) -> None:
    """A SystemExit or KeyboardInterrupt in asyncio code becomes a RuntimeError, and both loops go on."""

    async def work() -> None:
        raise error

    async def story(host: AsyncioHost) -> None:
        with pytest.raises(RuntimeError, match=f"{type(error).__name__}.* was raised"):
            await host.run(host.await_asyncio, work)
        await host.run(host.await_asyncio, turn)

    hosted(story)


def test_cancelling_run() -> None:
    """A cancelled ``run`` cancels the trio task, and raises after the task has ended, however often it is cancelled."""
    seen: list[str] = []

    async def work(release: trio.Event) -> None:
        seen.append("began")
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await release.wait()
            seen.append("ended")

    async def story(host: AsyncioHost) -> None:
        release = trio.Event()
        task = asyncio.create_task(host.run(work, release))
        await host.run(blocked)
        for _ in range(2):
            task.cancel()
            await host.run(blocked)
            assert not task.done()
        release.set()
        await asyncio.wait([task])
        assert task.cancelled()
        assert seen == ["began", "ended"]

    hosted(story)


def test_error_of_the_clean_up() -> None:
    """If the trio task fails while it is cancelled, ``run`` raises that error in place of the cancellation."""

    async def work() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("clean-up")

    async def story(host: AsyncioHost) -> None:
        task = asyncio.create_task(host.run(work))
        await host.run(blocked)
        task.cancel()
        with pytest.raises(ValueError, match="clean-up"):
            await task

    hosted(story)


def test_cancelling_soon() -> None:
    """``cancel`` of a call ends its trio task, and cancels its future."""

    async def story(host: AsyncioHost) -> None:
        call = host.soon(trio.sleep_forever)
        await host.run(blocked)
        call.cancel()
        await asyncio.wait([call.future])
        assert call.future.cancelled()

    hosted(story)


def test_end_of_the_host() -> None:
    """A call that is open as the app stops gets ActorTerminated, also from a nursery; a later call a ConfigError."""

    async def in_a_nursery() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)

    calls: list[TrioCall[None]] = []

    async def story(host: AsyncioHost) -> None:
        calls.extend([host.soon(trio.sleep_forever), host.soon(in_a_nursery)])
        await host.run(blocked)

    hosted(story)
    for call in calls:
        with pytest.raises(ActorTerminated, match="the app stopped"):
            call.future.result()

    async def late(host: AsyncioHost) -> None:
        with pytest.raises(ConfigError, match="not running any more"):
            host.soon(trio.lowlevel.checkpoint)

    hosted(late, stop_first=True)


def test_await_asyncio_returns_the_result() -> None:
    """``await_asyncio`` returns the result of an asyncio function, which has the caller's context variables."""

    async def work(number: int) -> tuple[int, str]:
        await turn()
        return number, who.get()

    async def story(host: AsyncioHost) -> object:
        who.set("bob")
        return await host.run(host.await_asyncio, work, 5)

    assert hosted(story) == (5, "bob")


async def cancelled_once_begun(host: AsyncioHost, work: Callable[[], Awaitable[T]]) -> tuple[T | None, bool]:
    """Await an asyncio function in trio, and cancel that when the function has begun.

    Return the function's result, or None, and whether the cancellation was caught.
    """
    begun, result = trio.Event(), None

    @wraps(work)  # an error names the function
    async def noted() -> T:
        begun.set()
        return await work()

    async def cancel() -> None:
        await begun.wait()
        scope.cancel()

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(cancel)
            result = await host.await_asyncio(noted)
    return result, scope.cancelled_caught


def test_cancelling_await_asyncio() -> None:
    """If trio cancels, the asyncio task is cancelled and has ended when ``await_asyncio`` raises."""
    seen: list[object] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await turn()
            seen.append("ended")

    assert hosted(lambda host: host.run(cancelled_once_begun, host, work)) == (None, True)
    assert seen == ["ended"]


def test_result_in_spite_of_a_cancellation() -> None:
    """An asyncio task that catches its cancellation and returns has that result, as a trio task would."""

    async def work() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "survived"
        return ""

    assert hosted(lambda host: host.run(cancelled_once_begun, host, work)) == ("survived", False)


def test_swallowed_cancellation(caplog: pytest.LogCaptureFixture) -> None:
    """An asyncio task that goes on after its cancellation is left behind after a time. Its late error is logged."""
    caplog.set_level(logging.ERROR, "greenroom.hosting")

    async def story(host: AsyncioHost) -> None:
        release = asyncio.Event()

        async def stubborn() -> None:
            while not release.is_set():
                with suppress(asyncio.CancelledError):
                    await release.wait()
            raise ValueError("too late")

        assert await host.run(cancelled_once_begun, host, stubborn) == (None, True)
        (left,) = (task for task in asyncio.all_tasks() if task is not asyncio.current_task())
        release.set()
        await asyncio.wait([left])

    hosted(story)
    first, second = (record.getMessage() for record in caplog.records)
    assert "stubborn" in first
    assert f"has not ended {ABANDON_SECONDS} s after its cancellation" in first
    assert second == "an asyncio task that was left behind failed"


def test_cancelled_by_asyncio_code() -> None:
    """If asyncio code cancels the task, the trio task gets AsyncioCancelled: trio has cancelled nothing."""

    async def work() -> None:
        raise asyncio.CancelledError

    async def story(host: AsyncioHost) -> None:
        with pytest.raises(AsyncioCancelled, match="cancelled by asyncio code"):
            await host.run(host.await_asyncio, work)

    hosted(story)


def test_only_in_the_loop() -> None:
    """A call from another thread, another loop or a trio task is refused, with a ConfigError that says what to do."""

    async def story(host: AsyncioHost) -> None:
        async def elsewhere() -> None:
            with pytest.raises(ConfigError, match=r"another event loop or thread.*run_coroutine_threadsafe"):
                await host.run(trio.lowlevel.checkpoint)

        async def trio_side() -> None:
            with pytest.raises(ConfigError, match=r"use app\.sessions"):
                await host.run(trio.lowlevel.checkpoint)

        await asyncio.to_thread(asyncio.run, elsewhere())
        with pytest.raises(ConfigError, match="another event loop or thread"):
            await asyncio.to_thread(host.soon, trio.lowlevel.checkpoint)
        await host.run(trio_side)

    hosted(story)
