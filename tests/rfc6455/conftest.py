"""Fixtures: one server for all cases of a file, and a look into its log after each case."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from rfc6455.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """Run a server with a neighbour for all cases of a module."""
    with Target().running() as running:
        yield running


@pytest.fixture(autouse=True)
def log_without_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Check after each case that the log has no error and no traceback: clients can be wrong, and that is usual."""
    yield
    found = [record for record in caplog.get_records("call") if record.levelno >= logging.ERROR or record.exc_info]
    assert [record.getMessage() for record in found] == []
