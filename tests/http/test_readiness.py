"""/healthz and /readyz of a whole server, on its two ports: while it serves, drains, and cannot write its log."""

from __future__ import annotations

import http.client
import json
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing
from protocol.wire import client, greeted, wait_for_connections

from actors import LogUnavailable, MemoryLog, RestartLimit, Run
from actors.testing.faulty_log import FaultyLog
from transport import Endpoint, Greenroom
from transport.auth import anonymous
from transport.http._server import PageServer, serve_http
from transport.http.pages import pages
from transport.server.listening import listen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from actors import StreamKey
    from actors.eventlog.base import Head
    from transport import Server
    from transport.protocol.health import Health

OK, NO = "ok", "unavailable"
DRAINS, NO_LOG = "the server is shutting down", "the log cannot be written"


class FullLog(MemoryLog):
    """A log in which no session can be begun."""

    async def make(self, key: StreamKey) -> Head:
        """Fail, as a log on a full disk does."""
        raise LogUnavailable(f"no place for {key.session}")


@attrs.frozen
class Ports:
    """The two ports of a server."""

    server: Server
    http: int

    @property
    def ws(self) -> int:
        """The port of the WebSocket endpoint."""
        return int(self.server.url.rstrip("/").rpartition(":")[2])

    async def ask(self, path: str) -> list[tuple[int, Any]]:
        """Return the status and the JSON of the answer of each port. The answers must not be stored."""
        return [await trio.to_thread.run_sync(_ask, port, path) for port in (self.ws, self.http)]


def _ask(port: int, path: str, method: str = "GET") -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        if response.status in {200, 503}:
            assert response.getheader("Cache-Control") == "no-store"
        body = response.read()
        return response.status, json.loads(body) if body[:1] == b"{" else None
    finally:
        connection.close()


@asynccontextmanager
async def served(app: Greenroom) -> AsyncIterator[Ports]:
    """Run an app with its two ports, as ``greenroom serve`` does."""
    listeners = listen("127.0.0.1", 0)
    number = listeners[0].getsockname()[1]
    async with app.running(port=0) as server, trio.open_nursery() as nursery:
        site = pages(ws_url=server.url, agent="", health=server.health)
        await nursery.start(partial(serve_http, PageServer(site, app.settings), listeners))
        yield Ports(server, number)
        nursery.cancel_scope.cancel()


async def test_healthy_server() -> None:
    """A server that takes clients is alive and ready. Both ports say the same, and nothing about its clients."""
    async with served(Greenroom("memory:")) as ports, greeted(ports.server):
        for path in ("/healthz", "/readyz"):
            assert await ports.ask(path) == [(200, {"status": OK})] * 2
            for port in (ports.ws, ports.http):
                assert await trio.to_thread.run_sync(_ask, port, path, "HEAD") == (200, None)
    # The old name is gone, on both ports.
    async with served(Greenroom("memory:")) as ports:
        assert (await trio.to_thread.run_sync(_ask, ports.http, "/health"))[0] == 404


async def test_asking_for_health_takes_no_place() -> None:
    """A server at max_connections still answers, and a connection that asked for its health has ended."""
    async with served(Greenroom("memory:", settings={"max_connections": 1})) as ports, greeted(ports.server):
        assert (await ports.ask("/readyz"))[0] == (200, {"status": OK})
        await wait_for_connections(ports.server, 1)
        assert ports.server.endpoint.statistics().refused == 0


async def test_draining_server_is_not_ready() -> None:
    """A server that drains is alive but not ready. The HTTP port says so until the last run has ended."""
    app, end = Greenroom("memory:"), trio.Event()

    @app.agent
    async def waits(run: Run) -> None:
        await end.wait()

    async with served(app) as ports, trio.open_nursery() as nursery:
        async with greeted(ports.server) as one:
            await one.start("c1", "waits")
        nursery.start_soon(ports.server.drain, 100)
        await trio.testing.wait_all_tasks_blocked()
        assert await trio.to_thread.run_sync(_ask, ports.http, "/readyz") == (503, {"status": NO, "reason": DRAINS})
        assert await trio.to_thread.run_sync(_ask, ports.http, "/healthz") == (200, {"status": OK})
        end.set()


async def test_second_drain_waits_no_longer(autojump_clock: trio.testing.MockClock) -> None:
    """A second drain does not wait for longer than the first: the end of a block comes at the time of the signal's."""
    app = Greenroom("memory:", settings={"drain_seconds": 100})

    @app.agent
    async def waits(run: Run) -> None:
        await trio.sleep_forever()

    async with app.running(port=0) as server:
        await (await server.sessions.get("ann", "s1")).start("waits")
        begun = trio.current_time()
        await server.drain(100)
    assert trio.current_time() < begun + 101


async def test_draining_endpoint_answers_on_open_connections() -> None:
    """A connection that asks the WebSocket endpoint during the drain gets 503 with the reason."""
    async with Greenroom("memory:").running(port=0) as server:
        await server.endpoint.say_goodbye()
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.endpoint.serve, theirs)
            await ours.send_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while chunk := await ours.receive_some():
                answer += bytes(chunk)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert answer.endswith(b'{"status":"unavailable","reason":"the server is shutting down"}')


async def test_server_that_cannot_write_is_not_ready() -> None:
    """After a failed write the server is not ready, until a write succeeds."""
    log = FaultyLog(MemoryLog())
    async with served(Greenroom(log)) as ports:
        await fail_to_write(ports.server, log)
        assert await ports.ask("/readyz") == [(503, {"status": NO, "reason": NO_LOG})] * 2
        assert await ports.ask("/healthz") == [(200, {"status": OK})] * 2
        async with greeted(ports.server, "another") as one:
            await one.say("it works again")
        assert await ports.ask("/readyz") == [(200, {"status": OK})] * 2


async def test_log_that_makes_no_session_is_not_ready() -> None:
    """A log in which no session can be begun makes the server unready, too."""
    async with served(Greenroom(FullLog())) as ports:
        async with client(ports.server) as one:
            await one.send("hello", session="s1")
            assert (await one.ended()).code == 4006
        assert [status for status, _ in await ports.ask("/readyz")] == [503, 503]


async def test_failed_write_counts_for_ten_seconds(autojump_clock: trio.testing.MockClock) -> None:
    """If nothing is written after a failed write, the server is ready again after ten seconds.

    Without this, a server that gets no clients would never try again.
    """
    log = FaultyLog(MemoryLog())
    async with Greenroom(log).running(port=0) as server:
        await fail_to_write(server, log)
        await trio.sleep(9.9)
        assert server.health().unready
        await trio.sleep(0.2)
        assert not server.health().unready


async def fail_to_write(server: Server, log: FaultyLog) -> None:
    """Let one write of a session fail."""
    handle = await server.sessions.get("ann", "s1")
    log.fail("append")
    await handle.emit("note")
    await trio.testing.wait_all_tasks_blocked()


async def test_server_that_has_given_up_is_dead() -> None:
    """When the supervision of a server has given up, the process must be started again: /healthz says so."""
    healths: list[Health] = []

    async def block() -> None:
        async with Greenroom("memory:").running(port=0) as server:
            try:
                await wear_out(server, "/greenroom/endpoint")
                await trio.sleep_forever()
            finally:
                healths.append(server.health())

    with pytest.raises(RestartLimit):
        await block()
    assert [health.failed for health in healths] == ["the supervision of the server has given up"]


async def wear_out(server: Server, path: str) -> None:
    """Kill one part of the server more often than its supervisor may restart it."""
    for _ in range(4):
        ref = server.system.find(path)
        assert ref is not None
        ref.kill()
        await trio.testing.wait_all_tasks_blocked()


async def test_endpoint_that_starts_is_not_ready() -> None:
    """An endpoint that does not accept connections yet, as after a restart, says so."""
    async with Greenroom("memory:").running(port=0) as server:
        starting = Endpoint(server.sessions, anonymous, server.endpoint.settings)
        assert starting.health().unready == "the endpoint is starting"
        assert starting.health().failed == ""


async def test_node_that_is_cut_off_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ports give the reason of a node of a cluster that takes no clients, and the node is alive."""
    reason = "the node is cut off from the server of its log"
    async with served(Greenroom("memory:")) as ports:
        monkeypatch.setattr(type(ports.server.sessions.place), "unready", lambda _: reason)
        assert await ports.ask("/readyz") == [(503, {"status": NO, "reason": reason})] * 2
        assert await ports.ask("/healthz") == [(200, {"status": OK})] * 2
