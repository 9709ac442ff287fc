"""A web application with a mounted endpoint, its users by cookie, and its clients."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from _frame_schemas import check_frame
from fastapi import FastAPI, HTTPException
from protocol.agents import make_app
from starlette.requests import HTTPConnection  # noqa: TC002 - FastAPI reads the annotations
from starlette.testclient import TestClient, WebSocketDenialResponse

from transport import AuthUnavailable, Forbidden, NotAuthenticated, User
from transport.hosting import lifespan, mount

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp

    from transport import Greenroom


def by_cookie(connection: HTTPConnection) -> str:
    """Return the user that the cookie names, or refuse the request in the way that the cookie names."""
    name = connection.cookies.get("sid")
    refusals: dict[str | None, Exception] = {
        None: HTTPException(401, "log in first"),
        "banned": HTTPException(403, "banned"),
        "unknown": NotAuthenticated("no such user"),
        "stranger": Forbidden("not you"),
        "unavailable": AuthUnavailable("the directory is down"),
        "teapot": HTTPException(418),
        "broken": ZeroDivisionError("a secret of the server"),
    }
    if name in refusals:
        raise refusals[name]
    return str(name)


async def by_cookie_async(connection: HTTPConnection) -> User:
    """Do the same as :func:`by_cookie`, as an async function."""
    await anyio.lowlevel.checkpoint()
    return User(by_cookie(connection))


class ByCookie:
    """Does the same as :func:`by_cookie`, as an object."""

    async def __call__(self, connection: HTTPConnection) -> str:
        """Return the user that the cookie names."""
        return by_cookie(connection)


def lazily(connection: HTTPConnection) -> Any:
    """Return an awaitable of the user, as a partial of an async function does."""
    return by_cookie_async(connection)


def greet(client: TestClient, path: str = "/ws", **options: Any) -> dict[str, Any]:
    """Say hello over a mounted endpoint. Return the first frame."""
    with client.websocket_connect(path, subprotocols=["greenroom.v1"], **options) as socket:
        socket.send_json({"type": "hello", "session": "s1"})
        frame: dict[str, Any] = socket.receive_json()
        check_frame(frame)
        return frame


def refused(client: TestClient, path: str = "/ws", **options: Any) -> tuple[int, str]:
    """Ask for a WebSocket that is refused. Return the HTTP status and the text."""
    with pytest.raises(WebSocketDenialResponse) as raised, client.websocket_connect(path, **options):
        pass
    return raised.value.status_code, raised.value.text.strip()


def web_application(user: Any = by_cookie) -> tuple[FastAPI, Greenroom]:
    """Return a FastAPI application with a mounted endpoint, and the app."""
    app = make_app()
    api = FastAPI(lifespan=lifespan(app))
    mount(api, "/ws", app, user=user)
    return api, app


@pytest.fixture(params=["asyncio", "trio"])
def client_of(request: pytest.FixtureRequest) -> Callable[[ASGIApp], TestClient]:
    """Return Starlette's test client in either library."""
    return partial(TestClient, backend=request.param)
