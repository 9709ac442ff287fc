"""Does each run have its own context, and can no user reach the data of another user?

The rules tested here:

- The context of a run has its user, in its tasks, threads, tools and sub-agents. It cannot be changed.
- After a run, a crash or an idle session no context is left. The next run has its own.
- The runs of two users share no object that can change, except the services that all sessions share.
- No frame and no log record about one user has a word of another.
"""

from __future__ import annotations

import gc
import logging
import types
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from _scale import scaled
from protocol.wire import greeted, greeted_in_memory
from suites.stage import many_clients, many_users, server_with

from actors import Run, RunContext, current_run

USERS = scaled(50, 300)
SERVICES = {
    *(
        "SessionServices",
        "Committer",
        "MemoryLog",
        "Agents",
        "SessionSettings",
        "Settings",
        "RunLimiter",
        "ToolThreads",
        "AgeClock",
        "SharedLimits",
        "RecentFailures",
        "Meter",
    ),
    *("Endpoint", "ServerContext", "Cell", "ActorSystem", "Supervisor", "Sessions", "SessionFactory", "AsyncioHost"),
    *("Home", "cycle"),  # the system's thread, and its count of calls
}
"""Classes that all sessions share. The walk ends there, and at trio's own objects."""
IMMUTABLE = (str, bytes, int, float, bool, type(None), type, types.ModuleType, types.CodeType, types.FunctionType)


def reachable_objects(start: object) -> dict[int, object]:
    """Return every object that can be reached from ``start``. The search ends at services that all sessions share."""
    found: dict[int, object] = {}
    left = [start]
    while left:
        each = left.pop()
        if id(each) in found or isinstance(each, (*IMMUTABLE, types.BuiltinFunctionType, types.FrameType)):
            continue
        kind = type(each)
        if kind.__name__ in SERVICES or kind.__module__.partition(".")[0] in {"trio", "outcome", "logging"}:
            continue
        if isinstance(each, set) and any(type(one).__name__ == "HandedWire" for one in each):
            continue  # the connections of a web server, in its own list
        found[id(each)] = each
        left += gc.get_referents(each)
    return found


def can_change(each: object) -> bool:
    """Return whether an object is a container, or an object of the server that has attributes and is not frozen."""
    if isinstance(each, (list, dict, set, bytearray)):
        return True
    kind = type(each)
    if not hasattr(each, "__dict__") and not any(getattr(base, "__slots__", ()) for base in kind.__mro__):
        return False
    frozen = attrs.has(kind) and kind.__setattr__ is not object.__setattr__
    return kind.__module__.partition(".")[0] in {"actors", "transport"} and not frozen


async def secretive(run: Run, secret: str) -> str:
    """Emit the secret as a thought and return it."""
    await run.thinking(secret)
    return secret


async def test_context_of_a_run() -> None:
    """``current_run()`` returns the context of the current run, also in the run's tasks, threads and sub-agents.

    An agent cannot change the context.
    """

    async def looks(run: Run, secret: str) -> str:
        seen: list[RunContext | None] = [current_run(), await trio.to_thread.run_sync(current_run)]

        async def look() -> RunContext | None:
            await trio.lowlevel.checkpoint()
            seen.append(current_run())
            return current_run()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            nursery.start_soon(look)
        seen += [await look()]
        assert all(each is run.context for each in seen)
        assert (run.context.user, run.context.session, run.context.run_id) == (secret, "s1", run.id)
        async with run.subrun("below") as child:
            below = current_run()
            assert below is child.context
            assert (below.user, below.parent_run_id, below.depth) == (secret, run.id, 1)
            assert below.deadline <= run.context.deadline
        assert current_run() is run.context
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            run.context.user = "somebody else"  # type: ignore[misc]  # what is refused
        return secret

    async with server_with(looks).running(port=0) as server:

        async def talk(name: str, one: Any) -> None:
            run_id = await one.start("1", "looks", name)
            assert (await one.completed(run_id))["data"]["result"] == name
            assert all(other not in str(one.frames) for other, _ in many_users(10) if other != name and name[-2] == "-")

        await many_clients(server, many_users(USERS), talk)
        assert current_run() is None


async def test_no_shared_mutable_object() -> None:
    """The runs of two users share no object that can change."""
    live: dict[str, Run] = {}

    async def stays(run: Run, secret: str) -> None:
        live[run.user] = run
        async with run.tool("vault", {"word": secret}):
            await run.ask_user("And now?")

    async with (
        server_with(stays).running(port=0) as server,
        greeted(server, token="ada") as ada,
        greeted(server, token="bob") as bob,
    ):
        for one, secret in ((ada, "ada's word"), (bob, "bob's word")):
            await one.start("1", "stays", secret)
            await one.events_until(3)
        mine, theirs = reachable_objects(live["ada"]), reachable_objects(live["bob"])
        assert len(mine) > 50, "the walk ended before it had begun"
        assert live["ada"].context in mine.values()
        shared = [mine[each] for each in mine.keys() & theirs.keys() if can_change(mine[each])]
        assert [type(each) for each in shared if len(str(each)) > 2] == []
        assert id(live["bob"]) not in mine
        assert id(live["ada"]) not in theirs


async def test_context_after_a_crash(autojump_clock: trio.testing.MockClock) -> None:
    """If a user's session crashes, the context of its run is not left behind: the next run has a new context.

    The run of another user continues.
    """
    contexts: list[RunContext | None] = []

    async def waits(run: Run) -> None:
        contexts.append(current_run())
        await run.ask_user("And now?")

    async with (
        server_with(waits).running(port=0) as server,
        greeted_in_memory(server, token="ada") as ada,
        greeted_in_memory(server, token="bob") as bob,
    ):
        for one in (ada, bob):
            await one.start("1", "waits")
        run_id = (await bob.events_until(2))[0]["run_id"]
        session = server.system.find("greenroom/sessions/all/ada:s1")
        assert session is not None
        session.kill()
        assert (await ada.ended()).code == 4006
        async with greeted_in_memory(server, token="ada") as again:
            await again.start("2", "waits")
        await bob.command("2", "input.answer", run_id=run_id, call_id=f"{run_id}.1", value=1)
        assert (await bob.completed(run_id))["data"]["status"] == "ok"
        assert current_run() is None
        assert [each.user for each in contexts if each] == ["ada", "bob", "ada"]
        assert len({each.run_id for each in contexts if each}) == 3


def live_runs() -> list[Run]:
    """Return every ``Run`` in memory."""
    return [each for each in gc.get_objects() if type(each) is Run]


async def test_reaped_session_is_freed(autojump_clock: trio.testing.MockClock) -> None:
    """When an idle session is removed from memory, none of its runs stays in memory.

    The next client of the session still gets all its events.
    """
    others = live_runs()  # other tests may still hold some
    async with server_with(secretive, idle_seconds=10).running(port=0) as server:
        for _ in range(3):
            async with greeted_in_memory(server, token="ada") as one:
                await one.completed(await one.start("1", "secretive", "word"))
            await trio.sleep(30)
            gc.collect()
            assert server.sessions.statistics().sessions == 0
            assert not [run for run in live_runs() if all(run is not other for other in others)]
            async with greeted_in_memory(server, token="ada") as one:
                assert len(await one.events_until(3)) % 3 == 0


async def test_log_records_of_many_users(caplog: pytest.LogCaptureFixture) -> None:
    """No frame that a user gets, and no log record about a user, contains a secret word of another user."""

    async def fails(run: Run, secret: str) -> None:
        raise ValueError(f"{secret} of {run.user}")

    async with server_with(fails).running(port=0) as server:
        with caplog.at_level(logging.DEBUG, logger="greenroom"):

            async def talk(name: str, one: Any) -> None:
                await one.completed(await one.start("1", "fails", f"word-{name}-end"))
                assert "word-" in str(one.frames)
                assert str(one.frames).count("word-") == str(one.frames).count(f"word-{name}-end")

            await many_clients(server, many_users(20), talk)
    lines = [record for record in caplog.records if "failed in run" in record.getMessage()]
    assert len(lines) == 20
    for record in lines:
        text = logging.Formatter().format(record)
        (owner,) = {name for name, _ in many_users(20) if f" {name}/" in record.getMessage() or f"of {name}/" in text}
        assert text.count("word-") == text.count(f"word-{owner}-end")
