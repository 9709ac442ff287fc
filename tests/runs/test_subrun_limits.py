"""Limits on sub-agents: if there are too many, or they are too deep, RunFailed is raised and nothing is emitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sessions._one_run import ends, events_of

from actors import ConfigError, Run, RunFailed, SessionSettings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def delegate(run: Run) -> object:
    return await run.call_agent("delegate")


async def inline(run: Run) -> object:
    async with run.subrun("inline") as child:
        child.result = await inline(child)
    return child.result


@pytest.mark.parametrize("agent", [delegate, inline])
@pytest.mark.parametrize("deepest", [0, 1, 5])
async def test_max_run_depth(agent: Callable[[Run], Awaitable[object]], deepest: int) -> None:
    """Sub-agents can be nested ``max_run_depth`` levels deep. A sub-agent on the next level is refused as ``too_deep``.

    All runs still get their closing events.
    """
    raised: list[str] = []

    async def starts(run: Run) -> None:
        try:
            await agent(run)
        except RunFailed as error:
            raised.append(error.code)

    events = await events_of(starts, delegate, settings=SessionSettings(max_run_depth=deepest))
    assert sum(event["type"] == "agent_started" for event in events) == deepest + 2  # the first, and one that is fine
    assert len(ends(events)) == deepest + 2
    assert raised == ["too_deep" if deepest == 0 or agent is inline else "RunFailed"]


async def test_max_subruns() -> None:
    """Below one run, at most ``max_subruns`` sub-agents are open, on all levels together.

    When one ends, another may start.
    """
    refused: list[str] = []

    async def other(_: Run) -> None: ...

    async def starts(run: Run) -> None:
        made_before = run.subrun("c")
        async with run.subrun("a") as child, child.subrun("b"):
            for holder in (run, child):
                with pytest.raises(RunFailed) as full:
                    await holder.call_agent("other")
                refused.append(full.value.code)
                with pytest.raises(RunFailed) as full:
                    holder.subrun("c")
                refused.append(full.value.code)
            with pytest.raises(RunFailed) as full:
                async with made_before:
                    pass
            refused.append(full.value.code)
        for _ in range(5):
            await run.call_agent("other")
        async with run.subrun("d"), made_before:
            pass

    events = await events_of(starts, other, settings=SessionSettings(max_subruns=2))
    assert refused == ["overloaded"] * 5
    assert ends(events) == [("ok", None)] * 11


@pytest.mark.parametrize("name", ["max_run_depth", "max_subruns"])
def test_limits_are_whole_numbers(name: str) -> None:
    """If a limit in the settings is negative or not a whole number, it is refused, and the error names the limit."""
    for value in (-1, 1.5, "1", None):
        with pytest.raises(ConfigError, match=name):
            SessionSettings(**{name: value})  # type: ignore[arg-type]  # that is the point
