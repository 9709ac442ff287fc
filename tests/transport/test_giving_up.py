"""A server that must give up ends its block and its process with one exception, so that it can be started again."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from protocol.agents import make_app
from protocol.wire import greeted

from actors import LogUnavailable, MemoryLog, RestartLimit
from transport._border import the_one
from transport._process import Reporter
from transport.http._server import PagesFailed
from transport.http.serving import serve
from transport.server.listening import listen

if TYPE_CHECKING:
    from pathlib import Path

    from transport import Server

PATIENCE = 60
PARTS = ["/greenroom/event-log", "/greenroom/sessions", "/greenroom/endpoint"]


async def wear_out(server: Server, path: str) -> None:
    """Kill one part of the server more often than its supervisor may restart it."""
    for _ in range(4):
        ref = server.system.find(path)
        assert ref is not None
        ref.kill()
        await trio.testing.wait_all_tasks_blocked()


def port_of(server: Server) -> int:
    """Return the port of the server."""
    return int(server.url.rstrip("/").rpartition(":")[2])


@pytest.mark.parametrize("path", PARTS)
async def test_supervision_that_gives_up(path: str) -> None:
    """If a part of the server fails too often, ``running()`` raises one RestartLimit, and the port is free again."""
    app = make_app()
    ports: list[int] = []

    async def block() -> None:
        async with app.running(port=0) as server, greeted(server):
            ports.append(port_of(server))
            await wear_out(server, path)
            await trio.sleep_forever()

    with pytest.raises(RestartLimit, match="/greenroom gave up"), trio.fail_after(PATIENCE):
        await block()
    async with app.running(port=ports[0]) as server, greeted(server) as one:
        await one.say("served again")


class Gone(MemoryLog):
    """A log that can be opened only once. A second ``open`` raises LogUnavailable."""

    opened = False

    async def open(self) -> None:
        if self.opened:
            raise LogUnavailable("the disk is gone")
        self.opened = True
        await super().open()


async def test_log_that_cannot_be_reopened() -> None:
    """If a killed log cannot be opened again, the block raises a RestartLimit, and the log's error is its cause."""

    async def block() -> None:
        async with make_app(Gone()).running(port=0) as server, greeted(server):
            log = server.system.find("/greenroom/event-log")
            assert log is not None
            log.kill()
            await trio.sleep_forever()

    with pytest.raises(RestartLimit) as caught, trio.fail_after(PATIENCE):
        await block()
    assert isinstance(caught.value.__cause__, LogUnavailable)


GROUP = ExceptionGroup("the block's own", [ValueError(), ExceptionGroup("more", [OSError()])])


@pytest.mark.parametrize(
    "own", [ValueError(), RestartLimit("of another system"), SystemExit(3), KeyboardInterrupt(), GROUP], ids=repr
)
async def test_exception_of_the_block(own: BaseException) -> None:
    """An exception that the ``running()`` block itself raises comes out unchanged, not inside another group."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - its identity is looked at
        async with make_app().running(port=0):
            raise own
    assert caught.value is own


async def test_cancelled_block() -> None:
    """If the ``running()`` block is cancelled, the server stops, and the cancellation reaches the scope outside."""
    with trio.CancelScope() as scope:
        async with make_app().running(port=0):
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught


@pytest.mark.parametrize("end", ["orderly", "cancelled", "failed", "gives up"])
async def test_readers_end(end: str) -> None:
    """Observers and consumers in tasks outside of the server end with the server, however it ends."""
    app = make_app()
    ended: list[str] = []

    async def observe() -> None:
        async with app.observe("agent_completed") as observer:
            async for _ in observer:
                raise AssertionError
        ended.append("observer")

    async def consume() -> None:
        async with app.consume("billing", "agent_completed") as consumer:
            async for _ in consumer:
                raise AssertionError
        ended.append("consumer")

    async def serve_until() -> None:
        with trio.CancelScope() as scope:
            async with app.running(port=0) as server:
                for reader in (observe, consume):
                    nursery.start_soon(reader)
                await trio.testing.wait_all_tasks_blocked()
                if end == "cancelled":
                    scope.cancel()
                elif end == "failed":
                    raise ValueError
                elif end == "gives up":
                    await wear_out(server, "/greenroom/event-log")
                    await trio.sleep_forever()

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            with suppress(ValueError, RestartLimit):
                await serve_until()
    assert sorted(ended) == ["consumer", "observer"]


def test_the_one_exception() -> None:
    """If groups contain only one exception, ``the_one`` returns this exception without the groups.

    A RestartLimit has priority over other exceptions. A group that the user's block itself raised stays unchanged.
    Several exceptions stay in their group.
    """
    one, two, limit = ValueError(), KeyError(), RestartLimit("gave up")
    both = ExceptionGroup("", [one, ExceptionGroup("", [two])])
    assert the_one(both) is both
    assert the_one(ExceptionGroup("", [ExceptionGroup("", [one])])) is one
    assert the_one(ExceptionGroup("", [one, ExceptionGroup("", [limit])])) is limit
    assert the_one(ExceptionGroup("", [limit, both]), both) is both


@pytest.mark.parametrize("raised", [OSError("no more files"), SystemExit(0)], ids=repr)
async def test_pages_that_end(monkeypatch: pytest.MonkeyPatch, raised: BaseException) -> None:
    """If the HTTP server of the pages fails, ``serve`` ends too, with PagesFailed."""

    async def keep_limits(port: object) -> None:
        raise raised

    monkeypatch.setattr("transport.server.port.Port.keep_limits", keep_limits)
    with pytest.raises(PagesFailed) as caught, trio.fail_after(PATIENCE):
        await serve(make_app(port=0, http_port=0), Reporter())
    assert caught.value.__cause__ is raised


APP = """
from transport import Greenroom
from transport.server._flusher import Flusher

async def run(self):
    raise OSError("the flusher fails each time")

Flusher.run = run
app = Greenroom(log="memory:")
"""


def test_process_that_gives_up(tmp_path: Path, own_port: int) -> None:
    """A server process that gives up ends with status 1 and one line that says why, and its port is free again."""
    (tmp_path / "bad.py").write_text(APP)
    command = [sys.executable, "-m", "transport", "--log-level", "error", "serve", "bad:app"]
    command += ["--port", str(own_port), "--http-port", "0"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ran.returncode == 1
    assert "greenroom: /greenroom gave up: /greenroom/endpoint" in ran.stderr.splitlines()[-1]
    assert "the flusher fails each time" in ran.stderr.splitlines()[-1]
    for again in listen("127.0.0.1", own_port):
        again.close()
