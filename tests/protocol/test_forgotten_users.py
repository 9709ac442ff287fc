"""A user who is forgotten: live connections end with 4506, runs are cancelled, and nothing of the user is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from protocol.agents import auth_by_name, make_app
from protocol.wire import greeted

from actors import ConfigError, Forgotten, LogUnavailable, MemoryLog, SqliteLog, StreamKey
from actors.testing import FaultyLog

if TYPE_CHECKING:
    from pathlib import Path

    from actors import Run
    from transport import Greenroom


def texts(folder: Path) -> str:
    """Return all bytes of all files in a folder."""
    return "".join(path.read_text("latin-1") for path in folder.iterdir())


REASON = "the user was forgotten"
MARK = "SECRETTEXT"


def named(log: Any = "memory:") -> Greenroom:
    """Return an app whose users are the tokens of their clients."""
    return make_app(log, auth_by_name)


async def test_forgotten_user(tmp_path: Path) -> None:
    """All connections of a forgotten user end with 4506, runs are cancelled, and no byte of a text is in the files.

    Another user notices nothing. The user who comes back gets a new session without events.
    """
    app = named(f"sqlite:{tmp_path}/a.db")
    async with app.running(port=0) as server:
        async with (
            greeted(server, token="ann") as one,
            greeted(server, "s2", token="ann") as two,
            greeted(server, token="bob") as other,
        ):
            await one.say(MARK * 9)
            await other.say("kept")
            run = await two.start("r", "wait")
            epoch = one.welcome["epoch"]
            assert MARK in texts(tmp_path)
            assert await app.forget("ann") == Forgotten(sessions=2, connections=2)
            for client in (one, two):
                ended = await client.ended()
                assert (ended.code, ended.reason) == (4506, REASON)
            assert run
            left = texts(tmp_path)
            assert (MARK in left, "ann" in left) == (False, False)
            assert server.sessions.statistics().runs.running == 0
            await other.say("more")
            assert [event["data"]["text"] for event in await other.events_until(2)] == ["kept", "more"]
        async with greeted(server, token="ann") as again:
            assert again.welcome["latest"] == 0
            assert again.welcome["epoch"] != epoch
        assert [key.session for key in await server.sessions.list("ann")] == ["s1"]


async def test_agent_that_forgets_its_own_user() -> None:
    """An agent can forget the user of its run: the run is cancelled by that, and everything is removed nevertheless."""
    app = named()

    @app.agent
    async def leave(run: Run) -> None:
        await app.forget(run.user)

    async with app.running(port=0) as server, greeted(server, token="ann") as one:
        await one.send("command", id="c", name="run.start", args={"agent": "leave", "input": None})
        assert (await one.ended()).code == 4506
        with trio.fail_after(60):
            while await server.sessions.list("ann"):
                await trio.lowlevel.checkpoint()


class Waiting(MemoryLog):
    """A log in which the removal of a user waits for the test."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.released = trio.Event(), trio.Event()

    async def forget(self, user: str, *, thorough: bool = False) -> int:
        """Wait, and remove the user."""
        self.reached.set()
        await self.released.wait()
        return await super().forget(user, thorough=thorough)


async def test_client_that_comes_meanwhile() -> None:
    """A client that comes while its user is being forgotten waits, and gets a new session.

    Code of the server that cleans logs leaves the user alone meanwhile. A removal whose caller gives up goes on.
    """
    log = Waiting()
    app = named(log)
    async with app.running(port=0) as server, trio.open_nursery() as nursery:
        async with greeted(server, token="ann") as one:
            await one.say("old")
            with trio.move_on_after(0):
                await app.forget("ann")
            await log.reached.wait()
            assert (await one.ended()).code == 4506
        with server.sessions.here.reserve(StreamKey("ann", "s9")) as free:
            assert not free

        async def come() -> None:
            async with greeted(server, token="ann") as late:
                assert late.welcome["latest"] == 0
                await late.say("new")
                assert [event["data"]["text"] for event in await late.events_until(1)] == ["new"]
            nursery.cancel_scope.cancel()

        nursery.start_soon(come)
        async with greeted(server, token="bob") as other:
            await other.say("not held up")
        log.released.set()
        await trio.sleep_forever()


async def test_observers_and_consumers() -> None:
    """Events of a forgotten user that wait for observers and consumers are dropped. Consumers are told the number."""
    app = named()
    async with (
        app.running(port=0) as server,
        app.observe("user_message") as observer,
        app.consume("bills", "user_message") as consumer,
    ):
        async with greeted(server, token="ann") as one, greeted(server, token="bob") as other:
            await one.say("gone", "gone too", "and this")
            await other.say("kept")
            first: Any = await anext(consumer)
            assert first.event.text in {"gone", "kept"}
            await app.forget("ann")
            seen: Any = await anext(observer)
            assert (seen.user, seen.event.text) == ("bob", "kept")
            if first.user == "ann":
                item: Any = await anext(consumer)
                assert item.user == "bob"
        assert [usage.lost for usage in await app.consumers()] == [3]


async def test_log_that_fails() -> None:
    """If the log fails, the call raises, and can be repeated. The user can come back in both cases."""

    class Failing(FaultyLog):
        fails = True

        async def forget(self, user: str, *, thorough: bool = False) -> int:
            await trio.lowlevel.checkpoint()
            if self.fails:
                raise LogUnavailable("the disk is full")
            return await super().forget(user, thorough=thorough)

    log = Failing(MemoryLog())
    app = named(log)
    async with app.running(port=0) as server:
        async with greeted(server, token="ann") as one:
            await one.say("text")
            with pytest.raises(LogUnavailable, match="the disk is full"):
                await app.forget("ann")
        async with greeted(server, token="ann") as again:
            assert again.welcome["latest"] == 1
        log.fails = False
        assert (await app.forget("ann")).sessions == 1
        assert await app.forget("ann") == Forgotten(0, 0)


async def test_wrong_calls() -> None:
    """A call needs a running app, and the id of a user."""
    app = named(SqliteLog("unused.db"))
    with pytest.raises(ConfigError, match="not running"):
        await app.forget("ann")
    app = named()
    async with app.running(port=0):
        for wrong in ("", None, 1):
            with pytest.raises(ValueError, match="user must be a text"):
                await app.forget(wrong)  # type: ignore[arg-type]  # as a caller without types
