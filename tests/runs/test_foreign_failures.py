"""Any exception of an agent or a tool ends its own run as ``error``, and nothing else.

These tests use the real clock, since a virtual clock does not wait for threads. No test depends on a duration.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
import orjson
import pytest
import trio
import trio.testing
from sessions._one_run import ends, events_of

from actors import Agents, CommandRefused, MemoryLog, Run, RunFailed, Sessions, SupervisorSpec, open_system
from actors.failures import leaves
from actors.spi import Attach

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable


class Unshowable(Exception):
    """An exception that raises when it is shown, like one with an attribute that was never set."""

    def __repr__(self) -> str:
        return f"Unshowable({self.status})"  # type: ignore[attr-defined]  # the fault

    __str__ = __repr__


class Quits(Exception):
    """An exception that raises SystemExit when it is shown."""

    def __repr__(self) -> str:
        raise SystemExit("cannot be shown")

    __str__ = __repr__


class Nameless(Exception):
    """An exception that raises SystemExit when ``isinstance`` asks for its class."""

    @property  # type: ignore[misc]  # the fault
    def __class__(self) -> type:
        raise SystemExit("has no class")


class Closed(Exception):
    """An exception that raises SystemExit when any attribute is read."""

    def __getattribute__(self, name: str) -> object:
        raise SystemExit(name)


class Needy(Exception):
    """An exception that cannot be constructed from a text, and cannot be shown."""

    __slots__ = ("one", "two")

    def __init__(self, one: int, two: int) -> None:
        self.one = one
        self.two = two

    def __init_subclass__(cls) -> None:
        raise TypeError("no subclasses")

    __repr__ = Unshowable.__repr__
    __str__ = Unshowable.__repr__


def nested(depth: int) -> Exception:
    error: Exception = ConnectionError("no route")
    for _ in range(depth):
        error = ExceptionGroup("again", [error])
    return error


def attempts(count: int) -> Exception:
    """Return an error that wraps the error of the previous attempt, which wraps the one before, and so on."""
    error: Exception = ConnectionError("no route")
    for number in range(count):
        error = ExceptionGroup(f"attempt {number} failed too", [error, ConnectionError("no route")])
    return error


def doubled(depth: int) -> Exception:
    error: Exception = ConnectionError("no route")
    for _ in range(depth):
        error = ExceptionGroup("twice", [error, error])
    return error


def cyclic() -> Exception:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


ERRORS: dict[str, tuple[Callable[[], BaseException], str, type[BaseException]]] = {
    "nested": (lambda: nested(500), "ConnectionError", ConnectionError),
    "attempts": (lambda: attempts(3_000), "ExceptionGroup", ConnectionError),
    "doubled": (lambda: doubled(60), "ExceptionGroup", ConnectionError),
    "many": (lambda: ExceptionGroup("many", [OSError(n) for n in range(5_000)]), "ExceptionGroup", OSError),
    "argument": (lambda: ValueError(nested(500)), "ValueError", ValueError),
    "unshowable": (Unshowable, "Unshowable", Unshowable),
    "quits": (Quits, "Quits", Quits),
    "nameless": (Nameless, "Nameless", RuntimeError),
    "closed": (Closed, "Closed", RuntimeError),
    "needy": (lambda: Needy(1, 2), "Needy", RuntimeError),
    "unshowables": (lambda: ExceptionGroup("two", [Quits(), Unshowable()]), "ExceptionGroup", Quits),
    "cyclic": (cyclic, "ValueError", ValueError),
    "KeyboardInterrupt": (KeyboardInterrupt, "KeyboardInterrupt", KeyboardInterrupt),
    "SystemExit": (lambda: SystemExit(3), "SystemExit", SystemExit),
    "GeneratorExit": (GeneratorExit, "GeneratorExit", GeneratorExit),
    "interrupts": (
        lambda: BaseExceptionGroup("both", [KeyboardInterrupt(), ValueError("no")]),
        "BaseExceptionGroup",
        KeyboardInterrupt,
    ),
}

every_error = pytest.mark.parametrize("name", ERRORS)


@every_error
async def test_an_exception_of_an_agent_ends_its_run_only(name: str) -> None:
    """If an agent raises any exception, its run ends as ``error``. The error code is the name of the exception's class.

    The session continues.
    """

    async def agent(_: Run) -> None:
        raise make()

    make, code, _ = ERRORS[name]
    events = await events_of(agent)
    assert ends(events) == [("error", code), ("ok", None)]
    assert all(len(str(event["data"])) < 2_500 for event in events)


@every_error
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_an_exception_of_a_tool_may_cross_a_nursery(name: str, kind: str) -> None:
    """If a tool raises in a nursery of the agent, the agent gets an exception that it can catch.

    Trio can format the exception, however deeply nested or unprintable the tool's exception is.
    """
    make, code, caught = ERRORS[name]
    seen: list[BaseException] = []

    async def in_task() -> None:
        raise make()

    def in_thread() -> None:
        raise make()

    async def agent(run: Run) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run.call_tool, in_task if kind == "async" else in_thread)
        except BaseException as error:  # noqa: BLE001 - looked at below
            seen.extend(leaves(error))

    events = await events_of(agent)
    assert any(isinstance(each, caught) for each in seen)
    assert all(repr(each) for each in seen)
    assert ends(events, "tool_completed")[0][0] == "error"
    assert ends(events, "tool_completed")[0][1] in {code, "ConnectionError", "RuntimeError"}
    assert ends(events) == [("ok", None), ("ok", None)]


@every_error
@pytest.mark.parametrize("kind", ["call_agent", "subrun"])
async def test_an_exception_of_a_sub_agent_ends_its_own_run(name: str, kind: str) -> None:
    """If a sub-agent raises, its run ends as ``error``. The agent that called it by ``call_agent`` gets RunFailed.

    If the sub-agent is a ``subrun`` block, its exception propagates, in a form that a nursery can handle.
    """
    make, code, caught = ERRORS[name]
    seen: list[BaseException] = []

    async def below(_: Run) -> None:
        raise make()

    async def inline(run: Run) -> None:
        async with run.subrun("below"):
            raise make()

    async def agent(run: Run) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run.call_agent, "below") if kind == "call_agent" else nursery.start_soon(inline, run)
        except BaseException as error:  # noqa: BLE001 - looked at below
            seen.extend(leaves(error))

    events = await events_of(agent, below)
    expected = RunFailed if kind == "call_agent" and name != "GeneratorExit" else caught
    assert any(isinstance(each, expected) for each in seen)
    assert all(repr(each) for each in seen)
    assert ends(events) == [("error", code), ("ok", None), ("ok", None)]


async def test_a_tree_of_cancellations_becomes_one() -> None:
    """If a deep chain of agents in nurseries is cancelled, each agent gets one flat group of cancellations.

    It does not get a tree of nested groups, which could exceed the recursion limit.
    """
    deepest, cancelled = trio.Event(), list[BaseExceptionGroup[BaseException]]()

    async def agent(run: Run) -> None:
        async def wait(depth: int) -> None:
            if not depth:
                deepest.set()
                await trio.sleep_forever()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait, depth - 1)

        if run.context.depth == 64:
            await wait(20)
        try:
            async with trio.open_nursery() as helpers:
                helpers.start_soon(run.call_agent, "agent")
        except BaseExceptionGroup as group:
            cancelled.append(group)
            raise

    async def starts(run: Run) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.call_agent, "agent")
            await deepest.wait()
            run.stop()

    events = await events_of(starts, agent)
    assert set(ends(events)[:-1]) == {("cancelled", "cancelled")}
    assert all(isinstance(one, trio.Cancelled) for group in cancelled for one in group.exceptions)
    assert len(cancelled) == 63

    assert ends(events)[-1] == ("ok", None)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), Quits(), nested(500), Unshowable()])
async def test_a_failing_check_refuses_the_input(error: BaseException) -> None:
    """If the agent's author wrote a check of the input and it raises, the input is refused as ``bad_input``.

    This holds for any exception. The session continues.
    """

    def check(_instance: object, _attribute: object, _value: object) -> None:
        raise error

    checked = attrs.make_class("checked", {"number": attrs.field(type=int, validator=check)})

    async def picky(_: Run, value: Any) -> None: ...

    picky.__annotations__["value"] = checked

    async def agent(run: Run) -> str:
        with pytest.raises(CommandRefused) as refused:
            await run.call_agent("picky", {"number": 1})
        return refused.value.code

    events = await events_of(agent, picky)
    assert ends(events) == [("ok", None)] * 2
    assert next(event for event in events if event["type"] == "agent_completed")["data"]["result"] == "bad_input"


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_generator_left_open_ends_no_session() -> None:
    """If an agent leaves an unfinished generator with an open nursery, only its own run fails.

    Its session and other sessions continue.
    """

    async def generator() -> AsyncGenerator[int]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            yield 1

    async def careless(_: Run) -> None:
        async for _each in generator():
            break

    async def waits(_: Run) -> None:
        await trio.sleep_forever()

    registry = Agents()
    registry.add(careless)
    registry.add(waits)
    sessions = Sessions(MemoryLog(), registry)
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        neighbour = await sessions.get("bob", "s1")
        await neighbour.start("waits")
        handle = await sessions.get("alice", "s1")
        with suppress(CommandRefused):
            await handle.start("careless")
        await trio.testing.wait_all_tasks_blocked()
        assert sessions.statistics().crashed == 0
        assert [one.runs for one in sessions.of("bob")] == [1]
        assert await handle.start("waits")


class Lazy(dict[str, object]):
    """A dict that raises when its items are read."""

    error: type[BaseException] = SystemExit

    def items(self) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("error", "code"), [(SystemExit, "UnserialisableEvent"), (RecursionError, "RecursionError")], ids=["exit", "depth"]
)
@pytest.mark.parametrize("place", ["run", "tool", "call"])
async def test_a_result_that_cannot_be_read_is_an_error(
    place: str, error: type[BaseException], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If reading the result of a run, tool call or sub-agent raises, it is closed as ``error``."""
    monkeypatch.setattr(Lazy, "error", error)

    async def returns() -> object:
        return Lazy(a=None)

    async def agent(run: Run) -> object:
        if place == "tool":
            await run.call_tool(returns)
        elif place == "call":
            async with run.subrun("inner") as inner:
                inner.result = Lazy(a=None)
        return Lazy(a=None)

    events = await events_of(agent)
    opened = {"run": 1, "tool": 1, "call": 2}[place]
    assert ends(events) == [("error", code)] * opened + [("ok", None)]
    if place == "tool":
        assert ends(events, "tool_completed") == [("error", code)]


@pytest.mark.parametrize(
    "status", ["ok", "odd", "", None, ["cancelled"], Lazy(a=None)], ids=lambda value: type(value).__name__
)
async def test_stop_refuses_unknown_statuses(status: Any) -> None:
    """``Run.stop()`` raises for a status that the protocol does not have, and the run is not stopped."""

    async def agent(run: Run) -> str:
        with pytest.raises(ValueError, match="cancelled"):
            run.stop(status)
        await trio.lowlevel.checkpoint()
        return "done"

    assert ends(await events_of(agent)) == [("ok", None)] * 2


async def test_typing_is_a_boolean() -> None:
    """``Run.typing()`` accepts any value, and clients see it as true or false.

    If a value has no truth value, the call raises.
    """
    shown: list[bytes] = []

    class Tab:
        def on_events(self) -> None: ...
        def on_ended(self, reason: str) -> None: ...
        def on_signal(self, name: str, data: bytes) -> None:
            shown.append(data)

    class Unsure:
        def __bool__(self) -> bool:
            raise SystemExit(6)

    async def agent(run: Run) -> None:
        for active in (["yes"], "", Unsure()):
            run.typing(active)  # type: ignore[arg-type]  # agents need not be typed

    registry = Agents()
    registry.add(agent)
    sessions = Sessions(MemoryLog(), registry)
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        await sessions.attach("alice", "s1", Attach("c1", Tab()))
        handle = await sessions.get("alice", "s1")
        await handle.start("agent")
        await trio.testing.wait_all_tasks_blocked()
        assert [orjson.loads(data)["active"] for data in shown] == [True, False]
        assert sessions.statistics().crashed == 0
