"""The bounds of the inspector: small steps with many sessions, pages, and cursors whose entries have gone."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
import trio
from _inspector import Site, inspected, make_app, site_of, started
from _scale import scaled

from actors import Survey
from transport.inspector._answers import Refused
from transport.inspector._lines import LINE_BYTES, LINES
from transport.inspector._paging import PAGE, STEP, cursor, cursor_place, page_of, steps, steps_of_groups
from transport.inspector._waterfall import MAX_OPEN, WINDOW_EVENTS
from transport.server._connection_statistics import ConnectionStatistics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors import Run, StreamKey

SESSIONS, MANY = scaled(450, 10_000), scaled(1_000, 10_000)
SUBAGENTS = scaled(800, 1_000)


class Turns(trio.abc.Instrument):
    """Counts the turns of the present task, so that entries can be counted in each of them."""

    def __init__(self) -> None:
        self.turn = 0
        self.entries: Counter[int] = Counter()
        """Number of entries that were looked at in each turn."""

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.turn += 1

    def count(self, entries: Iterator[Any]) -> Iterator[Any]:
        """Yield the entries, and count each of them in the present turn."""
        for entry in entries:
            self.entries[self.turn] += 1
            yield entry

    @property
    def most(self) -> int:
        """Maximum number of entries in one turn."""
        return max(self.entries.values(), default=0)

    @property
    def total(self) -> int:
        """Number of entries in all turns."""
        return self.entries.total()


def numbers(entry: int) -> tuple[float]:
    return (float(entry),)


# Pages


async def test_pages_of_many_entries() -> None:
    """All pages together have each entry once, in order. A page takes STEP entries in a turn at most."""
    turns = Turns()
    trio.lowlevel.add_instrument(turns)
    entries = [(number * 7919) % MANY for number in range(MANY)]
    found: list[int] = []
    after: str | None = ""
    pages = 0
    while after is not None:
        page = await page_of(steps(turns.count(iter(entries))), numbers, (float,), after, PAGE)
        found += page.entries
        after, pages = page.next, pages + 1
        assert page.total == MANY
    trio.lowlevel.remove_instrument(turns)
    assert found == list(range(MANY))
    assert (pages, turns.most, turns.total) == (MANY // PAGE, STEP, pages * MANY)


async def test_cursor_of_an_entry_that_has_gone() -> None:
    """A page goes on behind the place of its cursor, also if that entry has gone, and others came."""
    entries = list(range(0, 100, 2))
    first = await page_of(steps(entries), numbers, (float,), "", 10)
    assert (first.entries[-1], first.next) == (18, cursor((18.0,)))
    left = [entry for entry in entries if entry not in {16, 18, 20}] + [17, 19]
    second = await page_of(steps(left), numbers, (float,), first.next or "", 3)
    assert second.entries == [19, 22, 24]


async def test_equal_places_and_ends() -> None:
    """A page that has just all entries is the last one. An empty list has one empty page."""
    page = await page_of(steps(range(10)), numbers, (float,), "", 10)
    assert (len(page.entries), page.next) == (10, None)
    page = await page_of(steps(range(11)), numbers, (float,), "", 10)
    assert (len(page.entries), page.next) == (10, cursor((9.0,)))
    page = await page_of(steps(()), numbers, (float,), "", 10)
    assert (page.entries, page.next, page.total) == ([], None, 0)


@pytest.mark.parametrize(
    "forged",
    ["x", "!!", "W10", cursor(()), cursor(("a",)), cursor((1.0, 2.0)), cursor((True,)), "bnVsbA", "é", "A" * 9_000],
)
def test_forged_cursor(forged: str) -> None:
    """A text that is no cursor of the list is refused."""
    with pytest.raises(Refused, match="after"):
        cursor_place(forged, (float,))


def test_small_groups_make_equal_steps() -> None:
    """Many empty groups are one step of STEP groups, and large ones a step as soon as STEP entries are there."""
    groups = [(), *[(1,)] * 3, *[()] * STEP, tuple(range(STEP)), (5,)]
    sizes = [len(step) for step in steps_of_groups(groups)]
    assert sum(sizes) == 3 + STEP + 1
    assert max(sizes) == STEP


# A server with many sessions


def count_sessions(monkeypatch: pytest.MonkeyPatch, turns: Turns) -> None:
    """Count the sessions that a survey looks at in each turn."""
    keys, runs, runs_of = Survey.keys, Survey.runs, Survey.runs_of
    monkeypatch.setattr(Survey, "runs_of", lambda self, key: turns.count(runs_of(self, key)))
    monkeypatch.setattr(Survey, "keys", lambda self, user=None: turns.count(keys(self, user)))
    monkeypatch.setattr(Survey, "runs", lambda self, user=None: turns.count(runs(self, user)))


async def fill(site: Site, sessions: int) -> None:
    """Make sessions, each of another user, and let every ninth of them have an open run."""
    async with trio.open_nursery() as nursery:
        for number in range(sessions):
            nursery.start_soon(_make, site, number)
            if not number % 100:
                await trio.testing.wait_all_tasks_blocked()


async def _make(site: Site, number: int) -> None:
    handle = await site.server.sessions.get(f"user-{number:05}", "s1")
    if not number % 9:
        await handle.start("slow")


async def test_no_step_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """With many sessions, no route looks at more than STEP sessions without letting other tasks run."""
    async with inspected() as site:
        await fill(site, SESSIONS)
        system, runs = site.server.system, math.ceil(SESSIONS / 9)
        parent = next(system.below("/greenroom/sessions")).path
        for path, looked_at, total in (
            ("overview", runs, None),
            ("runs", runs, runs),
            ("sessions", SESSIONS, SESSIONS),
            (f"tree?path={parent}", SESSIONS, SESSIONS),
            ("connections", 0, 0),
            ("failures", 0, 0),
        ):
            turns = Turns()
            with monkeypatch.context() as patched:
                count_sessions(patched, turns)
                patched.setattr(
                    system, "below", lambda path, turns=turns: turns.count(type(system).below(system, path))
                )
                trio.lowlevel.add_instrument(turns)
                seen = await site.json(f"api/{path}")
                trio.lowlevel.remove_instrument(turns)
            assert (turns.most <= STEP, turns.total) == (True, looked_at)
            assert seen.get("total") == total
            assert all(len(each) <= PAGE for each in seen.values() if isinstance(each, list))


async def test_session_with_many_subagents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run with thousands of sub-agents no route looks at more than STEP without letting other tasks run."""
    app = make_app()

    @app.agent
    async def crowd(run: Run) -> None:
        async with AsyncExitStack() as stack:
            for _ in range(SUBAGENTS):
                await stack.enter_async_context(run.subrun("extra"))
            await trio.sleep_forever()

    async with app.running(port=0) as server:
        site = site_of(server)
        await started(site, "ann", "s1", "crowd")
        seen: dict[str, Any] = {}
        for path in ("overview", "runs", "session?user=ann&session=s1"):
            turns = Turns()
            with monkeypatch.context() as patched:
                count_sessions(patched, turns)
                trio.lowlevel.add_instrument(turns)
                seen |= await site.json(f"api/{path}")
                trio.lowlevel.remove_instrument(turns)
            assert turns.most <= STEP
            assert turns.total >= 3 * SUBAGENTS
        assert seen["total"] == SUBAGENTS + 1
        root = next(run for run in seen["runs"] if run["agent"] == "crowd")
        assert (root["status"], root["parent"]) == ("running", None)
        assert len(seen["runs"]) + seen["left_out"] == SUBAGENTS + 1
        assert len(seen["runs"]) == min(SUBAGENTS + 1, WINDOW_EVENTS + MAX_OPEN)
        await server.end_runs(0)


async def test_pages_of_sessions_and_runs() -> None:
    """All pages of a list together have each session, or each run, once, while others end and begin meanwhile."""
    async with inspected() as site:
        await fill(site, 60)
        for path, key, expected in (("sessions", "session", 60), ("runs", "run", 7)):
            found: list[tuple[str, str]] = []
            after: str | None = ""
            while after is not None:
                seen = await site.json(f"api/{path}?limit=11&after={after}")
                found += [(row["user"], row[key]) for row in seen[path]]
                after = seen["next"]
                await site.server.sessions.get(f"visitor-{len(found)}", "s1")
            mine = [each for each in found if each[0].startswith("user-")]
            assert (len(mine), len(set(mine))) == (expected, expected)


async def test_next_page_behind_a_run_that_has_ended() -> None:
    """If the last run of a page has ended, the next page goes on behind its place, and misses none."""
    async with inspected() as site:
        await fill(site, 60)
        first = await site.json("api/runs?limit=3")
        for row in first["runs"]:
            await site.post("api/runs/cancel", {name: row[name] for name in ("user", "session", "run")})
        await trio.testing.wait_all_tasks_blocked()
        second = await site.json(f"api/runs?limit=200&after={first['next']}")
        assert len(second["runs"]) == second["total"] == 7 - 3


# Events


async def test_large_events_are_read_alone() -> None:
    """An answer has no more than some events of a megabyte each. The rest comes with the next request."""
    async with inspected(ring_events=16) as site:
        handle = await site.server.sessions.get("alice", "s1")
        for number in range(5):
            await handle.emit("n", f"{number}" * 600_000)
        await site.server.sessions.committed()
        seen: list[int] = []
        while len(seen) < 5:
            answer = await site.json(f"api/session/events?user=alice&session=s1&after={len(seen)}")
            assert len(answer["events"]) <= 2
            seen += [event["seq"] for event in answer["events"]]
        assert seen == [1, 2, 3, 4, 5]


async def test_events_are_read_in_small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than LINES events, of LINE_BYTES in all, are read between two checkpoints."""
    asked: list[tuple[int, int]] = []
    lines = Survey.lines

    async def noted(self: Survey, key: StreamKey, after: int, limit: int, size: int) -> Any:
        asked.append((limit, size))
        return await lines(self, key, after, limit, size)

    monkeypatch.setattr(Survey, "lines", noted)
    async with inspected() as site:
        handle = await site.server.sessions.get("alice", "s1")
        for number in range(200):
            await handle.emit("n", number)
        await site.server.sessions.committed()
        assert len((await site.json("api/session/events?user=alice&session=s1"))["events"]) == 200
        await site.json("api/session?user=alice&session=s1")
    assert max(limit for limit, _ in asked) <= LINES
    assert {size for _, size in asked} == {LINE_BYTES}


# Connections


def connection(number: int) -> ConnectionStatistics:
    """Return the state of a connection."""
    return ConnectionStatistics(
        connection=f"c-{number:05}",
        state="open",
        address="127.0.0.1",
        since=float(number),
        user=f"user-{number % 7}",
        session="s1",
        position=1,
        lag_events=number % 10,
        waiting_bytes=number % 3,
        blocked_seconds=0.0,
    )


@pytest.mark.parametrize(
    ("query", "total", "first"),
    [
        ("", 2_000, "c-00029"),
        ("sort=waiting", 2_000, "c-00002"),
        ("sort=age", 2_000, "c-00000"),
        ("user=user-3&sort=age", 286, "c-00003"),
        ("user=nobody", 0, None),
    ],
)
async def test_many_connections(query: str, total: int, first: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are sorted and filtered in small steps, also if the filter keeps none of them."""
    turns = Turns()
    async with inspected() as site:
        every = [connection(number) for number in range(2_000)]
        monkeypatch.setattr(site.server.endpoint, "connections", lambda: turns.count(iter(every)))
        trio.lowlevel.add_instrument(turns)
        seen = await site.json(f"api/connections?{query}")
        trio.lowlevel.remove_instrument(turns)
    assert (seen["total"], turns.most, turns.total) == (total, STEP, 2_000)
    assert next((row["connection"] for row in seen["connections"]), None) == first


async def test_waits_of_many_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """The overview counts waiting bytes and blocked clients in small steps, and each connection once in a request."""
    turns = Turns()
    async with inspected() as site:
        every = [(number % 3, number % 1_000 / 500) for number in range(2_000)]
        monkeypatch.setattr(site.server.endpoint, "waits", lambda: turns.count(iter(every)))
        trio.lowlevel.add_instrument(turns)
        seen = await site.json("api/overview")
        trio.lowlevel.remove_instrument(turns)
    assert (seen["waiting_bytes"], seen["endpoint"]["waiting_bytes"], seen["blocked"]) == (1_999, 1_999, 1_000)
    assert (turns.most, turns.total) == (STEP, 2_000)
