"""Requests to the pages through trusted proxies: the address and the scheme of the client, and the limits."""

from __future__ import annotations

from typing import Any

import pytest
from _raw_http import GET, reply, request, running_site

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
        assert [(await each.ask(GET)).status for each in proxies] == [200] * 5
        strangers = [await site.connect(STRANGER) for _ in range(3)]
        assert [(await each.ask(GET)).status for each in strangers[:2]] == [200] * 2
        assert await strangers[2].rest() == b""
