"""The visitors of the demo pages: their cookies and tokens."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from _demo_site import HOST, TOKENS, Site, cookie_in, open_site, user_of

from transport import Credentials, NotAuthenticated
from transport.http.visitors import VISITOR_SECONDS
from transport.protocol.handshake import AllowedOrigins

if TYPE_CHECKING:
    import trio


async def test_cookie_identifies_the_browser(site: Site) -> None:
    """A browser without a cookie becomes a new user and gets a cookie.

    If it sends this cookie later, it is the same user again, and the cookie is valid for as long again.
    """
    first, other = await site.token(), await site.token()
    assert user_of(first) != user_of(other)
    again = await site.token(Cookie=cookie_in(first))
    assert user_of(again) == user_of(first)
    once_more = await site.token(Cookie=cookie_in(again))
    assert user_of(once_more) == user_of(first)
    assert "max-age=7776000" in again.headers["set-cookie"].lower()


async def test_cookie_attributes(site: Site) -> None:
    """Scripts cannot read the browser's cookie, and other sites cannot send it.

    It is valid over 100 times longer than a token.
    """
    answer = await site.token()
    cookie = answer.headers["set-cookie"]
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= attributes
    assert cookie.startswith(f"greenroom_{site.port}=")
    expires = TOKENS.auth.user(answer.json["token"]).expires
    assert expires is not None
    assert 100 * (expires - time.time()) < VISITOR_SECONDS
    assert answer.headers["cache-control"] == "no-store"


async def test_forged_cookie(site: Site) -> None:
    """A browser that sends a forged cookie becomes a new user."""
    answer = await site.token(Cookie=f"greenroom_{site.port}=forged")
    assert user_of(answer).startswith("visitor-")


async def test_token_for_the_hello_is_no_cookie(site: Site) -> None:
    """A token for the hello does not identify a browser in its cookie.

    So it cannot be exchanged for a token that is valid for longer.
    """
    first = await site.token()
    answer = await site.token(Cookie=f"greenroom_{site.port}={first.json['token']}")
    assert user_of(answer) != user_of(first)


async def test_cookie_is_no_token_for_the_hello(site: Site) -> None:
    """The value of the cookie is refused in a hello: only a short token opens a session."""
    cookie = cookie_in(await site.token()).partition("=")[2]
    with pytest.raises(NotAuthenticated):
        await TOKENS.auth(Credentials(cookie, "s1"))


FROM_ELSEWHERE: list[tuple[str, dict[str, str]]] = [
    ("GET", {}),
    ("HEAD", {}),
    ("OPTIONS", {}),
    ("PUT", {"X_Requested_With": "greenroom"}),
    ("GET", {"X_Requested_With": "greenroom"}),
    ("POST", {}),
    ("POST", {"Origin": "https://evil.example", "Content_Type": "application/x-www-form-urlencoded"}),
    ("POST", {"Sec_Fetch_Site": "same-origin"}),
    ("POST", {"X_Requested_With": "greenroom", "Sec_Fetch_Site": "cross-site"}),
    ("POST", {"X_Requested_With": "greenroom", "Sec_Fetch_Site": "same-site"}),
    ("POST", {"X_Requested_With": "greenroom", "Sec_Fetch_Site": "none"}),
]


@pytest.mark.parametrize(("method", "headers"), FROM_ELSEWHERE)
async def test_only_the_page_gets_a_token(site: Site, method: str, headers: dict[str, str]) -> None:
    """Links, forms, images and scripts of other sites get no token and no cookie, and no permission by CORS."""
    answer = await site.ask(method, "/token", **headers)
    assert answer.status == (403 if method == "POST" else 405)
    assert "set-cookie" not in answer.headers
    assert b"eyJ" not in answer.body
    assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_foreign_name_of_this_machine_gets_no_token(nursery: trio.Nursery) -> None:
    """A page whose foreign name means this machine (DNS rebinding) gets no token: its origin is not in the list."""
    allowed = AllowedOrigins([f"http://{HOST}"])
    site = await open_site(
        nursery, allow_page=lambda headers: allowed.allow(headers.get("origin", ""), headers["host"])
    )
    foreign = await site.token(Origin="http://evil.example", Host="evil.example", Sec_Fetch_Site="same-origin")
    assert (foreign.status, foreign.body, "set-cookie" in foreign.headers) == (
        403,
        b"this origin is not allowed\n",
        False,
    )
    assert (await site.token(Origin=f"http://{HOST}")).status == 200
    nursery.cancel_scope.cancel()


async def test_page_gets_a_token(site: Site) -> None:
    """A browser's page and a program that is no browser get a token. The text of a refusal says how to ask."""
    assert (await site.token(Sec_Fetch_Site="same-origin", Origin=f"http://{HOST}:{site.port}")).status == 200
    assert (await site.token()).status == 200
    assert b"POST with the header X-Requested-With" in (await site.ask("POST", "/token")).body


async def test_no_token_without_authentication(nursery: trio.Nursery) -> None:
    """If the pages have no tokens for visitors, ``/token`` returns null and sets no cookie."""
    site = await open_site(nursery, tokens=None)
    answer = await site.token()
    assert answer.json == {"token": None}
    assert "set-cookie" not in answer.headers
    assert (await site.get("/config")).json["tokens"] is False
    nursery.cancel_scope.cancel()
