"""Revoked tokens: live connections end with 4501, later ones are refused, also after a restart."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import trio
from delivery.process import server_process
from protocol.agents import make_app
from protocol.grants import Slow, grant, granted
from protocol.test_hello import end_of, hello
from protocol.wire import Client, client, greeted, greeted_in_memory, memory_client

from actors import ConfigError, LogUnavailable, MemoryLog, SqliteLog
from actors.testing import FaultyLog
from transport import Forbidden, Greenroom, TokenAuth, User
from transport.auth import REVOKED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trio.testing import MockClock

    from actors import Batch, Revocation
    from transport import Credentials, Server

LATER = time.time() + 1e6
"""A time of issue that is after every revocation of these tests."""


async def check_refused(server: Server, token: str) -> None:
    """Check that a client with this token gets 4501 and nothing else."""
    ended = await end_of(server, hello(token=token))
    assert (ended.code, ended.reason) == (4501, REVOKED)


async def check_ended(one: Client) -> None:
    """Check that the server closes the connection with 4501, after a goodbye."""
    ended = await one.ended()
    assert ended.goodbye == {"type": "goodbye", "code": 4501, "reason": REVOKED}
    assert (ended.code, ended.reason) == (4501, REVOKED)


async def test_revoked_user() -> None:
    """All connections of a revoked user are closed with 4501, except those with a later token.

    A later client of the user needs a token that was issued later.
    """
    app = make_app(auth=granted)
    async with app.running(port=0) as server:
        async with (
            greeted(server, token=grant("ann", issued=5)) as old,
            greeted(server, token=grant("ann")) as undated,
            greeted(server, token=grant("ann", issued=LATER)) as new,
            greeted(server, token=grant("bob", issued=5)) as other,
        ):
            assert await app.revoke(user="ann") == 2
            for one in (old, undated):
                await check_ended(one)
            for one in (new, other):
                await one.say("still here")
            await check_refused(server, grant("ann", issued=5))
            await check_refused(server, grant("ann"))
            async with greeted(server, token=grant("ann", issued=LATER)) as again:
                await again.say("back")
            assert await app.revoke(user="nobody") == 0
        assert server.endpoint.statistics().revoked == 4
        assert server.sessions.statistics().revocations == 2


async def test_revoked_token() -> None:
    """Only the connections with the revoked token are closed. The user's other tokens are accepted."""
    app = make_app(auth=granted)
    async with app.running(port=0) as server:
        async with (
            greeted(server, token=grant("ann", "t1")) as one,
            greeted(server, "s2", token=grant("ann", "t1", LATER)) as two,
            greeted(server, token=grant("ann", "t2", 5)) as other,
            greeted(server, token=grant("ann")) as unnamed,
        ):
            assert await app.revoke(token_id="t1", until=LATER) == 2
            await check_ended(one)
            await check_ended(two)
            await other.say("still here")
            await unnamed.say("still here")
        await check_refused(server, grant("ann", "t1"))
        async with greeted(server, token=grant("ann", "t2")):
            pass


async def test_revoked_json_web_tokens() -> None:
    """With TokenAuth, a user's tokens are revoked by their ``iat``, and a token by its ``jti``."""
    auth = TokenAuth("a key that is long enough for HS256")
    app = make_app(auth=auth)
    async with app.running(port=0) as server:
        old = auth.issue("ann", 60)
        async with greeted(server, token=old) as one:
            assert await app.revoke(user="ann") == 1
            await check_ended(one)
        await check_refused(server, old)
        new = auth.issue("ann", 60)
        token_id = auth.user(new).token_id
        async with greeted(server, token=new) as one:
            assert await app.revoke(token_id=token_id) == 1
            await check_ended(one)
        await check_refused(server, new)
        async with greeted(server, token=auth.issue("ann", 60)) as one:
            await one.say("served")


async def test_revocation_of_the_past_closes_only_live_connections() -> None:
    """With an ``until`` that has passed, live connections are closed, and later ones are accepted."""
    app = make_app(auth=granted)
    async with app.running(port=0) as server:
        async with greeted(server, token=grant("ann")) as one:
            assert await app.revoke(user="ann", until=0) == 1
            await check_ended(one)
        async with greeted(server, token=grant("ann")):
            pass


@pytest.mark.parametrize(
    "wrong", [{}, {"user": "ann", "token_id": "t1"}, {"user": ""}, {"user": "ann", "until": "now"}]
)
async def test_wrong_arguments(wrong: Any) -> None:
    """``app.revoke`` raises ValueError for wrong arguments, and ConfigError if the app is not running."""
    app = make_app(auth=granted)
    with pytest.raises(ConfigError, match="not running"):
        await app.revoke(user="ann")
    async with app.running(port=0):
        with pytest.raises(ValueError, match=r"user|until"):
            await app.revoke(**wrong)


@pytest.mark.parametrize("until_written", [False, True])
async def test_revoked_while_auth_waits(until_written: bool) -> None:
    """A client whose token is being checked while the token is revoked is refused.

    It makes no difference whether the check ends before or after the revocation is stored.
    """
    reached, released = trio.Event(), trio.Event()

    async def wait(_: str) -> None:
        reached.set()
        await released.wait()

    log = FaultyLog(MemoryLog())
    app = make_app(log, auth=Slow(wait))
    async with app.running(port=0) as server, client(server) as one, trio.open_nursery() as nursery:
        hold = log.hold("revoke")
        await one.send("hello", session="s1", token=grant("ann"))
        await reached.wait()
        nursery.start_soon(lambda: app.revoke(user="ann"))
        await hold.reached.wait()
        if until_written:
            hold.released.set()
            await trio.testing.wait_all_tasks_blocked()
        released.set()
        await check_ended(one)
        assert [frame["type"] for frame in one.frames] == ["goodbye"]
        hold.released.set()


async def test_revoked_while_user_is_at_the_limit(autojump_clock: MockClock) -> None:
    """A new connection that waits, because its user has too many connections, is closed by a revocation too."""
    app = make_app(auth=granted, max_connections_per_user=1)
    async with (
        app.running(port=0) as server,
        greeted_in_memory(server, token=grant("ann")) as first,
        memory_client(server) as second,
    ):
        await second.send("hello", session="s1", token=grant("ann"))
        await first.receive("ping")
        assert await app.revoke(user="ann") == 2
        await check_ended(first)
        await check_ended(second)
        assert [frame["type"] for frame in second.frames] == ["goodbye"]


async def test_revoked_while_the_session_is_made() -> None:
    """A connection that is attaching to its session while its token is revoked gets no welcome."""
    log = SlowLog()
    app = make_app(log, auth=granted)
    async with app.running(port=0) as server, client(server) as one:
        await one.send("hello", session="s1", token=grant("ann"))
        await log.reached.wait()
        assert await app.revoke(user="ann") == 1
        log.released.set()
        await check_ended(one)
        assert [frame["type"] for frame in one.frames] == ["goodbye"]


class SlowLog(MemoryLog):
    """A log that waits before it makes a stream."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.released = trio.Event(), trio.Event()

    async def make(self, key: Any) -> Any:
        """Make the stream when the test says so."""
        self.reached.set()
        await self.released.wait()
        return await super().make(key)


async def test_stored_before_revoke_returns() -> None:
    """``revoke`` returns when the log has the revocation. Connections are closed before that.

    If the log fails, ``revoke`` raises, and the token is refused nevertheless.
    """
    log = FaultyLog(MemoryLog())
    app = make_app(log, auth=granted)
    async with app.running(port=0) as server, trio.open_nursery() as nursery:
        hold, returned = log.hold("revoke"), trio.Event()

        async def revoke() -> None:
            await app.revoke(user="ann")
            assert len(await log.revocations()) == 1
            returned.set()

        async with greeted(server, token=grant("ann")) as one:
            nursery.start_soon(revoke)
            await check_ended(one)
            assert hold.reached.is_set()
            assert not returned.is_set()
            hold.released.set()
            await returned.wait()
        log.fail("revoke")
        with pytest.raises(LogUnavailable):
            await app.revoke(user="bob")
        await check_refused(server, grant("bob"))


class RevokingLog(MemoryLog):
    """A log that revokes a user's tokens during an append."""

    app: Greenroom

    async def append(self, batches: Sequence[Batch]) -> None:
        """Append the batches, then revoke."""
        await super().append(batches)
        await self.app.revoke(user="ann")

    async def revoke(self, revocation: Revocation, now: float) -> None:
        """Store nothing, and let no other task run: so the connection does not end before the append returns."""


async def test_revoked_client_gets_no_more_events() -> None:
    """Events that were not sent before the revocation are not sent with the goodbye."""
    log = RevokingLog()
    log.app = app = make_app(log, auth=granted)
    async with app.running(port=0) as server, greeted(server, token=grant("ann")) as one:
        await one.send("command", id="1", name="message.send", args={"text": "hidden"})
        await check_ended(one)
        assert one.events() == []


@pytest.mark.parametrize("engine", ["memory", "sqlite"])
async def test_revocation_over_a_restart(tmp_path: Path, engine: str) -> None:
    """A revocation counts after a restart with the same file. A revocation that has ended does not."""
    log = MemoryLog() if engine == "memory" else SqliteLog(tmp_path / "log.db")
    app = make_app(log, auth=granted)
    async with app.running(port=0) as server:
        await app.revoke(user="ann")
        await app.revoke(token_id="t1")
        await app.revoke(user="bob", until=time.time() + 0.001)
    async with app.running(port=0) as server:
        if engine == "sqlite":
            await check_refused(server, grant("ann", issued=5))
            await check_refused(server, grant("eve", "t1"))
        for token in (grant("ann", issued=LATER), grant("bob"), grant("eve", "t2")):
            async with greeted(server, token=token) as one:
                await one.say("served")


APP = """
from actors import SqliteLog
from protocol.agents import make_app
from protocol.grants import granted
app = make_app(SqliteLog("log.db"), auth=granted)

@app.agent
async def revoke(run, user):
    return await app.revoke(user=user)
"""


async def test_revocation_over_kill_9(tmp_path: Path) -> None:
    """A revocation that an agent reported as done counts after a kill -9 of the server."""
    old, new = grant("ann", issued=5), grant("ann", issued=LATER)
    async with server_process(tmp_path, APP) as process:
        server: Any = process  # it has a url, which is all that a client needs
        async with greeted(server, token=old) as one, greeted(server, token=grant("admin")) as admin:
            run_id = await admin.start("1", "revoke", "ann")
            await check_ended(one)
            assert (await admin.completed(run_id))["data"]["result"] == 1
        await process.kill()
        await process.start()
        await check_refused(server, old)
        async with greeted(server, token=new) as one:
            await one.say("served")


async def test_each_resume_is_authorised_anew() -> None:
    """Each hello calls the auth function, also a hello with a position.

    A user who is forbidden meanwhile gets 4502, and nothing of the session.
    """
    forbidden: set[str] = set()
    asked: list[str | None] = []

    async def auth(credentials: Credentials) -> User:
        asked.append(credentials.token)
        if credentials.token in forbidden:
            raise Forbidden("not any more")
        return User(str(credentials.token))

    async with make_app(auth=auth).running(port=0) as server:
        async with greeted(server, token="ann") as one:
            await one.say("before")
            epoch = one.welcome["epoch"]
        async with greeted(server, token="ann", resume={"epoch": epoch, "seq": 0}) as one:
            await one.events_until(1)
        forbidden.add("ann")
        async with client(server) as one:
            await one.send("hello", session="s1", token="ann", resume={"epoch": epoch, "seq": 0})
            ended = await one.ended()
        assert (ended.code, ended.reason) == (4502, "not any more")
        assert [frame["type"] for frame in one.frames] == ["goodbye"]
        assert asked == ["ann"] * 3
