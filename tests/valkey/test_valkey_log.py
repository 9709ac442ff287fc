"""The log in Valkey, with a real server: the contract of event logs, owners, unknown outcomes, restarts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import _valkey
import pytest
import trio

from actors.eventlog.valkey import ValkeyLog
from actors.testing import EventLogContract
from actors.valkey.address import parse_address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from actors.eventlog.base import EventLog

LIMIT = 20


@pytest.fixture(scope="module")
def shared() -> Iterator[_valkey.Server]:
    """One server for all tests of the contract. Each test empties it."""
    with _valkey.Server() as server:
        yield server


class TestValkeyLog(EventLogContract):
    """The Valkey log keeps the contract."""

    @pytest.fixture
    async def log(self, shared: _valkey.Server) -> AsyncIterator[EventLog]:
        shared.ask("FLUSHALL")
        with trio.fail_after(LIMIT):
            async with ValkeyLog(parse_address(shared.url), seconds=5) as log:
                yield log
