"""The actor that keeps the log open closes it, however the server ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from actors import Agents, LogUnavailable, MemoryLog, Sessions, SupervisorSpec, open_system
from actors.testing import FaultyLog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.eventlog.base import Revocation
    from actors.sessions import SessionHandle


class CountedLog(FaultyLog):
    """A log that counts how often it was opened and closed."""

    def __init__(self) -> None:
        super().__init__(MemoryLog())
        self.opened = self.closed = 0
        self.refusals = 0
        """Number of the next calls of :meth:`revocations` that fail."""

    async def open(self) -> None:
        await super().open()
        self.opened += 1

    async def close(self) -> None:
        await super().close()
        self.closed += 1

    async def revocations(self) -> Sequence[Revocation]:
        if self.refusals:
            self.refusals -= 1
            raise LogUnavailable("the disk is gone")
        return await super().revocations()


async def serve(log: CountedLog, end: str) -> None:
    """Run a server over ``log`` until it ends in the way ``end``."""
    sessions = Sessions(log, Agents())
    with trio.CancelScope() as scope:
        async with open_system() as system, trio.open_nursery() as nursery:
            await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
            handle = await sessions.get("alice", "s1")
            if end == "stuck commit":
                hold = log.hold("append")
                nursery.start_soon(emit, handle)
                await hold.reached.wait()
                nursery.cancel_scope.cancel()
            elif end == "cancelled":
                scope.cancel()
            elif end == "failed":
                raise ValueError


async def emit(handle: SessionHandle) -> None:
    await handle.emit("note")


@pytest.mark.parametrize("end", ["orderly", "stuck commit", "cancelled", "failed"])
async def test_log_is_closed(end: str, autojump_clock: trio.testing.MockClock) -> None:
    """The log is closed if the server stops in order, is stopped during a commit, is cancelled, or fails."""
    log = CountedLog()
    if end == "failed":
        with pytest.RaisesGroup(ValueError, allow_unwrapped=True, flatten_subgroups=True):
            await serve(log, end)
    else:
        await serve(log, end)
    assert (log.opened, log.closed) == (1, 1)


async def test_failed_start_closes(autojump_clock: trio.testing.MockClock) -> None:
    """If the revocations cannot be read, the start fails and the log is closed."""
    log = CountedLog()
    log.refusals = 1
    async with open_system() as system:
        sessions = Sessions(log, Agents())
        with pytest.raises(LogUnavailable):
            await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        assert (log.opened, log.closed) == (1, 1)
