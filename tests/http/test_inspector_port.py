"""The inspector at the real HTTP port: the addresses are those of sockets, and headers cannot change them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import trio
from _inspector import PATIENCE, TOKEN, make_app
from _raw_http import HOST, RawClient, request

from transport.http._server import PageServer, serve_http
from transport.http.pages import pages
from transport.inspector import Inspector
from transport.protocol.health import Health
from transport.server.listening import listen

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from _raw_http import Answer


class Port:
    """The HTTP port of a running app."""

    def __init__(self, number: int) -> None:
        self.number = number

    async def ask(self, path: str, *fields: bytes, method: str = "GET", body: bytes = b"", host: bytes = b"") -> Answer:
        """Return the response to a request, sent over a connection of its own."""
        client = RawClient(await trio.open_tcp_stream(HOST, self.number))
        try:
            whole = request(path, *fields, method=method, body=body)
            named = host or b"%s:%d" % (HOST.encode(), self.number)
            with trio.fail_after(PATIENCE):
                return await client.ask(whole.replace(b"Host: x", b"Host: " + named))
        finally:
            await client.stream.aclose()


@asynccontextmanager
async def port(**settings: Any) -> AsyncGenerator[Port]:
    """Run an app with these settings, its pages and its inspector."""
    app = make_app(**settings)
    async with app.running(port=0) as server, trio.open_nursery() as nursery:
        listeners = listen(HOST, 0)
        inspector = Inspector(lambda: server, app.settings)
        site = pages(ws_url=server.url, agent="quick", health=Health, inspector=inspector)
        page_server = PageServer(site, app.settings, failures=server.sessions.failures)
        await nursery.start(serve_http, page_server, listeners)
        yield Port(listeners[0].getsockname()[1])
        nursery.cancel_scope.cancel()


async def test_this_machine_is_served() -> None:
    """At a loopback address, the inspector is served without a token, with its own strict headers."""
    async with port() as site:
        answer = await site.ask("/inspect/api/me")
        assert (answer.status, orjson.loads(answer.body)["who"]) == (200, "loopback")
        assert b"default-src 'none'" in answer.head
        moved = await site.ask("/inspect")
        assert (moved.status, b"location: inspect/" in moved.head.lower()) == (307, True)
        assert (await site.ask("/config")).status == 200


@pytest.mark.parametrize(
    "field",
    [
        b"X-Forwarded-For: 127.0.0.1",
        b"X-Forwarded-For: 203.0.113.7, 127.0.0.1",
        b"Forwarded: for=127.0.0.1;host=localhost",
        b"X-Real-IP: 127.0.0.1",
        b"X-Forwarded-Host: localhost",
        b"Via: 1.1 nginx",
    ],
)
async def test_forged_forwarded_headers(field: bytes) -> None:
    """A request with a header of a proxy is not one of this machine, whatever the header says."""
    async with port() as site:
        assert (await site.ask("/inspect/api/overview", field)).status == 403
        body = b'{"user": "alice", "session": "s1", "run": "r-1"}'
        fields = (field, b"Content-Type: application/json", b"X-Requested-With: x")
        assert (await site.ask("/inspect/api/runs/cancel", *fields, method="POST", body=body)).status == 403


async def test_foreign_host() -> None:
    """A page whose name was made to mean this machine (DNS rebinding) reads nothing."""
    async with port() as site:
        answer = await site.ask("/inspect/api/overview", host=b"evil.example:8766")
        assert (answer.status, b"operator_token" in answer.body) == (403, True)


async def test_token_and_cookie() -> None:
    """With a token, the port wants it from this machine too; a login gets a cookie that serves."""
    async with port(operator_token=TOKEN) as site:
        assert (await site.ask("/inspect/api/overview")).status == 401
        bearer = b"Authorization: Bearer " + TOKEN.encode()
        assert (await site.ask("/inspect/api/overview", bearer)).status == 200
        fields = (b"Content-Type: application/json", b"X-Requested-With: x")
        answer = await site.ask("/inspect/api/login", *fields, method="POST", body=orjson.dumps({"token": TOKEN}))
        (line,) = [line for line in answer.head.split(b"\r\n") if line.lower().startswith(b"set-cookie:")]
        cookie = b"Cookie: " + line.partition(b":")[2].strip().split(b";")[0]
        assert (await site.ask("/inspect/api/me", cookie)).status == 200
        assert (await site.ask("/inspect/api/me", cookie[:-8])).status == 401
        assert TOKEN.encode() not in line
