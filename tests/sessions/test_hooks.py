"""Functions of ``app.on`` are called for committed events while the app runs; their failures stay with them."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from actors import AgentCompleted, ConfigError, Observed, Run, SqliteLog
from transport import Greenroom

if TYPE_CHECKING:
    from pathlib import Path


def app_with(log: SqliteLog | None = None, **settings: Any) -> Greenroom:
    """Return an app with the agent ``talks``, which emits as many outputs as its input says."""
    app = Greenroom(log=log or "memory:", settings=settings)

    @app.agent
    async def talks(run: Run, count: int) -> str:
        for number in range(count):
            await run.output(str(number))
        return "done"

    @app.agent
    async def waits(run: Run) -> None:
        await trio.sleep_forever()

    return app


async def talk(app: Greenroom, count: int, user: str = "alice") -> None:
    await (await app.sessions.get(user, "s1")).start("talks", count)
    await trio.testing.wait_all_tasks_blocked(0.001)


async def test_functions_are_called() -> None:
    """Each function gets each event of its types once, in order. The decorator returns the function."""
    app = app_with()
    seen: list[tuple[str, str]] = []

    @app.on("agent_started", AgentCompleted)
    async def ends(observed: Observed) -> None:
        seen.append((observed.user, observed.event.type))

    @app.on("agent_output")
    async def outputs(observed: Observed) -> None:
        seen.append((observed.user, str(observed.event.data["text"])))

    async with app.running(port=0) as server:
        assert [child.path.rpartition("/")[2] for child in server.system.tree().children[0].children] == [
            "event-log",
            "hooks",
            "sessions",
            "endpoint",
        ]
        await talk(app, 1)
        await talk(app, 1, "bob")
    assert sorted(seen) == sorted(
        (user, each) for user in ("alice", "bob") for each in ("agent_started", "0", "agent_completed")
    )
    assert callable(ends)


async def test_failing_function_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """An exception of a function is logged with its name, and the function gets the next event."""
    app = app_with()
    failures: list[BaseException] = [ValueError("first"), SystemExit(3), KeyboardInterrupt("third")]
    seen: list[int] = []

    @app.on("agent_output")
    async def bills(observed: Observed) -> None:
        seen.append(observed.event.seq)
        if failures:
            raise failures.pop(0)

    async with app.running(port=0) as server:
        await talk(app, 5)
        assert server.sessions.statistics().crashed == 0
    assert seen == [2, 3, 4, 5, 6]
    assert caplog.text.count("bills failed") == 3
    assert "ValueError: first" in caplog.text


async def test_slow_function_lags(caplog: pytest.LogCaptureFixture) -> None:
    """The number of events that a slow function missed is logged. Sessions and other functions do not wait for it."""
    app = app_with(observer_events=2)
    go_on = trio.Event()
    seen: list[int] = []
    others: list[int] = []

    @app.on("agent_output")
    async def sleeps(observed: Observed) -> None:
        seen.append(observed.event.seq)
        await go_on.wait()

    @app.on("agent_completed")
    async def counts(observed: Observed) -> None:
        others.append(observed.event.seq)

    async with app.running(port=0):
        await talk(app, 1)
        await talk(app, 6)
        assert others == [3, 11]
        go_on.set()
    assert seen == [2, 9, 10]
    assert "sleeps is too slow for its events: it missed 4" in caplog.text


async def test_last_events_of_a_server(autojump_clock: trio.testing.MockClock) -> None:
    """A function is called for the events with which the runs end with the server. The server waits only for that."""
    app = app_with(drain_seconds=0)
    ended: list[Any] = []

    @app.on("agent_completed")
    async def stores(observed: Observed) -> None:
        await trio.sleep(0.001)
        ended.append(observed.event.data["status"])

    async with app.running(port=0):
        for name in ("s1", "s2"):
            await (await app.sessions.get("alice", name)).start("waits")
        begun = trio.current_time()
    assert ended == ["cancelled", "cancelled"]
    assert trio.current_time() - begun < 1


async def test_function_that_does_not_end(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    """At the end of the server a function has ``hook_seconds`` for its last events. Then it is cancelled."""
    app = app_with(hook_seconds=7)
    cancelled: list[float] = []

    @app.on("agent_output")
    async def hangs(observed: Observed) -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.append(trio.current_time())

    @app.on("agent_output")
    async def works(observed: Observed) -> None:
        await trio.sleep(1)

    async with app.running(port=0):
        await talk(app, 3)
        begun = trio.current_time()
    assert 7 <= cancelled[0] - begun < 8
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert [text.partition("hangs ")[2] for text in warnings if "handled its last events" in text] == [
        "is stopped with the server, before it has handled its last events: 2 more wait"
    ]


def sync(observed: Observed) -> None: ...


async def good(observed: Observed) -> None: ...


@pytest.mark.parametrize(
    ("types", "function", "said"),
    [
        ((), good, r'app.on needs the types of events: @app.on\("agent_completed"\)'),
        ((good,), good, r'app.on needs the types of events: @app.on\("agent_completed"\)'),
        (("agent_complete",), good, "there is no event type 'agent_complete'; did you mean 'agent_completed'"),
        (("custom",), sync, ".*sync.* is not an async function: app.on calls only async functions"),
    ],
)
def test_wrong_functions(types: Any, function: Any, said: str) -> None:
    """``app.on`` refuses unknown types and functions that are not async, where they are given."""
    with pytest.raises(ConfigError, match=f"^{said}"):
        app_with().on(*types)(function)


async def test_functions_come_before_the_start() -> None:
    """While the app runs, ``app.on`` is refused: the function would miss events."""
    app = app_with()
    async with app.running(port=0):
        with pytest.raises(ConfigError, match=r"^this app is running already"):
            app.on("custom")(good)


async def test_observe() -> None:
    """``app.observe`` observes a running app, and is refused without one, and outside of its loop."""
    app = app_with()
    with pytest.raises(ConfigError, match=r"^the app is not running"):
        app.observe("agent_completed")
    async with app.running(port=0):
        with pytest.raises(RuntimeError, match=r"^observe\(\) was called outside of the trio loop"):
            await trio.to_thread.run_sync(app.observe, "agent_completed")
        async with app.observe("agent_completed", user="alice") as observer:
            await talk(app, 1, "bob")
            await talk(app, 1)
            item = await anext(observer)
            assert isinstance(item, Observed)
            assert (item.user, observer.waiting) == ("alice", 0)


async def test_function_with_a_consumer_tries_again(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    """A function with a consumer that raises is called for the same event again, after 1, 2, 4 … s, in order."""
    app = app_with()
    calls: list[tuple[int, float]] = []

    @app.on("agent_output", consumer="billing")
    async def bills(observed: Observed) -> None:
        calls.append((observed.event.seq, trio.current_time()))
        if len(calls) < 4:
            raise ValueError("no connection")

    async with app.running(port=0):
        await talk(app, 2)
        await trio.sleep(20)
    assert [seq for seq, _ in calls] == [2, 2, 2, 2, 3]
    assert [round(after - before) for (_, before), (_, after) in itertools.pairwise(calls)] == [1, 2, 4, 0]
    assert caplog.text.count("bills failed") == 3


async def test_function_with_a_consumer_continues(tmp_path: Path) -> None:
    """Events that a function with a consumer has not handled come again at the next start of the server."""
    handled: list[int] = []

    def app_over(log: SqliteLog, *, fails: bool) -> Greenroom:
        app = app_with(log)

        @app.on("agent_output", consumer="billing", from_start=True)
        async def bills(observed: Observed) -> None:
            if fails:
                failed.set()
                raise ValueError("no connection")
            handled.append(observed.event.seq)
            if observed.event.seq == 4:
                done.set()

        return app

    failed, done = trio.Event(), trio.Event()
    first = app_over(SqliteLog(tmp_path / "x.db"), fails=True)
    async with first.running(port=0):
        await (await first.sessions.get("alice", "s1")).start("talks", 3)
        await failed.wait()
    second = app_over(SqliteLog(tmp_path / "x.db"), fails=False)
    async with second.running(port=0):
        await done.wait()
        assert [one.name for one in await second.consumers()] == ["billing"]
    assert handled == [2, 3, 4]


async def test_consumer_of_a_function_tells_losses(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    """Events that the log no longer has when the consumer of a function comes to them are an error in the log."""
    app = app_with(idle_seconds=1, retain_events=1, retain_unread_seconds=0)
    go_on = trio.Event()
    handled: list[int] = []

    @app.on("custom", consumer="billing")
    async def bills(observed: Observed) -> None:
        await go_on.wait()
        handled.append(observed.event.seq)

    async with app.running(port=0):
        handle = await app.sessions.get("alice", "s1")
        await handle.emit("n")
        await trio.sleep(0.1)
        for _ in range(5):
            await handle.emit("n")
        await trio.testing.wait_all_tasks_blocked(0.001)
        await handle.history()
        await trio.sleep(10)
        go_on.set()
        await trio.sleep(1)
    assert handled == [1, 6]
    assert "the consumer billing has missed 4 events, which the log no longer has" in caplog.text


async def test_consumers_of_functions_are_checked() -> None:
    """Two functions with one consumer are refused, as well as a name that cannot be used, and from_start alone."""
    app = app_with()
    app.on("custom", consumer="billing")(good)
    with pytest.raises(ConfigError, match=r"^there is a function with the consumer billing already"):
        app.on("custom", consumer="billing")(good)
    with pytest.raises(ConfigError, match=r"^a consumer needs a name of 1 to 128 characters, not ''$"):
        app.on("custom", consumer="")(good)
    with pytest.raises(ConfigError, match=r"^from_start needs a consumer"):
        app.on("custom", from_start=True)(good)


async def test_consume(autojump_clock: trio.testing.MockClock) -> None:
    """``app.consume`` consumes the events of a running app, which also lists and removes consumers."""
    app = app_with()
    with pytest.raises(ConfigError, match=r"^the app is not running"):
        app.consume("billing")
    with pytest.raises(ConfigError, match=r"^the app is not running"):
        await app.consumers()
    async with app.running(port=0):
        with pytest.raises(RuntimeError, match=r"^consume\(\) was called outside of the trio loop"):
            await trio.to_thread.run_sync(app.consume, "billing")
        await talk(app, 1)
        async with app.consume("billing", "agent_completed", from_start=True) as consumer:
            item = await anext(consumer)
            assert isinstance(item, Observed)
            assert (item.user, item.event.type) == ("alice", "agent_completed")
            await consumer.ack()
        assert [(one.name, one.unread) for one in await app.consumers()] == [("billing", 0)]
        await app.remove_consumer("billing")
        assert await app.consumers() == []
