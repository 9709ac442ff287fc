"""The access to the inspector: the token, the login, this machine, and every way around them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from _inspector import OTHER, TOKEN, Answer, ask, inspected, site_of
from starlette.exceptions import HTTPException

from actors import ConfigError
from transport import Forbidden, NotAuthenticated, Settings
from transport._operators import MAX_GUESSERS, WRONG_TOKENS_BURST, Guessers
from transport.inspector._audit import REFUSED_LINES_BURST, RefusedLines
from transport.inspector._cookies import LOGIN_SECONDS, MAX_LOGOUTS, Cookies
from transport.inspector._routes import SHOWS
from transport.settings import MIN_OPERATOR_TOKEN

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

BEARER = {"authorization": f"Bearer {TOKEN}"}


def cookie_in(answer: Answer) -> str:
    """Return the cookie in a response, as the browser sends it back."""
    return answer.headers["set-cookie"].split(";")[0]


def audit(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines of the audit log."""
    return [record.getMessage() for record in caplog.records if record.name == "greenroom.audit"]


# Without a token: this machine alone


@pytest.mark.parametrize("host", ["127.0.0.1:8766", "localhost:8766", "localhost", "[::1]:8766", "127.0.0.1"])
async def test_this_machine_needs_no_token(host: str) -> None:
    """Without ``operator_token``, a request from this machine by a name of this machine is served."""
    async with inspected() as site:
        answer = await site.get("api/me", {"host": host})
        assert (answer.status, answer.json["who"], answer.json["by"]) == (200, "loopback", "loopback")


@pytest.mark.parametrize(
    ("headers", "options"),
    [
        ({}, {"client": OTHER}),
        ({}, {"server": "192.0.2.1"}),
        ({}, {"client": ""}),
        ({"host": "evil.example:8766"}, {}),
        ({"host": "127.0.0.1.evil.example"}, {}),
        ({"host": ""}, {}),
        ({"x-forwarded-for": "127.0.0.1"}, {}),
        ({"x-forwarded-host": "localhost"}, {}),
        ({"x-forwarded-proto": "https"}, {}),
        ({"x-forwarded-port": "443"}, {}),
        ({"cf-connecting-ip": "127.0.0.1"}, {}),
        ({"forwarded": "for=127.0.0.1"}, {}),
        ({"x-real-ip": "127.0.0.1"}, {}),
        ({"via": "1.1 proxy"}, {}),
        ({"authorization": f"Bearer {TOKEN}"}, {"client": OTHER}),
    ],
    ids=str,
)
async def test_elsewhere_needs_a_token(headers: dict[str, str], options: dict[str, Any]) -> None:
    """Without ``operator_token``, other machines, other host names (DNS rebinding) and proxies get 403 everywhere."""
    async with inspected() as site:
        for path in ("api/overview", "api/runs", "inspect.js", ""):
            answer = await site.get(path, headers, **options)
            assert (answer.status, b"operator_token" in answer.body) == (403, True)
        assert (await site.post("api/login", {"token": ""}, headers, **options)).status == 403


@pytest.mark.parametrize(
    "settings", [{"forwarded_allow": ("10.0.0.0/8",)}, {"forwarded_allow": "::1", "proxy_protocol": True}]
)
async def test_server_behind_proxies_needs_a_token(settings: dict[str, Any]) -> None:
    """With ``forwarded_allow``, the address of a client says nothing: also this machine needs a token."""
    async with inspected(**settings) as site:
        answer = await site.get("api/me")
        assert (answer.status, answer.code) == (403, "off")


async def test_server_that_others_reach_needs_a_token() -> None:
    """A server that listens on other addresses than loopback needs a token, also for this machine."""
    async with inspected() as site:
        other = site_of(site.server, settings=Settings(host="0.0.0.0"))  # noqa: S104 - nothing listens there
        answer = await other.get("api/me")
        assert (answer.status, answer.code) == (403, "off")


# With a token


async def test_token_is_required() -> None:
    """With ``operator_token``, each route needs it, also from this machine."""
    async with inspected(operator_token=TOKEN) as site:
        for path in SHOWS:
            answer = await site.get(f"api/{path}")
            assert (answer.status, answer.code) == (401, "not_logged_in")
        for path in ("runs/cancel", "connections/close", "logout"):
            assert (await site.post(f"api/{path}", {})).status == 401
        served = await site.get("api/me", BEARER, client=OTHER, server="192.0.2.1")
        assert (served.status, served.json["who"], served.json["can_log_out"]) == (200, "token", False)


@pytest.mark.parametrize("given", ["", "wrong", TOKEN[:-1], TOKEN + "x", "ü" * 30, "\x00"])
async def test_wrong_token(given: str, caplog: pytest.LogCaptureFixture) -> None:
    """A wrong token is 401, as a header and at the login. The audit log has the attempt, but not the token."""
    caplog.set_level(logging.INFO, "greenroom.audit")
    async with inspected(operator_token=TOKEN) as site:
        answer = await site.get("api/me", {"authorization": f"Bearer {given}"}, client=OTHER)
        assert (answer.status, answer.code) == (401, "wrong_token")
        answer = await site.post("api/login", {"token": given}, client=OTHER)
        assert (answer.status, answer.code, "set-cookie" in answer.headers) == (401, "wrong_token", False)
    assert audit(caplog) == [
        f"refused GET api/me from {OTHER}: wrong_token",
        f"refused POST api/login from {OTHER}: wrong_token",
    ]


async def test_guessing_is_slowed_down() -> None:
    """After too many wrong tokens of an address, its next one is not looked at, even if it is right. Others go on."""
    async with inspected(operator_token=TOKEN) as site:
        for _ in range(WRONG_TOKENS_BURST):
            assert (await site.post("api/login", {"token": "guess"}, client=OTHER)).status == 401
        answer = await site.post("api/login", {"token": TOKEN}, client=OTHER)
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (429, "too_many_attempts", "1")
        assert (await site.get("api/me", BEARER, client=OTHER)).status == 429
        assert (await site.get("api/me", BEARER, client="203.0.113.8")).status == 200


def test_guesses_come_back_with_time() -> None:
    """A second later one more guess is allowed. Addresses of one IPv6 network count together."""
    now = 0.0
    guessers = Guessers(lambda: now)
    for number in range(WRONG_TOKENS_BURST):
        assert guessers.may_try(f"2001:db8::{number}")
        guessers.note(f"2001:db8::{number}")
    assert not guessers.may_try("2001:db8::99")
    now = 1.0
    assert guessers.may_try("2001:db8::99")


def test_guessers_are_bounded() -> None:
    """Only so many addresses are remembered: the one that was wrong longest ago is forgotten first."""
    guessers = Guessers(lambda: 0.0)
    for number in range(MAX_GUESSERS + 5):
        guessers.note(f"address {number}")
    assert len(guessers) == MAX_GUESSERS


# The login of a browser


async def test_login_sets_a_cookie(caplog: pytest.LogCaptureFixture) -> None:
    """The right token gets a cookie that scripts cannot read and other sites cannot send. It ends with the logout."""
    caplog.set_level(logging.INFO, "greenroom.audit")
    async with inspected(operator_token=TOKEN) as site:
        answer = await site.post("api/login", {"token": TOKEN})
        attributes = answer.headers["set-cookie"].lower()
        assert all(text in attributes for text in ("httponly", "samesite=strict", f"max-age={int(LOGIN_SECONDS)}"))
        assert ("secure" in attributes, "path" in attributes, TOKEN in attributes) == (False, False, False)
        cookie = {"cookie": cookie_in(answer)}
        me = (await site.get("api/me", cookie)).json
        assert (me["who"], me["can_log_out"]) == ("token", True)
        assert (await site.post("api/logout", {}, cookie)).status == 200
        assert (await site.get("api/me", cookie)).status == 401
        secure = await site.post("api/login", {"token": TOKEN}, scheme="https")
        assert "secure" in secure.headers["set-cookie"].lower()
    assert audit(caplog)[:2] == [
        "operator token from 127.0.0.1: log in: done",
        "operator token from 127.0.0.1: log out: done",
    ]
    assert TOKEN not in caplog.text


def test_cookie_ends() -> None:
    """A cookie is accepted for LOGIN_SECONDS, by every process with the same token, and by none with another token."""
    cookies = Cookies(TOKEN)
    made = cookies.make(1_000.5)
    assert cookies.accepts(made, 1_000 + LOGIN_SECONDS - 0.5)
    assert not cookies.accepts(made, 1_000 + LOGIN_SECONDS)
    assert Cookies(TOKEN).accepts(made, 1_001)
    assert not Cookies(TOKEN + "x").accepts(made, 1_001)


@pytest.mark.parametrize("forged", ["", ".", "..", "9999999999.aa", "9999999999.aa.bb", "x.y.ü", "9" * 5000])
def test_forged_cookie(forged: str) -> None:
    """A value that was not made with the token is no cookie, and neither is a changed one."""
    cookies = Cookies(TOKEN)
    made = cookies.make(0)
    assert not cookies.accepts(forged, 1)
    assert not cookies.accepts("9" + made, 1)


def test_logouts_are_bounded() -> None:
    """Only so many ended cookies are remembered."""
    cookies = Cookies(TOKEN)
    made = [cookies.make(0) for _ in range(MAX_LOGOUTS + 1)]
    for each in made:
        cookies.end(each)
    assert [cookies.accepts(each, 1) for each in (made[0], made[1], made[-1])] == [True, False, False]


@pytest.mark.parametrize("token", ["x" * (MIN_OPERATOR_TOKEN - 1), "x" * 20 + " y", "ü" * 20, ""])
def test_bad_operator_token_is_an_error(token: str) -> None:
    """A token that is too short, or that no header can carry, is an error that does not show it."""
    with pytest.raises(ConfigError, match="operator_token must be at least 16") as raised:
        Settings(operator_token=token)
    assert not token or token not in str(raised.value)
    assert TOKEN not in repr(Settings(operator_token=TOKEN))
    assert Settings(operator_token="x" * MIN_OPERATOR_TOKEN).operator_token


# Requests of other sites


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"x-requested-with": ""},
    ],
    ids=str,
)
async def test_other_sites_can_do_nothing(headers: dict[str, str]) -> None:
    """A request with an effect is refused if it may come from a page of another site, also with a cookie."""
    async with inspected(operator_token=TOKEN) as site:
        cookie = cookie_in(await site.post("api/login", {"token": TOKEN}))
        handle = await site.server.sessions.get("alice", "s1")
        run = await handle.start("slow")
        target = {"user": "alice", "session": "s1", "run": run}
        answer = await site.post("api/runs/cancel", target, {"cookie": cookie, **headers})
        assert (answer.status, answer.code) == (403, "cross_site")
        assert (await site.post("api/login", {"token": TOKEN}, headers)).status == 403
        assert [each.runs for each in site.server.sessions.of()] == [1]


@pytest.mark.parametrize("site_of_page", ["cross-site", "same-site"])
async def test_other_sites_cannot_let_requests_wait(site_of_page: str) -> None:
    """A request of another site's page is refused, also if it only reads. A link to the page itself may be followed."""
    async with inspected() as site:
        headers = {"sec-fetch-site": site_of_page}
        answer = await site.get("api/session/events?user=alice&session=s1&after=0&wait=25", headers)
        assert (answer.status, answer.code) == (403, "cross_site")
        assert (await site.get("", headers)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://127.0.0.1:8766"},
        {"origin": "https://ops.example", "host": "ops.example"},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ],
    ids=str,
)
async def test_own_pages_can(headers: dict[str, str]) -> None:
    """A page of the same host is served, also behind a proxy that ends TLS and is not known to the server."""
    async with inspected(operator_token=TOKEN) as site:
        answer = await site.post("api/connections/close", {"connection": "c-none"}, {**BEARER, **headers})
        assert (answer.status, answer.json["closed"]) == (200, False)


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("text/plain", b"{}", 400),
        ("application/json", b"[]", 400),
        ("application/json", b"{", 400),
        ("application/json", b'{"connection": 7}', 400),
        ("application/json", b'{"connection": ""}', 400),
        ("application/json", b" " * 70_000, 413),
        ("application/json; charset=utf-8", b'{"connection": "c-none"}', 200),
    ],
)
async def test_bodies(content_type: str, body: bytes, status: int) -> None:
    """A body must be a JSON object of limited size. Another content type could be sent by a form of another site."""
    async with inspected() as site:
        headers = {"content-type": content_type, "x-requested-with": "x"}
        answer = await ask(site.app, "POST", "/inspect/api/connections/close", headers, body)
        assert answer.status == status


# The operators of a web application


async def test_function_of_the_web_application_decides() -> None:
    """With a function for operators, neither the token nor this machine counts, and there is no login."""

    async def operator(connection: HTTPConnection) -> str:
        match connection.headers.get("x-who"):
            case None:
                raise NotAuthenticated("log in first")
            case "bob":
                raise Forbidden("not you")
            case "eve":
                raise HTTPException(403, "nor you")
            case who:
                return who

    async with inspected(operator, operator_token=TOKEN) as site:
        answers = [await site.get("api/me", headers) for headers in ({}, BEARER, {"x-who": "bob"}, {"x-who": "eve"})]
        assert [(each.status, each.json["error"]["message"]) for each in answers] == [
            (401, "log in first"),
            (401, "log in first"),
            (403, "not you"),
            (403, "nor you"),
        ]
        me = await site.get("api/me", {"x-who": "carol", "x-forwarded-for": "1.2.3.4"}, client=OTHER)
        assert (me.json["who"], me.json["by"]) == ("carol", "host")
        assert (await site.post("api/login", {"token": TOKEN}, {"x-who": "carol"})).status == 404


async def test_failing_function_lets_nobody_in(caplog: pytest.LogCaptureFixture) -> None:
    """If the function fails, the request is 500 with a reference, and the log has the failure."""

    async def operator(connection: HTTPConnection) -> str:
        raise RuntimeError("secret detail")

    async with inspected(operator) as site:
        answer = await site.get("api/overview")
        assert (answer.status, b"secret" in answer.body) == (500, False)
        assert answer.json["error"]["message"].split()[-1] in caplog.text


# The form of answers


async def test_headers_of_answers() -> None:
    """Each answer tells the browser to store nothing, to run no foreign code, and to show it in no frame."""
    async with inspected() as site:
        for path in ("api/overview", "api/none", "none.js"):
            headers = (await site.get(path)).headers
            assert headers["cache-control"] == "no-store"
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "api/runs/cancel", 405),
        ("POST", "api/runs", 405),
        ("PUT", "api/runs", 405),
        ("DELETE", "", 405),
        ("GET", "api/", 404),
        ("GET", "api/../settings", 404),
        ("GET", "..%2f..%2fsettings.py", 404),
        ("GET", "../app.py", 404),
        ("GET", "page/../app.py", 404),
        ("GET", ".hidden.js", 404),
        ("GET", "__init__.py", 404),
    ],
)
async def test_wrong_paths(method: str, path: str, status: int) -> None:
    """A route with another method is 405; a path of nothing, and any way out of the page's folder, is 404."""
    async with inspected() as site:
        answer = await ask(site.app, method, f"/inspect/{path}", {"x-requested-with": "x"})
        assert answer.status == status


async def test_path_without_slash() -> None:
    """The path without its slash leads to the one with it, by a relative address that holds behind any proxy."""
    async with inspected() as site:
        answer = await ask(site.app, "GET", "/inspect")
        assert (answer.status, answer.headers["location"]) == (307, "inspect/")


def test_refused_lines_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """Refused requests that come too fast are counted, and the next line has their number."""
    now = 0.0
    lines = RefusedLines(lambda: now)
    for number in range(REFUSED_LINES_BURST + 50):
        lines.note(OTHER, f"POST {number}", "off")
    assert len(audit(caplog)) == REFUSED_LINES_BURST
    now = 1.0
    lines.note(OTHER, "POST again", "off")
    assert audit(caplog)[-1] == f"refused POST again from {OTHER}: off (and 50 more before)"
