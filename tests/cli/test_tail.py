"""``greenroom tail``, which prints the events of a session, one on each line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio
from protocol.agents import make_app
from protocol.wire import client, greeted

from transport.cli import main
from transport.cli.tail import follow
from transport.errors import ConnectionClosedForGood

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transport import Server


async def tail_output(
    server: Server, capsys: pytest.CaptureFixture[str], count: int, *, as_json: bool
) -> Iterator[str]:
    """Run ``tail`` until it has printed ``count`` lines, and return all lines that it has printed."""
    out = ""
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, server.url, "s1", None, False, as_json)  # noqa: FBT003 - as the command line does
            while len(out.splitlines()) < count:
                await trio.lowlevel.checkpoint()
                out += capsys.readouterr().out
            nursery.cancel_scope.cancel()
    return iter(out.splitlines())


async def test_tail_prints_events(capsys: pytest.CaptureFixture[str]) -> None:
    """``tail`` prints the events of a session: as text without control characters, or as JSON."""
    async with make_app().running(port=0) as server, greeted(server) as one:
        await one.completed(await one.start("1", "echo", "a\x1b[31m\nb"))
        plain = list(await tail_output(server, capsys, 3, as_json=False))
        assert [line.split()[0] for line in plain] == ["1", "2", "3"]
        assert "\x1b" not in "".join(plain)
        events = [json.loads(line) for line in await tail_output(server, capsys, 3, as_json=True)]
        assert events == one.events()


async def test_closed_session_ends_tail() -> None:
    """If the session is closed permanently, ``tail`` ends with ConnectionClosedForGood."""
    async with make_app().running(port=0) as server, client(server) as one:
        await one.hello()
        assert (await one.command("1", "session.close"))["ok"]
        with pytest.raises(ConnectionClosedForGood):
            await follow(server.url, "s1", None, False, False)  # noqa: FBT003 - as the command line does


def test_tail_with_a_bad_name(capsys: pytest.CaptureFixture[str]) -> None:
    """If the session's name is not allowed, ``tail`` prints one line and returns status 2."""
    assert main(["tail", "not a name"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
