"""The border around functions of an application: all their exceptions are caught, and each has a close code."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from trio_websocket import ConnectionClosed, open_websocket_url

from actors import MemoryLog, Run
from transport import AuthUnavailable, Forbidden, Greenroom, NotAuthenticated, TokenExpired, connect
from transport._border import called, leaves, refusal_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from actors import Head, StreamKey


class Unshowable(Exception):
    """An exception that cannot be shown: ``str`` and ``repr`` raise SystemExit."""

    def __str__(self) -> str:
        raise SystemExit(5)

    __repr__ = __str__


def a_cancelled() -> trio.Cancelled:
    """Return a ``Cancelled`` exception of a cancel scope that has ended."""

    async def make() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as cancelled:
                made.append(cancelled)

    made: list[trio.Cancelled] = []
    trio.run(make)
    return made[0]


LEAKED = a_cancelled()
REFUSALS: dict[type[Exception], tuple[int, str]] = {
    NotAuthenticated: (4501, "said so"),
    Forbidden: (4502, "said so"),
    TokenExpired: (4004, "said so"),
    AuthUnavailable: (4005, "authentication is not possible now: said so"),
}
OTHERS: list[Callable[[], BaseException]] = [
    lambda: ValueError("x"),
    lambda: SystemExit(3),
    KeyboardInterrupt,
    GeneratorExit,
    asyncio.CancelledError,
    lambda: LEAKED,
    Unshowable,
]


def nested(error: BaseException, depth: int, beside: BaseException | None = None) -> BaseException:
    """Return ``error`` inside ``depth`` nested groups, each of which also contains ``beside``."""
    for _ in range(depth):
        error = BaseExceptionGroup("group", [error] if beside is None else [beside, error])
    return error


trees = st.recursive(
    st.sampled_from([*REFUSALS, *range(len(OTHERS))]),
    lambda inner: st.lists(inner, min_size=1, max_size=4),
    max_leaves=12,
)


def built(tree: Any) -> BaseException:
    """Return the exception, or the group of exceptions, that the tree describes."""
    if isinstance(tree, list):
        return BaseExceptionGroup("group", [built(each) for each in tree])
    return OTHERS[tree]() if isinstance(tree, int) else tree("said so")


def kinds(tree: Any) -> set[Any]:
    """Return all kinds of exceptions that the tree contains."""
    return set().union(*map(kinds, tree)) if isinstance(tree, list) else {tree}


@given(trees)
def test_strongest_refusal_in_a_group_decides(tree: Any) -> None:
    """If a group contains several refusals of a user, the refusal with the highest priority decides the close code.

    NotAuthenticated comes first, then Forbidden, TokenExpired and AuthUnavailable. Other exceptions are no refusals.
    """
    expected = next((refusal for kind, refusal in REFUSALS.items() if kind in kinds(tree)), None)
    assert refusal_in(built(tree)) == expected


def test_groups_may_be_deep_and_shared() -> None:
    """A refusal is found in 5,000 nested groups. An exception that is in many groups is visited only once."""
    assert refusal_in(nested(Forbidden("no"), 5_000, ValueError())) == (4502, "no")
    shared: BaseException = NotAuthenticated("no")
    for _ in range(60):
        shared = BaseExceptionGroup("twice", [shared, shared])
    assert len(list(leaves(shared))) == 1


def test_refusal_without_text() -> None:
    """If a refusal has no text, or its text cannot be read, the name of its class is the reason for the client."""

    class Shy(NotAuthenticated):
        def __str__(self) -> str:
            raise SystemExit(1)

    assert refusal_in(Shy()) == (4501, "Shy")
    assert refusal_in(Forbidden()) == (4502, "Forbidden")


@pytest.mark.parametrize("make", OTHERS)
@pytest.mark.parametrize("depth", [0, 1, 400])
async def test_raised_exception_is_returned(make: Callable[[], BaseException], depth: int) -> None:
    """``called`` returns any exception of the function, alone or in groups, and does not cancel its caller."""
    raised = nested(make(), depth)

    async def function() -> None:
        raise raised

    assert await called(function) is raised
    await trio.lowlevel.checkpoint()


async def test_failure_in_own_nursery_is_returned() -> None:
    """If a task in a nursery of the function fails, ``called`` returns this as a failure of the function."""

    async def function() -> None:
        async def fail() -> None:
            raise NotAuthenticated("no")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(fail)

    assert refusal_in(await called(function)) == (4501, "no")


async def test_task_beside_the_function_ends_with_it() -> None:
    """If the function starts a task in the nursery in which ``called`` runs it, the task ends with the function.

    If the task fails while the function still runs, this counts as a failure of the function.
    """
    ended: list[str] = []

    async def linger() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("lingering")

    async def beside(work: Callable[[], Awaitable[None]]) -> str:
        nursery = trio.lowlevel.current_task().parent_nursery
        assert nursery is not None
        nursery.start_soon(work)
        await trio.testing.wait_all_tasks_blocked()
        return "user"

    async def fail() -> None:
        raise Forbidden("no")

    assert await called(beside, linger) == "user"
    assert ended == ["lingering"]
    assert refusal_in(await called(beside, fail)) == (4502, "no")


async def test_cancellation_from_outside_passes() -> None:
    """If the caller of ``called`` is cancelled, ``called`` raises Cancelled.

    This is true even if the function then raises another exception or returns a result.
    """

    async def stubborn(answer: object) -> object:
        try:
            await trio.sleep_forever()
        finally:
            if isinstance(answer, BaseException):
                raise answer
            return answer  # noqa: B012 - it swallows its cancellation

    for answer in (NotAuthenticated("no"), "user"):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(called, stubborn, answer)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        assert scope.cancelled_caught


@pytest.mark.parametrize("deep", [False, True])
def test_ctrl_c_is_no_failure_of_the_function(deep: bool) -> None:
    """Ctrl-C while the function runs ends the whole program with KeyboardInterrupt, and is not returned as a result."""
    results: list[object] = []

    async def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await trio.lowlevel.checkpoint()

    async def function() -> str:
        if not deep:
            await interrupt()
        else:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(interrupt)
        return "user"

    async def call() -> None:
        results.append(await called(function))

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await trio.sleep_forever()

    with pytest.raises(BaseException) as caught:  # noqa: PT011 - its leaves are looked at
        trio.run(main)
    assert {type(error) for error in leaves(caught.value)} == {KeyboardInterrupt}


class UnshowableExit(BaseException):
    """An exception that cannot be shown, and that is a BaseException but no Exception."""

    __str__ = Unshowable.__str__
    __repr__ = Unshowable.__str__


class _Failing(MemoryLog):
    """A log that raises an exception that cannot be shown, when the session ``bad`` is created or read."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    async def make(self, key: StreamKey) -> Head:
        if self.what == "make" and key.session == "bad":
            raise UnshowableExit
        return await super().make(key)

    async def read(self, key: StreamKey, after: int, limit: int, size: int) -> Sequence[bytes]:
        if self.what == "read" and key.session == "bad":
            raise UnshowableExit
        return await super().read(key, after, limit, size)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("what", ["make", "read"])
async def test_unshowable_failure_of_a_log_ends_one_connection(what: str) -> None:
    """If a log fails for one session with an exception that cannot be shown, only connections of this session end."""
    app = Greenroom(log=_Failing(what))

    @app.agent
    async def echo(_: Run, text: str) -> str:
        return text

    async with app.running(port=0) as server, connect(server.url, session="good") as good:
        await good.start("echo", "before")
        async with open_websocket_url(server.url, subprotocols=["greenroom.v1"]) as bad:
            with suppress(ConnectionClosed):
                await bad.send_message('{"type":"hello","session":"bad"}')
                await bad.send_message('{"type":"command","id":"1","name":"message.send","args":{"text":"x"}}')
                while "reply" not in await bad.get_message():
                    pass
                await bad.send_message('{"type":"history","id":"h","after":0,"limit":10}')
                while True:
                    await bad.get_message()
        await good.start("echo", "after")
        assert good.state == "live"
        assert server.endpoint.statistics().accepted == 2
