"""An internal error, as a client sees it: a reference that the server's log has, and nothing else."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from protocol.agents import make_app
from protocol.wire import greeted

from actors import LogUnavailable, MemoryLog
from actors.testing import FaultyLog

if TYPE_CHECKING:
    import pytest


async def test_internal_error_is_a_reference(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If a command fails with an internal error, the reply has only a reference.

    The error is in the log with this reference.
    """
    log = FaultyLog(MemoryLog())
    async with make_app(log).running(port=0) as server, greeted(server) as one:
        log.fail("append")
        with caplog.at_level(logging.ERROR, "greenroom"):
            reply = await one.command("c1", "message.send", text="lost")
        assert reply["error"]["code"] == "internal"
        reference = re.fullmatch(r"reference ([0-9a-f]{8})", reply["error"]["message"])
        assert reference is not None
        (record,) = [record for record in caplog.records if reference[1] in record.getMessage()]
        assert "'c1' of anonymous/s1" in record.getMessage()
        assert record.exc_info is not None
        assert isinstance(record.exc_info[1], LogUnavailable)
