"""The cost of many open sub-agents and tool calls, in executed lines: no event looks at all of them."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from sessions._one_run import ends, events_of

import actors
from actors import Run, SessionSettings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import FrameType

FEW, MORE, MANY = 40, 80, 160
MARGIN = 1.15
"""Allowed growth of the lines for one more item. A look at all items in each event would let it grow by a third."""
_OWN = str(Path(actors.__file__).parent)


@attrs.define(slots=False)
class Lines:
    """A trace function that counts the lines which the code of ``actors`` executes."""

    count: int = 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> Lines | None:
        self.count += event == "line"
        return self if frame.f_code.co_filename.startswith(_OWN) else None


async def nested(run: Run, items: int, opened: Callable[[], None]) -> None:
    """Open sub-agents within each other, and close them one by one."""
    async with AsyncExitStack() as stack:
        for _ in range(items):
            run = await stack.enter_async_context(run.subrun("nested"))
        opened()


async def left_open(run: Run, items: int, opened: Callable[[], None]) -> None:
    """Open sub-agents within each other, and leave them open at the end of the run."""
    for _ in range(items):
        run = await run.subrun("left").__aenter__()
    opened()


async def beside(run: Run, items: int, opened: Callable[[], None]) -> None:
    """Open sub-agents beside each other, which are cancelled at once."""

    async def child() -> None:
        async with run.subrun("child"):
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        for _ in range(items):
            nursery.start_soon(child)
        while run.subruns < items:
            await trio.lowlevel.checkpoint()
        opened()
        nursery.cancel_scope.cancel()


async def calls(run: Run, items: int, opened: Callable[[], None]) -> None:
    """Open tool calls beside each other, which are cancelled at once."""
    count = 0

    async def call() -> None:
        nonlocal count
        async with run.tool("search"):
            count += 1
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        for _ in range(items):
            nursery.start_soon(call)
        while count < items:
            await trio.lowlevel.checkpoint()
        opened()
        nursery.cancel_scope.cancel()


async def lines_of(agent: Callable[[Run, int, Callable[[], None]], Awaitable[None]], items: int) -> int:
    """Return the number of lines from the time at which all are open to the end of the session."""
    lines = Lines()

    async def starts(run: Run) -> None:
        await agent(run, items, lambda: sys.settrace(lines))

    traced = sys.gettrace()
    try:
        events = await events_of(starts, settings=SessionSettings(max_run_depth=items, max_subruns=items))
    finally:
        sys.settrace(traced)
    assert len(ends(events) + ends(events, "tool_completed")) == items + 2  # the two runs that start, too
    return lines.count


@pytest.mark.parametrize("agent", [nested, left_open, beside, calls])
async def test_lines_for_one_end(agent: Callable[[Run, int, Callable[[], None]], Awaitable[None]]) -> None:
    """The end of an item executes as many lines if many items are open as if a few are.

    *Each end looked at all open items: while 1,000 sub-agents ended, no other session could do anything for seconds.*
    """
    few, more, many = [await lines_of(agent, items) for items in (FEW, MORE, MANY)]
    assert 20 <= (many - more) / (MANY - MORE) <= MARGIN * (more - few) / (MORE - FEW)
