"""The shared scan: one walk over the open runs for the counts and for the pages of the list."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest
import trio

from actors import OpenItem, RunState, RunStatistics
from transport.inspector import _sparing
from transport.inspector._query import Query
from transport.inspector._runs import runs
from transport.inspector._scan import COUNTS_SECONDS, SharedScan
from transport.inspector._sparing import MOST, OLDEST_SECONDS, Recent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio.testing import MockClock

    from actors import Sessions


@attrs.define
class Survey:
    """Open runs in place of those of a server. Counts the walks over them."""

    open: list[RunStatistics]
    walks: int = 0

    def runs(self, user: str | None = None) -> Iterator[tuple[RunStatistics, ...]]:
        """Yield the open runs in groups, as the survey of a server does."""
        self.walks += 1
        for run in tuple(self.open):
            yield (run,) if user in {None, run.user} else ()


@attrs.define
class Scanned:
    """A shared scan of some open runs."""

    survey: Survey
    scan: SharedScan = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.scan = SharedScan(self.sessions)

    @property
    def sessions(self) -> Sessions:
        """The object that has the survey."""
        return cast("Sessions", self)

    async def names(self, **given: object) -> list[str]:
        """Return the ids of the runs of a page."""
        seen: Any = await runs(self.sessions, Query(given), self.scan, Recent())
        return [row["run"] for row in seen["runs"]]

    async def total(self) -> int:
        """Return the number of all runs, as the counts have it."""
        return sum((await self.scan.open_runs()).counts.values())


def run(number: int, **fields: Any) -> RunStatistics:
    """Return an open run."""
    name = f"r-{number:04}"
    given: dict[str, Any] = {"user": "ann", "session": "s1", "agent": "slow", "state": RunState.RUNNING}
    given |= {"run": name, "root": name, "parent": None, "depth": 0, "since": float(number)}
    return RunStatistics(**(given | fields))


@pytest.fixture
def dear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each walk be so dear that its results are shown for as long as possible."""
    monkeypatch.setattr(_sparing, "CHEAP_SECONDS", -1.0)
    monkeypatch.setattr(_sparing, "SHARE", 1e-9)


@pytest.mark.usefixtures("dear")
async def test_one_walk_for_counts_and_pages(autojump_clock: MockClock) -> None:
    """Once the results are too old, one walk finds the counts and each page that was asked for lately."""
    server = Scanned(Survey([run(1)]))
    assert (await server.total(), await server.names(), await server.names(sort="newest")) == (
        1,
        ["r-0001"],
        ["r-0001"],
    )
    assert server.survey.walks == 3
    server.survey.open.append(run(2))
    await trio.sleep(OLDEST_SECONDS - 0.001)
    assert (await server.total(), await server.names(), await server.names(sort="newest")) == (
        1,
        ["r-0001"],
        ["r-0001"],
    )
    assert server.survey.walks == 3
    await trio.sleep(0.001)
    assert (await server.names(), await server.total()) == (["r-0001", "r-0002"], 2)
    assert (await server.names(sort="newest"), server.survey.walks) == (["r-0002", "r-0001"], 4)


@pytest.mark.usefixtures("dear")
async def test_page_that_is_found_later_is_no_older(autojump_clock: MockClock) -> None:
    """A page that was found some time after the counts is found anew together with them."""
    server = Scanned(Survey([run(1)]))
    assert await server.total() == 1
    await trio.sleep(OLDEST_SECONDS - 1)
    assert await server.names() == ["r-0001"]
    server.survey.open.clear()
    await trio.sleep(1)
    assert (await server.total(), await server.names(), server.survey.walks) == (0, [], 3)


@pytest.mark.usefixtures("dear")
async def test_page_that_is_asked_for_no_more_is_dropped(autojump_clock: MockClock) -> None:
    """A page that was not asked for since the oldest results is not found anew."""
    server = Scanned(Survey([run(1)]))
    assert await server.names() == ["r-0001"]
    await trio.sleep(OLDEST_SECONDS)
    assert await server.total() == 1
    server.survey.open.append(run(2))
    assert (await server.names(), server.survey.walks) == (["r-0001", "r-0002"], 3)


async def test_cheap_walk_is_made_for_each_page(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few runs each page is that of now. The counts are used again for less than a second."""
    monkeypatch.setattr(_sparing, "CHEAP_SECONDS", 60.0)
    server = Scanned(Survey([run(1)]))
    assert (await server.names(), await server.names(sort="newest")) == (["r-0001"], ["r-0001"])
    server.survey.open.append(run(2))
    assert (await server.names(), await server.total(), server.survey.walks) == (["r-0001", "r-0002"], 2, 3)
    server.survey.open.append(run(3))
    await trio.sleep(COUNTS_SECONDS - 0.001)
    assert await server.total() == 2
    await trio.sleep(0.001)
    assert (await server.total(), server.survey.walks) == (3, 4)


@pytest.mark.usefixtures("dear")
async def test_change_of_an_operator_during_a_walk() -> None:
    """Results of a walk that had begun before an operator changed something are not shown again."""
    server = Scanned(Survey([run(number) for number in range(1_000)]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.total)
        while not server.survey.walks:
            await trio.lowlevel.checkpoint()
        del server.survey.open[1:]
        server.scan.forget()
        assert await server.total() == 1
    assert (await server.names(), server.survey.walks) == (["r-0000"], 3)


@pytest.mark.usefixtures("dear")
async def test_number_of_pages_that_are_kept() -> None:
    """The pages that were asked for last are kept, and no more than MOST."""
    server = Scanned(Survey([run(1)]))
    for limit in (*range(1, MOST + 1), 1, MOST + 1):
        await server.names(limit=str(limit))
    assert server.survey.walks == MOST + 1
    await server.names(limit="1")
    assert server.survey.walks == MOST + 1
    await server.names(limit="2")
    assert server.survey.walks == MOST + 2


@pytest.mark.usefixtures("dear")
async def test_other_work_counts(monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock) -> None:
    """What is found together with the counts makes all of it be shown for longer."""
    monkeypatch.setattr(_sparing, "SHARE", 1.0)
    server = Scanned(Survey([run(1)]))
    assert await server.total() == 1
    server.scan.charge(5.0)
    server.survey.open.clear()
    await trio.sleep(4.9)
    assert await server.total() == 1
    await trio.sleep(5.0)
    assert await server.total() == 0


@pytest.mark.parametrize("seed", range(20))
async def test_results_are_those_of_a_plain_look(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counts, the longest tool and the pages of any filters are those that a look at each run finds."""
    random = Random(seed)
    monkeypatch.setattr(_sparing, "CHEAP_SECONDS", random.choice((-1.0, 60.0)))

    def made(number: int) -> RunStatistics:
        tool = OpenItem("dig", "c", random.random()) if random.random() < 0.5 else None
        names = {"agent": random.choice("ab"), "session": random.choice("st"), "user": random.choice("uv")}
        place = {"since": float(random.randrange(50)), "depth": random.randrange(3)}
        return run(number, state=random.choice(list(RunState)), tool=tool, **names, **place)

    server = Scanned(Survey([made(number) for number in range(random.randrange(600))]))
    every = server.survey.open
    for _ in range(8):
        counted = await server.scan.open_runs()
        assert counted.counts == Counter((each.agent, each.state.value) for each in every)
        tools = [each.tool.since for each in every if each.tool is not None]
        longest = counted.longest.tool if counted.longest is not None else None
        assert (None if longest is None else longest.since) == min(tools, default=None)
        options = {"agent": "ab", "session": "st", "user": "uv", "state": [*RunState], "sort": ["newest", "oldest"]}
        given: dict[str, Any] = {
            key: random.choice([*values]) for key, values in options.items() if random.random() < 0.3
        }
        limit = given["limit"] = random.choice((1, 7, 100))
        filters = {key: value for key, value in given.items() if key not in {"sort", "limit"}}
        wanted = [each for each in every if all(getattr(each, key) == value for key, value in filters.items())]
        newest = given.get("sort") == "newest"
        wanted.sort(key=lambda each: (-each.since if newest else each.since, each.depth, each.run))
        while True:
            seen: Any = await runs(server.sessions, Query(given), server.scan, Recent())
            names = [each.run for each in wanted[:limit]]
            assert [row["run"] for row in seen["runs"]] == names
            wanted, given["after"] = wanted[limit:], seen["next"]
            if seen["next"] is None or random.random() < 0.5:
                break
        assert bool(wanted) == (seen["next"] is not None)
