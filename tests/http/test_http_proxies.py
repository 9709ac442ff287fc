"""Requests to the pages through trusted proxies: the address and the scheme of the client, and the limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from _raw_http import BIG, GET, RawClient, reply, request, running_site
from _tls import Authority

if TYPE_CHECKING:
    from pathlib import Path

PROXY, STRANGER = "127.0.0.1", "127.0.0.2"
ALLOW = {"forwarded_allow": (PROXY,)}


async def tell_client(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the scheme and the client's address of a request, as the application gets them."""
    await reply(send, f"{scope['scheme']} {scope['client'][0]}".encode())


@pytest.mark.parametrize(
    ("source", "fields", "seen"),
    [
        (PROXY, [b"X-Forwarded-For: 192.0.2.1", b"X-Forwarded-Proto: https"], b"https 192.0.2.1"),
        (PROXY, [b'Forwarded: for="[2001:db8::1]:1";proto=https'], b"https 2001:db8::1"),
        (PROXY, [b"X-Forwarded-For: 192.0.2.1", b"X-Forwarded-Proto: http"], b"http 192.0.2.1"),
        (PROXY, [b"X-Forwarded-For: 192.0.2.9, unknown"], b"http 127.0.0.1"),
        (PROXY, [], b"http 127.0.0.1"),
        (STRANGER, [b"X-Forwarded-For: 192.0.2.1", b"X-Forwarded-Proto: https"], b"http 127.0.0.2"),
    ],
)
async def test_client_and_scheme(source: str, fields: list[bytes], seen: bytes) -> None:
    """The application gets the client and the scheme that a trusted proxy names, and those of the connection else."""
    async with running_site(tell_client, **ALLOW) as site:
        client = await site.connect(source)
        assert (await client.ask(request("/", *fields))).body == seen


async def test_each_request_has_its_own_client() -> None:
    """A proxy sends the requests of several clients on one connection. Each request has the address of its client."""
    async with running_site(tell_client, **ALLOW) as site:
        client = await site.connect()
        for number in (1, 2):
            answer = await client.ask(request("/", b"X-Forwarded-For: 192.0.2.%d" % number))
            assert answer.body == b"http 192.0.2.%d" % number


async def test_contradiction_is_refused() -> None:
    """A request in which the two headers name different clients gets 400, and the application does not get it."""
    async with running_site(**ALLOW) as site:
        fields = (b"X-Forwarded-For: 192.0.2.1", b"Forwarded: for=192.0.2.2")
        assert (await site.ask(request("/", *fields))).status == 400
        assert (site.calls, site.server.statistics().bad_requests) == (0, 1)


async def test_proxy_has_no_limit_of_its_own() -> None:
    """The limits per address do not count for the connections of a trusted proxy. They count for other addresses."""
    limits = {"max_connections_per_address": 2, "handshakes_per_address_per_second": 2}
    async with running_site(**ALLOW, **limits) as site:
        proxies = [await site.connect(PROXY) for _ in range(5)]
        of_a_client = request("/", b"X-Forwarded-For: 192.0.2.1")
        assert [(await each.ask(of_a_client)).status for each in proxies] == [200] * 5
        strangers = [await site.connect(STRANGER) for _ in range(3)]
        assert [(await each.ask(GET)).status for each in strangers[:2]] == [200] * 2
        assert await strangers[2].rest() == b""


async def test_proxy_that_names_no_client() -> None:
    """A connection on which a trusted proxy sends a request without a client counts for the proxy's address.

    The oldest one without a request in progress makes room for a new one. Other connections of the proxy do not count.
    """
    async with running_site(**ALLOW, max_connections_per_address=2) as site:
        named, *proxies = [await site.connect(PROXY) for _ in range(4)]
        of_a_client = request("/", b"X-Forwarded-For: 192.0.2.1")
        assert (await named.ask(of_a_client)).status == 200
        assert [(await each.ask(GET)).status for each in proxies] == [200] * 3
        assert await proxies[0].rest() == b""
        assert site.server.statistics().silent_dropped == 1
        assert [(await each.ask(of_a_client)).status for each in (named, *proxies[1:])] == [200] * 3


def over_tls(client: RawClient, authority: Authority) -> RawClient:
    """Return a client that speaks TLS on the connection of another one."""
    secure: Any = trio.SSLStream(client.stream, authority.trusting(), server_hostname="127.0.0.1")
    return RawClient(secure)


async def test_https(tmp_path: Path) -> None:
    """Over TLS the scheme is ``https``, unless a trusted proxy says otherwise. Plain HTTP gets no answer."""
    authority = Authority(tmp_path)
    async with running_site(tell_client, **ALLOW, **authority.issue()) as site:
        plain = await site.connect()
        await plain.send(GET)
        assert b"HTTP" not in await plain.rest()
        client = await site.connect(STRANGER)
        secure = over_tls(client, authority)
        assert (await secure.ask(GET)).body == b"https 127.0.0.2"
        assert (await secure.ask(request("/", b"X-Forwarded-Proto: http"))).body == b"https 127.0.0.2"
        other = await site.connect(PROXY)
        secure = over_tls(other, authority)
        assert (await secure.ask(request("/", b"X-Forwarded-Proto: http"))).body == b"http 127.0.0.1"


async def test_big_response_over_tls(tmp_path: Path) -> None:
    """A large response arrives whole over TLS, and the connection ends with a word of TLS."""
    authority = Authority(tmp_path)
    async with running_site(**authority.issue()) as site:
        client = await site.connect()
        secure = over_tls(client, authority)
        assert (await secure.ask(request("/big", b"Connection: close"))).body == b"x" * BIG
        with pytest.raises(EOFError):  # and not a broken stream
            await secure.answer()


async def test_proxy_protocol() -> None:
    """With ``proxy_protocol``, all requests of a connection have the client of its header, which has its limits."""
    limits = {"proxy_protocol": True, "max_connections_per_address": 2}
    header = b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n"
    async with running_site(tell_client, **ALLOW, **limits) as site:
        clients = [await site.connect() for _ in range(3)]
        for each in clients:
            assert (await each.ask(header + GET)).body == b"http 192.0.2.1"
        assert await clients[0].rest() == b""  # it has made room for the third
        assert (await clients[1].ask(GET)).body == b"http 192.0.2.1"
        wrong = await site.connect()
        await wrong.send(GET)
        assert await wrong.rest() == b""
        stranger = await site.connect(STRANGER)
        assert (await stranger.ask(GET)).body == b"http 127.0.0.2"
