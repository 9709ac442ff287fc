"""The frame ``token``: a fresh token takes the place of the old one on an open connection."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import trio
from protocol.agents import make_app
from protocol.grants import Slow, grant, granted
from protocol.test_hello import keep_alive
from protocol.wire import Client, client, greeted, greeted_in_memory

from transport import User
from transport.auth import REVOKED

if TYPE_CHECKING:
    from trio.testing import MockClock

    from transport import Credentials


@pytest.fixture(autouse=True)
def _still_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system's clock stand still. *On a slow machine a token had lost two of its seconds when it arrived.*"""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)


async def renew(one: Client, token: str) -> dict[str, Any]:
    """Send a fresh token and return the confirmation."""
    await one.send("token", token=token)
    return await one.receive("token")


async def lived(one: Client) -> tuple[int, float]:
    """Keep the client alive until the server closes the connection. Return the close code and the time until then."""
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_alive, one)
        ended = await one.ended()
        nursery.cancel_scope.cancel()
    return ended.code, trio.current_time() - began


@pytest.mark.parametrize("seconds", [5, 100, 1000])
async def test_connection_lives_until_the_fresh_token_expires(autojump_clock: MockClock, seconds: float) -> None:
    """With a fresh token, the connection goes on until this token expires, and is closed with 4004 then.

    This holds for a token that expires later, and also for one that expires earlier.
    """
    async with make_app(auth=granted).running(port=0) as server:
        async with greeted_in_memory(server, token=grant("ann", seconds=60)) as one:
            assert 59_000 < one.welcome["expires_ms"] <= 60_000
            confirmed = await renew(one, grant("ann", seconds=seconds))
            assert (seconds - 1) * 1000 < confirmed["expires_ms"] <= seconds * 1000
            code, after = await lived(one)
            assert (code, round(after)) == (4004, seconds)


async def test_fresh_token_without_an_end(autojump_clock: MockClock) -> None:
    """With a fresh token that never expires, the connection is not closed. The confirmation has no ``expires_ms``."""
    async with make_app(auth=granted).running(port=0) as server:
        async with greeted_in_memory(server, token=grant("ann", seconds=60)) as one, trio.open_nursery() as nursery:
            assert await renew(one, grant("ann")) == {"type": "token"}
            nursery.start_soon(keep_alive, one)
            await trio.sleep(1000)
            await one.say("still here")
            nursery.cancel_scope.cancel()
        async with greeted_in_memory(server, token=grant("ann")) as one:
            assert "expires_ms" not in one.welcome


REFUSED: dict[str, tuple[str, int]] = {
    "other user": (grant("bob"), 4501),
    "wrong": ("wrong", 4501),
    "unknown": ("stranger", 4501),
    "expired": ("expired", 4004),
    "expired by its own time": (grant("ann", seconds=-1), 4004),
    "forbidden": ("forbidden", 4502),
    "unavailable": ("unavailable", 4005),
    "broken": ("broken", 4006),
}


@pytest.mark.parametrize(("token", "code"), REFUSED.values(), ids=REFUSED)
async def test_refused_fresh_token(token: str, code: int) -> None:
    """A fresh token that is refused, or belongs to another user, closes the connection as at the hello.

    The other connections of the user go on.
    """
    async with make_app(auth=granted).running(port=0) as server:
        async with greeted(server, token=grant("ann")) as one, greeted(server, token=grant("ann")) as other:
            await one.send("token", token=token)
            ended = await one.ended()
            assert ended.code == code
            assert ended.goodbye is not None
            await other.say("still here")


async def test_auth_of_a_fresh_token_is_limited(autojump_clock: MockClock) -> None:
    """If the auth function takes longer than ``auth_seconds`` for a fresh token, the connection is closed with 4006.

    Meanwhile the other frames of the client are handled.
    """

    async def wait(token: str) -> None:
        await trio.sleep(100 if "slow" in token else 0)

    async with make_app(auth=Slow(wait), auth_seconds=20).running(port=0) as server:
        async with greeted_in_memory(server, token=grant("ann")) as one:
            await one.send("token", token=grant("ann", "slow"))
            began = trio.current_time()
            await one.say("not held up")
            assert trio.current_time() == began
            assert (await one.ended()).code == 4006
            assert trio.current_time() - began == pytest.approx(20)


async def test_last_token_wins(autojump_clock: MockClock) -> None:
    """Several fresh tokens are checked one after the other, and the last one counts.

    Of the tokens that come during a check, only the newest is checked.
    """

    async def wait(token: str) -> None:
        await trio.sleep(5 if "slow" in token else 0)

    auth = Slow(wait)
    tokens = [
        grant("ann", name, seconds=seconds) for name, seconds in (("slow", 500), ("x", 20), ("y", 700), ("z", 60))
    ]
    async with make_app(auth=auth).running(port=0) as server:
        async with greeted_in_memory(server, token=grant("ann", "first")) as one:
            for token in tokens:
                await one.send("token", token=token)
            ends = [(await one.receive("token"))["expires_ms"] for _ in range(2)]
            assert [round(end / 1000) for end in ends] == [500, 60]
            assert [token.split("/")[1] for token in auth.checked] == ["first", "slow", "z"]
            code, after = await lived(one)
            assert (code, round(after)) == (4004, 60)


async def test_fresh_tokens_are_limited() -> None:
    """Fresh tokens count as requests for ``commands_per_second``. One more is refused, and the connection stays."""
    async with make_app(auth=granted, commands_per_second=0.001, commands_burst=2).running(port=0) as server:
        async with greeted(server, token=grant("ann")) as one:
            for _ in range(2):
                await renew(one, grant("ann"))
            await one.send("token", token=grant("bob"))
            assert (await one.receive("error"))["code"] == "rate_limited"
            await one.send("pong")
            assert server.endpoint.statistics().connections == 1


async def test_revocation_after_a_fresh_token() -> None:
    """After a fresh token, a revocation of the old token does not concern the connection. One of the new token does.

    A fresh token that was revoked before is refused with 4501.
    """
    app = make_app(auth=granted)
    async with app.running(port=0) as server:
        async with greeted(server, token=grant("ann", "t1", issued=5)) as one:
            await renew(one, grant("ann", "t2", issued=time.time() + 1000))
            assert await app.revoke(token_id="t1") == 0
            assert await app.revoke(user="ann") == 0
            await one.say("still here")
            await one.send("token", token=grant("ann", "t1"))
            ended = await one.ended()
            assert (ended.code, ended.reason) == (4501, REVOKED)
        async with greeted(server, token=grant("ann", "t3", issued=time.time() + 1000)) as one:
            await renew(one, grant("ann", "t4", issued=time.time() + 1000))
            assert await app.revoke(token_id="t4") == 1
            assert (await one.ended()).code == 4501


async def test_credentials_of_a_fresh_token() -> None:
    """The auth function gets the fresh token, the session, the address and the present user. It gets no headers."""
    seen: list[Credentials] = []

    async def auth(credentials: Credentials) -> User:
        seen.append(credentials)
        return await granted(credentials)

    async with make_app(auth=auth).running(port=0) as server:
        async with greeted(server, "s7", token=grant("ann")) as one:
            await renew(one, grant("ann", "t2"))
    first, second = seen
    assert (second.token, second.session, second.address) == (grant("ann", "t2"), "s7", first.address)
    assert (second.address, first.headers != {}, second.headers) == ("127.0.0.1", True, {})
    assert (first.renews, second.renews) == (None, User("ann"))


@pytest.mark.parametrize("fields", [{}, {"token": None}, {"token": 7}, {"token": "\ud800"}], ids=repr)
async def test_wrong_token_frame(fields: dict[str, object]) -> None:
    """A ``token`` frame without a text as its token is a bad frame."""
    async with make_app(auth=granted).running(port=0) as server:
        async with greeted(server, token=grant("ann")) as one:
            await one.send("token", **fields)
            assert (await one.ended()).code == 4500


async def test_token_frame_before_hello() -> None:
    """A ``token`` frame before the hello is a bad frame."""
    async with make_app(auth=granted).running(port=0) as server, client(server) as one:
        await one.send("token", token=grant("ann"))
        assert (await one.ended()).code == 4500
