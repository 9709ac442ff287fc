"""The endpoint at a path of a web application: who the user is, and which pages may connect."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from fastapi import Depends
from hosting.asgi_client import PATIENCE, AsgiClient, call, called, welcomed
from hosting.mounted import ByCookie, by_cookie, by_cookie_async, client_of, greet, lazily, web_application
from protocol.agents import make_app
from starlette.requests import HTTPConnection  # noqa: TC002 - FastAPI reads the annotations
from starlette.testclient import TestClient

from actors import ConfigError
from transport import User
from transport.hosting import endpoint, hosted

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = ["client_of"]

pytestmark = pytest.mark.filterwarnings("ignore:The anyio pytest plugin")


# The user


@pytest.mark.parametrize("user", [by_cookie, by_cookie_async, ByCookie(), lazily])
def test_user_is_found_by_cookie(user: Any, client_of: Callable[..., TestClient]) -> None:
    """A function that finds the user by a cookie counts for the WebSocket, and as a dependency of other routes."""
    api, _ = web_application(user)

    @api.get("/me")
    async def me(who: Any = Depends(user)) -> str:  # noqa: B008 - as FastAPI's users write it
        return who.id if isinstance(who, User) else str(who)

    with client_of(api) as client:
        client.cookies.set("sid", "alice")
        assert greet(client)["type"] == "welcome"
        if user is not lazily:
            assert client.get("/me").json() == "alice"


@pytest.mark.parametrize(
    ("cookie", "code", "reason"),
    [
        (None, 4501, "log in first"),
        ("banned", 4502, "banned"),
        ("unknown", 4501, "no such user"),
        ("stranger", 4502, "not you"),
        ("unavailable", 4005, "authentication is not possible now: the directory is down"),
        ("teapot", 4006, None),
        ("broken", 4006, None),
    ],
)
def test_refusal_of_user_is_told_after_the_upgrade(cookie: str | None, code: int, reason: str | None) -> None:
    """A refusal is told as a goodbye with its code: a page learns nothing about an upgrade that is refused."""
    api, _ = web_application()
    with TestClient(api) as client:
        if cookie is not None:
            client.cookies.set("sid", cookie)
        frame = greet(client)
    assert (frame["type"], frame["code"]) == ("goodbye", code)
    assert "secret" not in frame["reason"]
    assert reason is None or frame["reason"] == reason


@pytest.mark.parametrize("wrong", [None, 7, "", b"alice"])
def test_wrong_result_of_user_function_is_an_error(wrong: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A function that returns neither a User nor an id, such as None, lets nobody in: 4006, and a line in the log."""
    api, _ = web_application(lambda _: wrong)
    with TestClient(api) as client:
        assert greet(client)["code"] == 4006
    assert "user must return a User or a str" in caplog.text or "of a user must be a string" in caplog.text


def test_user_is_found_before_the_hello() -> None:
    """The function runs as soon as the request was accepted. A client that says nothing waits for nothing later."""
    app = make_app()

    async def story() -> None:
        asked = anyio.Event()

        async def user(connection: HTTPConnection) -> str:
            assert connection.url.path == "/ws"
            asked.set()
            return "alice"

        async with hosted(app), called(endpoint(app, user=user)):
            with anyio.fail_after(PATIENCE):
                await asked.wait()

    anyio.run(story)


def test_user_runs_in_the_library_of_the_web_server(client_of: Callable[..., TestClient]) -> None:
    """An async function can await anything of the web server's library. Another one runs in a thread."""
    threads: list[bool] = []

    async def in_task(_: HTTPConnection) -> str:
        await anyio.lowlevel.checkpoint()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 0)
        return "alice"

    def in_thread(_: HTTPConnection) -> str:
        threads.append(threading.current_thread() is threading.main_thread())
        anyio.from_thread.run(anyio.sleep, 0)
        return "alice"

    for user in (in_task, in_thread):
        with client_of(web_application(user)[0]) as client:
            assert greet(client)["type"] == "welcome"
    assert threads == [False]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_user_that_takes_too_long_is_an_error(backend: str) -> None:
    """A function that has not ended ``auth_seconds`` after the hello is cancelled, and the client gets 4006."""
    app, cancelled = make_app(auth_seconds=0.01), []

    async def user(_: HTTPConnection) -> str:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(True)
        return "alice"

    async def story() -> None:
        async with hosted(app):
            async with called(endpoint(app, user=user)) as client:
                client.hello()
                assert (await client.frame("goodbye"))["code"] == 4006
            assert cancelled == [True]

    anyio.run(story, backend=backend)


def test_fresh_token_does_not_replace_the_user_of_a_request() -> None:
    """A connection whose user was found from its request refuses the frame ``token``."""
    app = make_app()

    async def story() -> None:
        async with hosted(app), welcomed(endpoint(app, user=lambda _: "alice")) as client:
            client.say("token", token="alice")
            assert (await client.frame("goodbye"))["code"] == 4501

    anyio.run(story)


def test_own_auth_counts_without_a_function() -> None:
    """Without ``user``, the app's own auth function gets the client's token, and the headers of the request."""
    seen: list[Any] = []

    async def auth(credentials: Any) -> User:
        seen.append((credentials.token, credentials.headers["cookie"], credentials.address))
        return User("alice")

    app = make_app(auth=auth)

    async def story() -> None:
        headers = [(b"host", b"localhost"), (b"Cookie", b"a=b")]
        async with hosted(app), called(endpoint(app), headers=headers, client=("10.1.2.3", 1)) as client:
            client.hello(token="t")
            await client.frame("welcome")

    anyio.run(story)
    assert seen == [("t", "a=b", "10.1.2.3")]


def test_overridden_dependency_counts() -> None:
    """FastAPI's ``dependency_overrides``, by which tests replace the user, count for the WebSocket, too."""
    api, _ = web_application()
    api.dependency_overrides[by_cookie] = lambda _: "bob"
    with TestClient(api) as client:
        assert greet(client)["type"] == "welcome"


def test_strangers_need_an_address_of_this_machine() -> None:
    """Without any authentication, a server that other machines can reach serves nobody, and says what to do."""
    app = make_app()

    async def story() -> None:
        async with hosted(app):
            async with welcomed(endpoint(app)):
                pass
            async with welcomed(endpoint(app), server=("/run/web.sock", None)):
                pass
            with pytest.raises(ConfigError, match=r"mount\(…, user=…\)"):
                await call(endpoint(app), AsgiClient(), server=("10.0.0.1", 80))

    anyio.run(story)


# Pages


@pytest.mark.parametrize(
    ("origin", "changes", "allowed"),
    [
        pytest.param("http://shop.example", {}, True, id="same-host"),
        pytest.param("http://shop.example:80", {}, True, id="default-port"),
        pytest.param("HTTP://Shop.Example", {}, True, id="upper-case"),
        pytest.param("https://shop.example", {}, False, id="other-scheme"),
        pytest.param("https://shop.example", {"scheme": "wss"}, True, id="tls-at-the-server-or-its-proxy"),
        pytest.param("http://shop.example:8000", {}, False, id="other-port"),
        pytest.param("http://evil.example", {}, False, id="other-host"),
        pytest.param("null", {}, False, id="null"),
        pytest.param("http://", {"headers": [(b"host", b"")]}, False, id="no-host"),
        pytest.param("https://a.example", {}, True, id="listed"),
        pytest.param(None, {}, True, id="no-browser"),
    ],
)
def test_pages_of_the_same_host_may_connect(origin: str | None, changes: dict[str, Any], *, allowed: bool) -> None:
    """A page may connect if it is from the scheme, host and port of the request, or from ``allowed_origins``.

    For a page that may not, the web application's function is not called.
    """
    app, asked = make_app(allowed_origins=["https://a.example"]), []

    def user(_: HTTPConnection) -> str:
        asked.append(True)
        return "alice"

    async def story() -> None:
        headers = changes.get("headers", [(b"host", b"shop.example")])
        headers = headers if origin is None else [*headers, (b"origin", origin.encode())]
        async with hosted(app), called(endpoint(app, user=user), **{**changes, "headers": headers}) as client:
            await client.until(lambda: client.sent)
            first = client.sent[0]
            assert first["type"] == ("websocket.accept" if allowed else "websocket.http.response.start")
            assert first.get("status") == (None if allowed else 403)
            client.hello()
            if allowed:
                await client.frame("welcome")
        assert bool(asked) is allowed

    anyio.run(story)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [("localhost:8000", True), ("127.0.0.1:8000", True), ("[::1]:8000", True), ("rebound.example:8000", False)],
)
def test_page_with_a_name_for_this_machine_is_foreign(host: str, *, allowed: bool) -> None:
    """Without any authentication, a page is from this server only if its host is this machine by its own names.

    A foreign page's own name can be made to mean this machine (DNS rebinding). It would read every session.
    """
    app = make_app()

    async def story() -> None:
        headers = [(b"host", host.encode()), (b"origin", f"http://{host}".encode())]
        async with hosted(app), called(endpoint(app), headers=headers) as client:
            await client.until(lambda: client.sent)
            assert (client.sent[0]["type"] == "websocket.accept") is allowed

    anyio.run(story)


def test_forwarded_headers_are_the_web_servers() -> None:
    """The client's address is the one that the web server found. The header of a proxy is not read a second time."""
    app = make_app(forwarded_allow=["10.0.0.0/8"], max_connections_per_address=1)

    async def story() -> None:
        first, other = ([(b"host", b"localhost"), (b"x-forwarded-for", b"192.0.2.%d" % number)] for number in (1, 2))
        application = endpoint(app, user=lambda _: "alice")
        async with (
            hosted(app),
            welcomed(application, client=("10.0.0.7", 1), headers=first),
            called(application, client=("10.0.0.7", 2), headers=other) as second,
        ):
            await second.until(lambda: second.sent)
            assert second.sent[0]["status"] == 503

    anyio.run(story)
