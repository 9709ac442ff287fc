"""The auth function of an application: a failure closes the connection that it was called for, and no other."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from protocol.agents import make_app
from protocol.wire import client, greeted, greeted_in_memory, memory_client, wait_for_connections

from transport import AuthUnavailable, Credentials, Forbidden, NotAuthenticated, TokenExpired, User

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from protocol.wire import Client
    from trio.testing import MockClock

    from transport import Server


class Unshowable(Exception):
    """An exception without a text: ``str`` and ``repr`` raise."""

    def __str__(self) -> str:
        raise AttributeError(self)

    __repr__ = __str__


class Untold(NotAuthenticated):
    """A refusal without a text."""

    __str__ = Unshowable.__str__


async def raise_in_a_nursery(error: BaseException, depth: int = 1) -> None:
    """Raise ``error`` in ``depth`` nested nurseries."""

    async def fail() -> None:
        if depth > 1:
            await raise_in_a_nursery(error, depth - 1)
        raise error

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(fail)


async def leak_a_cancelled(scope: trio.CancelScope) -> None:
    """Raise a ``Cancelled`` exception of a scope that is closed already."""
    kept: list[BaseException] = []
    with scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as cancelled:
            kept.append(cancelled)
    raise kept[0]


async def fail_beside() -> User:
    """Wait, while another task in the nursery around this function fails."""
    nursery = trio.lowlevel.current_task().parent_nursery
    assert nursery is not None
    nursery.start_soon(raise_in_a_nursery, ValueError("beside"))
    await trio.sleep_forever()
    raise AssertionError


async def raising(error: BaseException) -> None:
    """Raise ``error``."""
    raise error


async def giving(answer: object) -> object:
    """Return ``answer``."""
    return answer


def changed(**values: object) -> User:
    """Return a user with values that were not checked."""
    user = User("x")
    for name, value in values.items():
        object.__setattr__(user, name, value)
    return user


DOES: dict[str, tuple[Callable[[], Awaitable[Any]], int]] = {
    "SystemExit": (lambda: raising(SystemExit(3)), 4006),
    "KeyboardInterrupt": (lambda: raising(KeyboardInterrupt()), 4006),
    "GeneratorExit": (lambda: raising(GeneratorExit()), 4006),
    "asyncio cancelled": (lambda: raising(asyncio.CancelledError()), 4006),
    "trio cancelled": (lambda: leak_a_cancelled(trio.CancelScope()), 4006),
    "BaseException": (lambda: raising(BaseException("odd")), 4006),
    "unshowable": (lambda: raising(Unshowable()), 4006),
    "unshowable refusal": (lambda: raising(Untold()), 4501),
    "refused in a nursery": (lambda: raise_in_a_nursery(NotAuthenticated("no")), 4501),
    "forbidden in nurseries": (lambda: raise_in_a_nursery(Forbidden("no"), 9), 4502),
    "expired in a nursery": (lambda: raise_in_a_nursery(TokenExpired("no")), 4004),
    "unavailable in a nursery": (lambda: raise_in_a_nursery(AuthUnavailable("no")), 4005),
    "failed in a nursery": (lambda: raise_in_a_nursery(SystemExit(3)), 4006),
    "failed beside itself": (fail_beside, 4006),
    "None": (lambda: giving(None), 4006),
    "a name": (lambda: giving("alice"), 4006),
    "the class": (lambda: giving(User), 4006),
    "an exception": (lambda: giving(Forbidden("as a value")), 4006),
    "a user without a name": (lambda: giving(changed(id=None)), 4006),
    "a user until soon": (lambda: giving(changed(expires="soon")), 4006),
    "a user until no number": (lambda: giving(changed(expires=float("nan"))), 4006),
    "a user until beyond floats": (lambda: giving(changed(expires=10**400)), 4006),
    "a user with a token of no name": (lambda: giving(changed(token_id="")), 4006),
    "a user since no number": (lambda: giving(changed(issued=float("nan"))), 4006),
}


async def does(credentials: Credentials) -> User:
    """Act as the token says: return a user, wait, or raise. Without a token, return a user."""
    answer: User = User("alice") if credentials.token is None else await DOES[credentials.token][0]()
    return answer


@asynccontextmanager
async def unharmed(server: Server) -> AsyncIterator[None]:
    """Check that another client is served during the block, and that the endpoint is not restarted."""
    ref = server.system.find("/greenroom/endpoint")
    assert ref is not None
    async with greeted(server, "neighbour") as neighbour:
        yield
        await neighbour.say("still here")
    assert ref.statistics().restarts == 0


async def end_with(one: Client, token: str) -> int:
    """Say hello with ``token`` and return the close code. The goodbye must have the same code."""
    await one.send("hello", session="s1", token=token)
    ended = await one.ended()
    assert ended.goodbye is not None
    assert ended.goodbye["code"] == ended.code
    return ended.code


async def test_auth_failure_ends_only_its_own_connection(caplog: pytest.LogCaptureFixture) -> None:
    """If the auth function raises or returns a wrong value, its connection is closed with the matching close code.

    No other connection is closed.
    """
    caplog.set_level(logging.CRITICAL)  # another test reads the log
    async with make_app(auth=does).running(port=0) as server, unharmed(server):
        for name, (_, code) in DOES.items():
            async with client(server) as one:
                assert (name, await end_with(one, name)) == (name, code)
        await wait_for_connections(server, 1)


@pytest.mark.parametrize("shield", [False, True])
async def test_hanging_auth_is_ended(autojump_clock: MockClock, shield: bool) -> None:
    """If an auth function takes longer than ``auth_seconds``, it is cancelled. The client gets 4006 (internal error).

    If the function ignores the cancellation, it is ended by force a second later.
    """

    async def hang(credentials: Credentials) -> User:
        with trio.CancelScope(shield=shield):
            await trio.sleep(float(credentials.token or 0))
        return User("alice")

    async with make_app(auth=hang, auth_seconds=20, hello_seconds=5).running(port=0) as server:
        async with greeted_in_memory(server, token="19.9"):
            pass
        async with memory_client(server) as one:
            began = trio.current_time()
            assert await end_with(one, "1000") == 4006
            assert trio.current_time() - began == pytest.approx(21 if shield else 20)


async def test_answer_after_cancellation_is_late(autojump_clock: MockClock) -> None:
    """If the auth function returns or refuses only after the time limit, its answer is ignored.

    The client gets 4006 (internal error).
    """

    async def stubborn(credentials: Credentials) -> User:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            if credentials.token == "refuses":
                raise Forbidden("too late") from None
        return User("alice")

    async with make_app(auth=stubborn).running(port=0) as server:
        for token in ("refuses", "accepts"):
            async with memory_client(server) as one:
                assert await end_with(one, token) == 4006


async def test_auth_failure_is_only_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """If an auth function raises, the exception is in the server's log.

    The client gets only a reference to the log entry.
    """

    async def broken(_: Credentials) -> User:
        raise SystemExit("a secret of the server")

    async with make_app(auth=broken).running(port=0) as server, client(server) as one:
        with caplog.at_level(logging.ERROR, "greenroom"):
            await one.send("hello", session="s1")
            ended = await one.ended()
    assert "secret" not in ended.reason
    reference = ended.reason.rpartition(" ")[2]
    (record,) = [record for record in caplog.records if reference in record.getMessage()]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], SystemExit)


async def test_cancellation_passes_auth(autojump_clock: MockClock) -> None:
    """If a connection is cancelled while its auth function waits, the connection ends.

    The cancellation is not reported as a failure of the auth function.
    """

    async def hang(_: Credentials) -> User:
        await trio.sleep_forever()
        raise AssertionError

    async with make_app(auth=hang).running(port=0) as server, trio.open_nursery() as nursery:
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(server.endpoint.serve, theirs)
        async with ours:
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
