"""``run.wrap`` makes a typed tool of a function: each call is recorded, and a framework can register the result."""

from __future__ import annotations

import functools
import inspect
import threading
from typing import TYPE_CHECKING, Any, assert_type, get_type_hints

import pytest
import trio
from _played import data_of, events_of

from actors import Run, ToolTimeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine


async def search(query: str, limit: int = 5, *more: str, **filters: str) -> list[str]:
    """Search the library."""
    return [query, str(limit), *more, *filters]


def count(text: str) -> int:
    """Count words, in a thread."""
    assert threading.current_thread() is not threading.main_thread()
    return len(text.split())


class Shop:
    """A shop with a method and a call."""

    async def price(self, item: str) -> float:
        return float(len(item))

    async def __call__(self, item: str) -> str:
        return item


async def arguments_of(*args: object, **kwargs: object) -> tuple[object, object]:
    """Return the arguments in the events of a call of ``search``, and its result."""

    async def agent(run: Run) -> object:
        tool: Callable[..., Coroutine[Any, Any, object]] = run.wrap(search)
        return await tool(*args, **kwargs)

    events = await events_of(agent)
    (started,) = data_of(events, "tool_executing")
    assert started["tool"] == "search"
    (completed,) = data_of(events, "tool_completed")
    (ended,) = data_of(events, "agent_completed")
    assert completed["result"] == ended["result"]
    return started["arguments"], completed["result"]


async def test_positional_arguments_have_names() -> None:
    """Arguments that are passed by position are in the event under the names of the parameters."""
    assert await arguments_of("tea", limit=2) == ({"query": "tea", "limit": 2}, ["tea", "2"])
    arguments, result = await arguments_of("tea", 2, "x", "y", colour="red")
    assert arguments == {"query": "tea", "limit": 2, "more": ["x", "y"], "colour": "red"}
    assert result == ["tea", "2", "x", "y", "colour"]


async def test_arguments_must_fit() -> None:
    """Arguments that the function does not take raise TypeError before any event is emitted."""

    async def agent(run: Run) -> None:
        tool: Callable[..., Coroutine[Any, Any, object]] = run.wrap(search)
        with pytest.raises(TypeError, match="query"):
            await tool()

    assert data_of(await events_of(agent), "tool_executing") == []


async def test_sync_tools_and_methods() -> None:
    """A sync function is called in a thread; methods, callable objects and partials can be wrapped too."""

    async def agent(run: Run) -> list[object]:
        shop = Shop()
        tools: list[Callable[[str], Awaitable[object]]] = [
            run.wrap(count),
            run.wrap(shop.price),
            run.wrap(shop),
            run.wrap(functools.partial(search, limit=1), name="one"),
        ]
        return [await tool("tea cup") for tool in tools]

    events = await events_of(agent)
    assert [data["tool"] for data in data_of(events, "tool_executing")] == ["count", "price", "Shop", "one"]
    (ended,) = data_of(events, "agent_completed")
    assert ended["result"] == [2, 7.0, "tea cup", ["tea cup", "1"]]


async def test_timeout_and_name() -> None:
    """``timeout`` limits each call, and ``name`` is the tool's name in the events and of the function."""

    async def hang() -> None:
        await trio.sleep_forever()

    async def agent(run: Run) -> None:
        tool = run.wrap(hang, timeout=0.001, name="slow")
        assert tool.__name__ == "slow"
        for _ in range(2):
            with pytest.raises(ToolTimeout, match="slow took longer"):
                await tool()

    completed = data_of(await events_of(agent), "tool_completed")
    assert [(each["tool"], each["status"]) for each in completed] == [("slow", "timeout")] * 2


async def test_result_looks_like_the_function() -> None:
    """The result has the name, docstring, signature and annotations of the function, and is an async function."""
    seen: list[Any] = []

    async def agent(run: Run) -> None:
        seen.extend(run.wrap(each) for each in (search, count, Shop()))

    await events_of(agent)
    functions: list[Callable[..., object]] = [search, count, Shop()]
    for tool, function in zip(seen, functions, strict=True):
        assert inspect.iscoroutinefunction(tool)
        assert inspect.signature(tool) == tool.__signature__ == inspect.signature(function)
        assert tool.__doc__ == function.__doc__
    searching, counting, shop = seen
    assert (searching.__name__, counting.__name__, shop.__name__) == ("search", "count", "Shop")
    assert get_type_hints(searching) == get_type_hints(search)
    assert shop.__annotations__ == {"item": "str", "return": "str"}


async def test_wrap_keeps_the_types() -> None:
    """For a type checker, the result has the parameters of the function, and returns its result when awaited."""

    async def agent(run: Run) -> None:
        assert_type(await run.wrap(count)("a b"), int)
        assert_type(await run.wrap(search)("tea", 1), list[str])
        assert_type(await run.wrap(Shop().price)("tea"), float)

    (ended,) = data_of(await events_of(agent), "agent_completed")
    assert ended["status"] == "ok"
