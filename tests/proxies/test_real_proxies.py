"""The examples of the operators' guide in real proxies, in front of a real server: nginx, Caddy and HAProxy."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest
from _raw_http import RawClient, reply, running_site
from protocol.agents import make_app
from protocol.manual_socket import ManualSocket
from protocol.wire import Client
from proxies.programs import NAME, Front, proxy, replaced
from websockets.exceptions import InvalidStatus

from transport import User

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from transport import Credentials

PROXY, VISITOR, OTHER = "127.0.0.1", "127.0.0.2", "127.0.0.3"
FORGED = {
    "nothing": {},
    "X-Forwarded-For": {"X-Forwarded-For": "192.0.2.7"},
    "Forwarded": {"Forwarded": "for=192.0.2.7"},
    "the proxy's address": {"X-Forwarded-For": PROXY},
}
"""Headers that a visitor sends, to be taken for another one."""


@attrs.frozen
class Kind:
    """A proxy, and the way in which it names its clients."""

    program: str
    settings: dict[str, object] = attrs.Factory(dict[str, object])
    edit: Callable[[str], str] = str
    scheme: str = "https"
    """The scheme that the pages see."""

    def __str__(self) -> str:
        return self.program


KINDS = {
    "nginx": Kind("nginx"),
    "caddy": Kind("caddy"),
    "haproxy": Kind("haproxy", {"proxy_protocol": True}, scheme="http"),
    "haproxy v1": Kind(
        "haproxy", {"proxy_protocol": True}, lambda text: replaced(text, "send-proxy-v2", "send-proxy"), "http"
    ),
}
EACH = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
PROGRAMS = pytest.mark.parametrize("kind", [KINDS[name] for name in ("nginx", "caddy", "haproxy")], ids=str)


class Site:
    """A server behind a proxy."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.seen: list[str] = []
        """The address of each client, as the auth function gets it."""

    @asynccontextmanager
    async def visitor(self, source: str = VISITOR, **headers: str) -> AsyncIterator[Client]:
        """Open a WebSocket through the proxy inside the block."""
        async with await self.front.connect(source) as stream:
            socket = ManualSocket(stream, f"wss://{NAME}/ws")
            await socket.open(headers)
            yield Client(socket)


@asynccontextmanager
async def behind(kind: Kind, folder: Path, **settings: object) -> AsyncIterator[Site]:
    """Run a server and its pages behind a proxy inside the block."""

    async def auth(credentials: Credentials) -> User:
        site.seen.append(credentials.address)
        return User("ann")

    trusted: dict[str, Any] = {"forwarded_allow": [PROXY], **kind.settings, **settings}
    async with make_app(auth=auth, **trusted).running(port=0) as server, running_site(tell_client, **trusted) as pages:
        port = int(server.url.rstrip("/").rpartition(":")[2])
        async with proxy(kind.program, folder, port, pages.port, kind.edit) as front:
            site = Site(front)
            yield site


async def tell_client(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the scheme, the client's address and the path of a request, as the application gets them."""
    await reply(send, f"{scope['scheme']} {scope['client'][0]} {scope['path']}".encode())


@EACH
async def test_clients_of_a_proxy(kind: Kind, tmp_path: Path) -> None:
    """A WebSocket passes the proxy, and the server sees the visitor's address, whatever headers the visitor sends."""
    async with behind(kind, tmp_path) as site:
        for headers in FORGED.values():
            async with site.visitor(**headers) as one:
                await one.hello()
                completed = await one.completed(await one.start("1", "echo", "through a proxy"))
                assert completed["data"]["result"] == "through a proxy"
        assert site.seen == [VISITOR] * len(FORGED)


@PROGRAMS
async def test_limits_mean_the_clients(kind: Kind, tmp_path: Path) -> None:
    """A visitor behind a proxy may have as many connections as an address may have. Other visitors are not affected."""
    async with behind(kind, tmp_path, max_connections_per_address=2) as site:
        async with site.visitor() as one, site.visitor() as two:
            await one.hello()
            await two.hello()
            with pytest.raises(InvalidStatus) as refused:
                async with site.visitor(**FORGED["X-Forwarded-For"]):
                    pass
            assert refused.value.response.status_code == 503
            async with site.visitor(OTHER) as three:
                await three.hello()


@PROGRAMS
async def test_pages(kind: Kind, tmp_path: Path) -> None:
    """The pages are reached by HTTPS. They see the visitor's address, and the scheme if the proxy names it."""
    async with behind(kind, tmp_path) as site:
        for forged in (b"", b"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\n"):
            client = RawClient(cast("Any", await site.front.connect(VISITOR)))
            answer = await client.ask(b"GET /page HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (NAME.encode(), forged))
            assert (answer.status, answer.body.decode()) == (200, f"{kind.scheme} {VISITOR} /page")
            await client.stream.aclose()


@pytest.mark.parametrize("path", [b"/page", b"/ws"])
async def test_default_of_nginx(path: bytes, tmp_path: Path) -> None:
    """Without ``proxy_http_version 1.1``, nginx speaks HTTP/1.0 to the server, and each request gets 400."""
    old = Kind("nginx", edit=lambda text: replaced(text, "    proxy_http_version 1.1;\n", ""))
    async with behind(old, tmp_path) as site:
        client = RawClient(cast("Any", await site.front.connect(VISITOR)))
        assert (await client.ask(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)).status == 400
        await client.stream.aclose()
