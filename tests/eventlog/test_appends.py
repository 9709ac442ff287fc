"""The statements of appends to a SQLite log."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import pytest

from actors.errors import LogCorrupt
from actors.eventlog import SqliteLog, StreamKey, open_log
from actors.testing import event_batch

if TYPE_CHECKING:
    from pathlib import Path

KEY = StreamKey("alice", "s1")
OTHER = StreamKey("bob", "s1")
ALL = 1 << 30


@pytest.mark.parametrize("batches", [127, 128, 200, 300])
async def test_append_of_many_batches(tmp_path: Path, batches: int) -> None:
    """An append of any number of batches stores all of them, or none if one of them cannot be stored."""
    keys = [StreamKey("alice", f"s{number}") for number in range(batches)]
    async with SqliteLog(tmp_path / "x.db") as log:
        for key in keys:
            await log.make(key)
        await log.append([event_batch(key, 1, 2) for key in keys])
        with contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as other, other:
            other.execute(
                """INSERT INTO batches (stream, first, count, size, total, first_ts, last_ts, state, body)
                SELECT id, 3, 1, 2, 2, 0, 0, x'', x'7b7d' FROM streams WHERE session = ?""",
                (keys[-1].session,),
            )  # a second writer, which the lock of a log would refuse
        with pytest.raises(LogCorrupt):
            await log.append([event_batch(key, 3, 1) for key in keys])
        for key in keys[:-1]:
            assert len(await log.read(key, 0, ALL, ALL)) == 2


@pytest.mark.parametrize("query", ["", "?commit=inline"])
async def test_failed_row_undoes_the_append(tmp_path: Path, query: str) -> None:
    """If one row of an append cannot be stored, the earlier rows of the same append are not stored either."""
    async with open_log(f"sqlite:{tmp_path}/x.db{query}") as log:
        before, _ = await log.make(KEY), await log.make(OTHER)
        copy = """INSERT INTO batches (stream, first, count, size, total, first_ts, last_ts, state, body)
            SELECT id, 1, 1, 2, 2, 0, 0, x'', x'7b7d' FROM streams WHERE user = 'bob'"""
        with contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as other, other:
            other.execute(copy)  # a second writer, which the lock of a log would refuse
        with pytest.raises(LogCorrupt):
            await log.append([event_batch(KEY, 1, 2), event_batch(OTHER, 1, 1)])
        assert await log.head(KEY) == before
        await log.append([event_batch(KEY, 1, 2)])
        with pytest.raises(LogCorrupt):
            await log.append([event_batch(OTHER, 1, 1)])
