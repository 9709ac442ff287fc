"""What the tests of SQLite files share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actors.errors import LogError
from actors.eventlog import SqliteLog, StreamKey

if TYPE_CHECKING:
    from pathlib import Path

KEY = StreamKey("alice", "s1")
OTHER = StreamKey("bob", "s1")
TS = 1_700_000_000_000
ALL = 1 << 30


async def refusal(path: Path) -> LogError:
    """Return the error of opening a log, which must be one line and name the path."""
    with pytest.raises(LogError) as caught:
        await SqliteLog(path).open()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


def make_text(path: Path) -> None:
    path.write_text("notes that are no database, and long enough to be taken for a header " * 20)
