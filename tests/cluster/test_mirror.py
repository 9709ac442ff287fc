"""A mirror has the events of the log, in order, without a gap and none twice, whatever happens to the pushes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs
import hypothesis.strategies as st
import pytest
import trio
import trio.testing
from _scale import scaled
from hypothesis import example, given, settings

from actors import Batch, MemoryLog, Retention, StreamKey, Trimmed
from actors.cluster._mirror import EpochChanged, Mirror
from actors.cluster.interfaces import Incarnation
from actors.spi import SessionEnding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.spi import Cursor

KEY = StreamKey("ann", "s1")
OWNER = Incarnation("a", 1, 1)


def line(seq: int) -> bytes:
    """Return an event's line."""
    return b'{"seq":%d,"ts":%d,"x":"%s"}' % (seq, 1_700_000_000_000 + seq, b"y" * (seq % 7))


class SlowLog(MemoryLog):
    """A log whose answers to reads come when the test lets them."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[trio.Event] = []
        self.is_slow = True

    async def read(self, key: StreamKey, after: int, limit: int, size: int) -> Sequence[bytes]:
        """Read now, and return the lines later."""
        lines = await super().read(key, after, limit, size)
        if self.is_slow:
            gate = trio.Event()
            self.waiting.append(gate)
            await gate.wait()
        return lines

    def answer(self) -> None:
        """Let the oldest read return."""
        if self.waiting:
            self.waiting.pop(0).set()


@attrs.define(eq=False)
class Tab:
    """A client: it takes what its cursor has, at random times."""

    history: list[bytes] = attrs.Factory(list[bytes])
    cursor: Cursor | None = None
    ended: SessionEnding | None = None
    told: int = 0

    def on_events(self) -> None:
        """Count."""
        self.told += 1

    def on_signal(self, name: str, data: bytes) -> None:
        """Ignore a signal."""

    def on_ended(self, reason: SessionEnding) -> None:
        """Note the end."""
        self.ended = reason

    async def read(self, most: int) -> None:
        """Take up to ``most`` events, from the log if memory has not got them."""
        assert self.cursor is not None
        lines = self.cursor.take(most, 1 << 20)
        if not lines and self.cursor.behind:
            lines = await self.cursor.fetch(most, 1 << 20)
        self.history += lines


def mirror_of(log: MemoryLog, epoch: str, latest: int = 0, ring: int = 8) -> tuple[Mirror, list[Mirror]]:
    """Return a mirror of the session, and the list to which it is added when it is behind."""
    behind: list[Mirror] = []
    mirror = Mirror(KEY, 1, OWNER, log, behind.append)
    mirror.begin(epoch, latest, ring, 1 << 20)
    return mirror, behind


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), st.integers(1, 4)),
        st.tuples(st.just("push"), st.integers(0, 5)),
        st.tuples(st.just("again"), st.integers(0, 5)),
        st.tuples(st.just("lose"), st.integers(0, 5)),
        st.tuples(st.just("take"), st.integers(1, 5)),
        st.tuples(st.sampled_from(["digest", "catch up", "answer", "newcomer"]), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=scaled(150, 5_000), deadline=None)
@given(STEPS)
@example([("commit", 2), ("commit", 1), ("push", 1), ("catch up", 0), ("push", 0), ("answer", 0)])
def test_every_history_is_that_of_the_log(steps: list[tuple[str, int]]) -> None:
    """Pushes are lost, doubled, late and mixed with reads of the log. Each client gets the log's events, in order."""
    trio.run(follow, steps)


@attrs.define(eq=False)
class World:
    """A session's log, the pushes that are on their way, a mirror, and its clients."""

    log: SlowLog
    mirror: Mirror
    nursery: trio.Nursery
    tabs: list[Tab]
    seq: int = 0
    pushes: list[tuple[int, list[bytes]]] = attrs.Factory(list[tuple[int, list[bytes]]])

    async def do(self, step: str, number: int) -> None:
        """Carry out one step."""
        pushes = self.pushes
        match step:
            case "push" | "again" if number < len(pushes):
                self.mirror.take(*(pushes.pop(number) if step == "push" else pushes[number]))
            case "lose" if number < len(pushes):
                pushes.pop(number)
            case "digest":
                self.mirror.note_head(self.seq)
            case "catch up":
                self.nursery.start_soon(self.mirror.catch_up)
            case "answer":
                self.log.answer()
            case "newcomer":
                self.tabs.append(newcomer(self.mirror, self.mirror.committed_seq))
            case _:
                await self.use_log(step, number)
        await trio.testing.wait_all_tasks_blocked()

    async def use_log(self, step: str, number: int) -> None:
        """Commit events, or read them."""
        if step == "commit":
            lines = [line(self.seq + 1 + i) for i in range(number)]
            await self.log.append([Batch(KEY, self.seq + 1, lines, b"")])
            self.pushes.append((self.seq + 1, lines))
            self.seq += number
        elif step == "take":
            self.log.is_slow = False
            await self.tabs[-1].read(number)
            self.log.is_slow = True

    async def settle(self) -> None:
        """Answer all reads, and let the mirror and all clients read what is missing."""
        self.log.is_slow = False
        while self.log.waiting:
            self.log.answer()
        self.mirror.note_head(self.seq)
        await self.mirror.catch_up()
        for tab in self.tabs:
            while tab.cursor is not None and tab.cursor.waiting:
                await tab.read(3)


async def follow(steps: list[tuple[str, int]]) -> None:
    """Carry out the steps, then tell the mirror where the session is, and compare the histories."""
    async with SlowLog() as log, trio.open_nursery() as nursery:
        mirror, _ = mirror_of(log, (await log.make(KEY)).epoch)
        world = World(log, mirror, nursery, [newcomer(mirror, 0)])
        for step, number in steps:
            await world.do(step, number)
        await world.settle()
        for tab in world.tabs:
            first = json.loads(tab.history[0])["seq"] if tab.history else world.seq + 1
            assert tab.history == [line(i) for i in range(first, world.seq + 1)]
        assert world.tabs[0].history == [line(i) for i in range(1, world.seq + 1)]


def newcomer(mirror: Mirror, position: int) -> Tab:
    """Return a client that attaches to the mirror at ``position``."""
    tab = Tab()
    tab.cursor = mirror.attach(tab, position)
    return tab


async def test_a_push_is_shown_once_and_tells_the_listeners() -> None:
    """A push that continues the mirror notifies its listeners once. A push without news notifies no listener."""
    async with MemoryLog() as log:
        mirror, behind = mirror_of(log, "e")
        tab = newcomer(mirror, 0)
        mirror.take(1, [line(1), line(2)])
        mirror.take(1, [line(1)])
        mirror.take(2, [line(2), line(3)])
        await tab.read(10)
        assert (tab.told, tab.history, behind) == (2, [line(1), line(2), line(3)], [])


async def test_pushes_before_the_first_answer_are_ignored() -> None:
    """Until the owner has answered, the mirror has no position, and takes nothing."""
    async with MemoryLog() as log:
        mirror = Mirror(KEY, 1, OWNER, log, lambda _: None)
        mirror.take(1, [line(1)])
        mirror.note_head(1)
        assert (mirror.committed_seq, mirror.is_behind) == (0, False)


async def test_events_of_another_epoch_are_not_shown() -> None:
    """If the log was made again, the mirror refuses to read it: its numbers name other events."""
    async with MemoryLog() as log:
        await log.make(KEY)
        mirror, behind = mirror_of(log, "another epoch")
        await log.append([Batch(KEY, 1, [line(1)], b"")])
        mirror.note_head(1)
        assert behind == [mirror]
        with pytest.raises(EpochChanged, match="made again"):
            await mirror.catch_up()
        assert mirror.committed_seq == 0


async def test_a_mirror_continues_behind_events_that_the_log_has_dropped() -> None:
    """If retention has dropped the missing events, new clients go on, and an old one learns that it missed some."""
    async with MemoryLog() as log:
        epoch = (await log.make(KEY)).epoch
        await log.append([Batch(KEY, 1, [line(i) for i in range(1, 11)], b"")])
        await log.trim(KEY, Retention(events=2), 0)
        mirror, _ = mirror_of(log, epoch)
        tab = newcomer(mirror, 0)
        mirror.note_head(10)
        await mirror.catch_up()
        assert (mirror.committed_seq, mirror.oldest_in_memory) == (10, 9)
        with pytest.raises(Trimmed):
            await tab.read(1)
        late = newcomer(mirror, 8)
        await late.read(10)
        assert late.history == [line(9), line(10)]
        assert await mirror.history(0, 100, 1 << 20) == ([line(9), line(10)], False)


async def test_an_owner_that_told_too_much_is_believed_no_longer() -> None:
    """If the log does not have an event of which the owner has told, the mirror stops to look for it."""
    async with MemoryLog() as log:
        mirror, _ = mirror_of(log, (await log.make(KEY)).epoch)
        mirror.note_head(5)
        await mirror.catch_up()
        assert (mirror.committed_seq, mirror.is_behind) == (0, False)


async def test_an_ended_mirror_takes_nothing_and_tells_why() -> None:
    """The listeners of a mirror that ends get the reason, and its events can still be read."""
    async with MemoryLog() as log:
        mirror, _ = mirror_of(log, "e")
        tab = newcomer(mirror, 0)
        mirror.take(1, [line(1)])
        mirror.end(SessionEnding.MOVED)
        mirror.take(2, [line(2)])
        await tab.read(10)
        assert (tab.ended, tab.history, mirror.cursors) == (SessionEnding.MOVED, [line(1)], {})
