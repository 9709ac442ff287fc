"""The position in a hello: what a client gets that resumes, and one that cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from protocol.agents import make_app
from protocol.wire import Ended, client, greeted

if TYPE_CHECKING:
    from pathlib import Path

    from transport import Server


async def refused(server: Server, resume: dict[str, object]) -> Ended:
    """Say hello with a position that must be recovered, and return how the server ends the connection."""
    async with client(server) as one:
        await one.send("hello", session="s1", resume=resume, strict=True)
        return await one.ended()


async def test_resume_recovers_events_above_its_seq() -> None:
    """A client that resumes from a seq gets exactly the events above this seq: the old ones, then the new ones."""
    async with make_app().running(port=0) as server, greeted(server) as one:
        await one.say("a", "b", "c", "d")
        epoch = one.welcome["epoch"]
        for seq in range(5):
            async with greeted(server, resume={"epoch": epoch, "seq": seq}, strict=True) as two:
                assert two.welcome["recovered"] is True
                assert "reset" not in two.welcome
                await one.say(f"live {seq}")
                events = await two.events_until(5 + seq)
                assert [event["seq"] for event in events] == list(range(seq + 1, 6 + seq))


@pytest.mark.parametrize(
    ("epoch", "seq", "reset"),
    [(None, 99, "ahead"), ("another", 3, "epoch_changed"), ("another", 99, "epoch_changed"), (None, 1, "trimmed")],
)
async def test_unrecoverable_position_resets(epoch: str | None, seq: int, reset: str) -> None:
    """If the events after a client's position are lost, its welcome has a ``reset`` with the reason.

    The client then gets all events that are kept. A client that resumes with ``strict`` is closed with 4410
    (unrecoverable position) instead.
    """
    async with make_app(retain_events=3).running(port=0) as server, greeted(server) as one:
        await one.say("a", "b", "c", "d", "e")
        resume = {"epoch": epoch or one.welcome["epoch"], "seq": seq}
        async with greeted(server, resume=resume) as two:
            assert (two.welcome["recovered"], two.welcome["reset"], two.welcome["oldest"]) == (False, reset, 3)
            assert [event["seq"] for event in await two.events_until(5)] == [3, 4, 5]
        ended = await refused(server, resume)
        assert (ended.code, ended.reason) == (4410, reset)
        assert ended.goodbye is not None
        async with greeted(server, strict=True) as fresh:
            assert "reset" not in fresh.welcome


async def test_resume_at_latest_of_trimmed_log(tmp_path: Path) -> None:
    """If all events were deleted from the log, a client that had the latest event can still resume.

    A client that had fewer events cannot resume.
    """
    log = f"sqlite:{tmp_path / 'log.db'}"
    async with make_app(log).running(port=0) as server, greeted(server) as one:
        await one.say("a", "b", "c")
        position = {"epoch": one.welcome["epoch"], "seq": 3}
    async with make_app(log, retain_seconds=0).running(port=0) as server:
        with trio.fail_after(60):
            while True:
                async with greeted(server, resume=position, strict=True) as two:
                    assert (two.welcome["recovered"], two.welcome["latest"]) == (True, 3)
                    if two.welcome["oldest"] == 4:
                        break
        assert (await refused(server, {**position, "seq": 2})).reason == "trimmed"
        async with greeted(server, resume=position) as two:
            await two.say("d")
            assert [event["seq"] for event in await two.events_until(4)] == [4]


async def test_from_latest_skips_old_events() -> None:
    """A client that says ``"from": "latest"`` gets only new events. A client without this gets the old events too."""
    async with make_app().running(port=0) as server, greeted(server) as one:
        await one.say("a", "b")
        async with greeted(server, **{"from": "latest"}) as late, greeted(server) as early:
            assert (late.welcome["recovered"], late.welcome["latest"]) == (False, 2)
            await one.say("c")
            assert [event["seq"] for event in await late.events_until(3)] == [3]
            assert [event["seq"] for event in await early.events_until(3)] == [1, 2, 3]


async def test_empty_log_can_be_resumed(tmp_path: Path) -> None:
    """A session without events already has an epoch, so a client can resume it at seq 0 after a restart."""
    log = f"sqlite:{tmp_path / 'log.db'}"
    async with make_app(log).running(port=0) as server, greeted(server) as one:
        epoch = one.welcome["epoch"]
    async with make_app(log).running(port=0) as server:
        async with greeted(server, resume={"epoch": epoch, "seq": 0}, strict=True) as one:
            assert one.welcome["recovered"] is True
