"""``greenroom tail``, which prints the events of a session, one on each line."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest
import trio
from protocol.agents import auth_by_name, make_app
from protocol.wire import client, greeted

from transport.cli import main
from transport.cli.tail import follow
from transport.errors import ConnectionClosedForGood

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from transport import Server


async def tail_output(
    server: Server, capsys: pytest.CaptureFixture[str], count: int, *, as_json: bool
) -> Iterator[str]:
    """Run ``tail`` until it has printed ``count`` lines, and return all lines that it has printed."""
    out = ""
    with trio.fail_after(60):
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


async def test_tail_tells_its_state(capsys: pytest.CaptureFixture[str], own_port: int) -> None:
    """``tail`` prints on stderr that it connects, why it is not connected, and, when it is connected, its session."""
    url = f"ws://127.0.0.1:{own_port}/"
    told = ""
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, url, "s1", None, False, False)  # noqa: FBT003 - as the command line does
            while "trying again" not in told:
                await trio.lowlevel.checkpoint()
                told += capsys.readouterr().err
            async with make_app().running(port=own_port):
                while "connected: waiting" not in told:
                    await trio.lowlevel.checkpoint()
                    told += capsys.readouterr().err
                nursery.cancel_scope.cancel()
    connecting, waiting, connected = told.splitlines()
    assert connecting == f"greenroom: connecting to {url}"
    assert waiting.startswith("greenroom: not connected, trying again: 1006: cannot connect: ")
    assert connected == "greenroom: connected: waiting for events of session s1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "closed permanently with 4501: a token is required; give a token with --token"),
        (["--token", "forbidden"], "closed permanently with 4502: not you"),
    ],
)
async def test_refused_tail(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    """If the server refuses ``tail``, ``tail`` ends with status 2 and prints the reason."""
    async with make_app(auth=auth_by_name).running(port=0) as server:
        status = await trio.to_thread.run_sync(main, ["tail", "s1", "--url", server.url, *arguments])
        assert status == 2
        assert capsys.readouterr().err.splitlines()[-1] == f"greenroom: refused by {server.url}: {said}"


def test_tail_finds_the_server_of_its_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without ``--url``, ``tail`` connects to the host and port of the settings.

    If the server refuses ``tail``, control characters in the reason are printed escaped.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "greenroom.toml").write_text('host = "0.0.0.0"\nport = 1')
    urls: list[str] = []

    async def note(url: str, *_: object) -> None:
        urls.append(url)
        raise ConnectionClosedForGood(4502, "not \x1b[31myou")

    monkeypatch.setattr("transport.cli.tail.follow", note)
    assert main(["tail", "s1", "--set", "port=2"]) == 2
    assert urls == ["ws://127.0.0.1:2/"]
    assert "not \\x1b[31myou" in capsys.readouterr().err


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


async def test_tail_of_a_silent_server(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """``tail`` says within 3 s that a server which accepts connections does not answer."""
    monkeypatch.setattr("transport.cli.tail.PATIENCE_SECONDS", 0.01)
    told = ""
    with socket.create_server(("127.0.0.1", 0)) as silent, trio.fail_after(60):
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}/"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, url, "s1", None, False, False)  # noqa: FBT003 - as the command line does
            while f"{url} does not answer yet: still waiting" not in told:
                await trio.lowlevel.checkpoint()
                told += capsys.readouterr().err
            nursery.cancel_scope.cancel()
