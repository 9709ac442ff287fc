"""Fixtures: one server for all cases of a file, and a look into its log after each case."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from rfc6455.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rfc6455.rows import Case


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """Run a server with a neighbour for all cases of a module."""
    with Target().running() as running:
        yield running


@pytest.fixture(autouse=True)
def log_without_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Check after each test that the log has no error and no traceback: clients can be wrong, and that is usual."""
    yield
    assert errors_in(caplog.get_records("call")) == []


@pytest.fixture
def play_all(target: Target, caplog: pytest.LogCaptureFixture) -> Callable[[Sequence[Case]], None]:
    """Return a function that plays rows, one after the other. The failure of a row names the row."""

    def play(rows: Sequence[Case]) -> None:
        """Play all rows, and look into the log after each."""
        assert rows
        for row in rows:
            try:
                row.play(target)
                assert errors_in(caplog.records) == []
            except Exception as error:
                error.add_note(f"This is the row: {row.id}")
                raise

    return play


def errors_in(records: Iterable[logging.LogRecord]) -> list[str]:
    """Return the messages of a log that are errors or have a traceback."""
    return [record.getMessage() for record in records if record.levelno >= logging.ERROR or record.exc_info]
