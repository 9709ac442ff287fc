"""``greenroom inspect``, ``sessions``, ``cancel`` and ``forget --url``, with a running server."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio
from _inspector import PATIENCE, TOKEN, make_app

from actors import StreamKey
from transport.cli import main
from transport.http._server import PageServer, serve_http
from transport.http.pages import pages
from transport.inspector import Inspector
from transport.protocol.health import Health
from transport.server.listening import listen

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import pytest

    from transport import Server


@asynccontextmanager
async def serving(**settings: object) -> AsyncGenerator[tuple[Server, str]]:
    """Run an app with its pages and its inspector. Yield the server and the address of the pages."""
    app = make_app(**settings)
    async with app.running(port=0) as server, trio.open_nursery() as nursery:
        listeners = listen("127.0.0.1", 0)
        inspector = Inspector(lambda: server, app.settings)
        site = pages(ws_url=server.url, agent="quick", health=Health, inspector=inspector)
        page_server = PageServer(site, app.settings, failures=server.sessions.failures)
        await nursery.start(serve_http, page_server, listeners)
        with trio.fail_after(PATIENCE):
            yield server, f"http://127.0.0.1:{listeners[0].getsockname()[1]}/"
        nursery.cancel_scope.cancel()


async def command(*words: str) -> int:
    """Run a command in a thread, and return its exit status."""
    return await trio.to_thread.run_sync(main, [*words])


async def test_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """The commands show the runs and sessions of a server, stop a run, and let the server forget a user."""
    async with serving() as (server, url):
        handle = await server.sessions.get("ann", "s1")
        run = await handle.start("slow")
        await (await server.sessions.get("bob", "s1")).start("broken")
        assert await command("inspect", "--url", url) == 0
        shown = capsys.readouterr().out
        assert "2 sessions, 0 connections, 1 run, 0 queued" in shown
        assert run in shown
        assert "password=[redacted]" in shown
        assert "no slow connections" in shown
        assert await command("inspect", "--url", url, "--json") == 0
        assert json.loads(capsys.readouterr().out)["runs"][0]["run"] == run
        assert await command("sessions", "--url", url) == 0
        titles, ann, bob = capsys.readouterr().out.splitlines()
        assert (titles.split()[:3], ann.split()[:2], bob.split()[:2]) == (
            ["user", "session", "events"],
            ["ann", "s1"],
            ["bob", "s1"],
        )
        assert await command("sessions", "--url", url, "--user", "bob", "--json") == 0
        assert json.loads(capsys.readouterr().out)["user"] == "bob"
        assert await command("cancel", "ann", "s1", run, "--url", url) == 0
        assert await command("cancel", "ann", "s1", "r-unknown", "--url", url, "--json") == 1
        assert capsys.readouterr().out == f'{run} was asked to stop\n{{"cancelled":false}}\n'
        assert await command("forget", "bob", "--url", url) == 0
        assert await command("forget", "bob", "--url", url, "--json") == 0
        first, second = capsys.readouterr().out.splitlines()
        assert first == f"{url}: 1 sessions were removed, 0 connections closed"
        assert json.loads(second) == {"user": "bob", "url": url, "sessions": 0, "connections": 0}
        assert server.sessions.failures.newest() == ()
        assert server.sessions.statistics_of(StreamKey("bob", "s1")) is None


async def test_token(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with ``operator_token`` needs the token, from the option or the environment."""
    async with serving(operator_token=TOKEN) as (_, url):
        assert await command("sessions", "--url", url, "--operator-token", "wrong-wrong-wrong-wrong") == 2
        assert "give --operator-token, or GREENROOM_OPERATOR_TOKEN in the environment" in capsys.readouterr().err
        assert await command("sessions", "--url", url, "--operator-token", TOKEN) == 0
        monkeypatch.setenv("GREENROOM_OPERATOR_TOKEN", TOKEN)
        assert await command("sessions", "--url", url) == 0


async def test_live_view(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the view is shown again each second, also while the server is away, until Ctrl-C."""
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("transport.cli.inspect_command.time.sleep", wait)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    async with serving() as (_, url):
        assert await command("inspect", "--url", url) == 0
        assert "0 sessions, 0 connections" in capsys.readouterr().out
    assert waits == [1.0, 1.0, 1.0]
