"""Random sequences of calls on a log, compared with a list of events."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from _scale import scaled
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from actors.errors import Trimmed
from actors.eventlog import Batch, EventLog, Head, MemoryLog, Retention, SqliteLog, StreamKey, _sqlite_index
from actors.testing import event_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

KEYS = [StreamKey("alice", "s1"), StreamKey("alice", "s2"), StreamKey("bob", "s1")]
START = 1_700_000_000_000


@attrs.define
class Model:
    """A model of one stream of the log: its kept events as a list of (seq, ts, line)."""

    epoch: str
    latest: int = 0
    state: bytes = b""
    kept: list[tuple[int, int, bytes]] = attrs.Factory(list[tuple[int, int, bytes]])

    def head(self) -> Head:
        oldest, ts = self.kept[0][:2] if self.kept else (self.latest + 1, 0)
        return Head(self.epoch, oldest, self.latest, sum(len(line) for _, _, line in self.kept), ts, self.state)

    def trim(self, keep: Retention, now: int) -> None:
        """Keep exactly the events that the definition of retention keeps."""
        self.kept = [
            event
            for place, event in enumerate(self.kept)
            if len(self.kept) - place - 1 < keep.events
            and sum(len(line) for _, _, line in self.kept[place:]) <= keep.size
            and now - event[1] <= keep.seconds * 1000
        ]


class LogMachine(RuleBasedStateMachine):
    """Random calls on a memory log and on models of its streams. Both must give the same results."""

    durable = False

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.log = self.new_log()
        self.models: dict[StreamKey, Model] = {}
        self.now = START
        self.run(self.log.open)

    def new_log(self) -> EventLog:
        return MemoryLog()

    def run(self, call: Callable[..., Awaitable[Any]], *args: object) -> Any:
        return trio.run(call, *args)

    def model(self, key: StreamKey) -> Model:
        if key not in self.models:
            self.models[key] = Model(self.run(self.log.make, key).epoch)
        return self.models[key]

    @rule(
        rows=st.lists(
            st.tuples(
                st.sampled_from(KEYS), st.lists(st.integers(0, 30), min_size=1, max_size=6), st.binary(max_size=3)
            ),
            min_size=1,
            max_size=5,
        )
    )
    def append(self, rows: list[tuple[StreamKey, list[int], bytes]]) -> None:
        batches: list[Batch] = []
        for key, lengths, state in rows:
            model = self.model(key)
            lines: list[bytes] = []
            first = model.latest + 1
            for length in lengths:
                self.now += length % 3
                model.latest += 1
                lines.append(event_line(model.latest, self.now, "x" * length))
                model.kept.append((model.latest, self.now, lines[-1]))
            model.state = state
            batches.append(Batch(key, first, lines, state))
        self.run(self.log.append, batches)

    @rule(
        key=st.sampled_from(KEYS),
        events=st.integers(0, 12) | st.just(1000),
        size=st.integers(0, 1500) | st.just(1 << 20),
        ms=st.integers(0, 20) | st.just(10**9),
    )
    def trim(self, key: StreamKey, events: int, size: int, ms: int) -> None:
        keep, model = Retention(events, size, ms / 1000), self.model(key)
        model.trim(keep, self.now)
        assert self.run(self.log.trim, key, keep, self.now) == model.head()

    @rule(key=st.sampled_from(KEYS), after=st.integers(0, 60), limit=st.integers(1, 20), size=st.integers(1, 1500))
    def read(self, key: StreamKey, after: int, limit: int, size: int) -> None:
        model = self.model(key)
        if after + 1 < model.head().oldest:
            with pytest.raises(Trimmed):
                self.run(self.log.read, key, after, limit, size)
            return
        wanted: list[bytes] = []
        for seq, _, line in model.kept:
            if seq <= after:
                continue
            if wanted and (len(wanted) == limit or sum(map(len, wanted)) + len(line) > size):
                break
            wanted.append(line)
        assert list(self.run(self.log.read, key, after, limit, size)) == wanted

    @rule(key=st.sampled_from(KEYS))
    def remove(self, key: StreamKey) -> None:
        self.run(self.log.remove, key)
        self.models.pop(key, None)

    @rule()
    def reopen(self) -> None:
        self.run(self.log.close)
        if not self.durable:
            self.models.clear()
        self.log = self.new_log() if self.durable else self.log
        self.run(self.log.open)

    @invariant()
    def heads_and_events_match(self) -> None:
        async def heads() -> list[tuple[Head | None, list[bytes]]]:
            found: list[tuple[Head | None, list[bytes]]] = []
            for key, model in self.models.items():
                found.append(
                    (await self.log.head(key), list(await self.log.read(key, model.head().oldest - 1, 999, 1 << 20)))
                )
            assert await self.log.streams() == sorted(self.models)
            return found

        expected = [(model.head(), [line for _, _, line in model.kept]) for model in self.models.values()]
        assert self.run(heads) == expected

    def teardown(self) -> None:
        self.run(self.log.close)
        self.folder.cleanup()


class SqliteMachine(LogMachine):
    """Random calls on a SQLite log and on models. After each close a new log object opens the file."""

    durable = True

    def new_log(self) -> EventLog:
        return SqliteLog(Path(self.folder.name, "x.db"))


class InlineMachine(SqliteMachine):
    """The same, with commits on the thread of the event loop."""

    def new_log(self) -> EventLog:
        return SqliteLog(Path(self.folder.name, "x.db"), commit="inline")


@pytest.mark.parametrize(("machine", "lot"), [(LogMachine, 0), (SqliteMachine, 5), (InlineMachine, _sqlite_index.LOT)])
def test_log_matches_model(monkeypatch: pytest.MonkeyPatch, machine: type[LogMachine], lot: int) -> None:
    """After any sequence of appends, trims, reads, removals and reopenings, a log has the same events as a list.

    In a SQLite log, ``lot`` is the number of rows that get their entries in the index together.
    """
    monkeypatch.setattr(_sqlite_index, "LOT", lot)
    run_state_machine_as_test(machine, settings=settings(max_examples=scaled(15, 1000), stateful_step_count=25))
