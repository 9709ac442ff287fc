"""The endpoint as an ASGI application, on the web server's own port."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from actors import ConfigError
from actors.failures import shown
from transport.app import Greenroom
from transport.asgi.call import call_in
from transport.asgi.request import MountedRequest, is_reachable
from transport.asgi.user import FoundUser, checked_function, found_user
from transport.hosting._handed import HandedWire, taken_from
from transport.hosting._wire_asgi import AsgiWire
from transport.protocol.handshake import Reject

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from actors.loop.asyncio_host import AsyncioHost
    from transport._running import Server
    from transport.asgi.user import UserFunction
    from transport.hosting._handed import Taken

_TOO_FAST = Reject(503, "connections from this address come too fast")
_NO_WEBSOCKET = b"this is the address of a WebSocket\n"


def endpoint(app: Greenroom, *, user: UserFunction | None = None) -> ASGIApp:
    """Return the WebSocket endpoint as an ASGI application, for a web framework that :func:`mount` does not know.

    Args:
        app: The app. It must run in the same event loop as the web server: see :func:`~transport.hosting.lifespan`.
        user: A function that finds the user of each request: see :func:`mount`.

    Raises:
        ConfigError: An argument cannot be used.
    """
    if not isinstance(app, Greenroom):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may have no types
        raise ConfigError(f"the endpoint serves a Greenroom, not {shown(app)}")
    return MountedEndpoint(app, checked_function(user))


class MountedEndpoint:
    """The ASGI application of :func:`endpoint`."""

    def __init__(self, app: Greenroom, user: UserFunction | None) -> None:
        self._app = app
        self._user = user
        self._authenticate = None if user is None else found_user

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection. A plain HTTP request is told that this is the address of a WebSocket."""
        if scope["type"] != "websocket":
            await _refuse_http(send)
            return
        server = self._app.server
        request = self._request(scope)
        if not server.endpoint.allow_client(request.address):
            for message in request.refusal(_TOO_FAST):
                await send(message)
            return
        if server.host.asyncio is not None and (taken := taken_from(scope)) is not None:
            await self._serve_taken(server, server.host.asyncio, request, taken)
            return
        await receive()  # websocket.connect
        call = call_in(server.host)
        wire = AsgiWire(request, send, call, self._app.settings)
        await call.serve(wire, partial(server.endpoint.serve_wire, wire, self._authenticate), receive)

    async def _serve_taken(self, server: Server, host: AsyncioHost, request: MountedRequest, taken: Taken) -> None:
        """Serve the connection on its own socket, which the web server has given away."""
        from transport.asgi.asyncio_call import AsyncioCall  # noqa: PLC0415 - it imports asyncio

        call = AsyncioCall(host)
        upgraded = call.event()
        try:
            wire = HandedWire(request, taken, call, upgraded, self._app.settings)
        except OSError:  # the client has left
            return
        # The connection's own coroutine is the task: each coroutine above it would be held for as long.
        server.host.nursery.start_soon(server.endpoint.begin_wire(wire, self._authenticate))
        if self._user is not None:
            await call.follow(wire, upgraded)

    def _request(self, scope: Scope) -> MountedRequest:
        strangers = self._user is None and self._app.auth is None
        if strangers and is_reachable(scope):
            raise ConfigError(
                "other machines can reach this address, and without authentication every user is the same: give "
                "mount(…, user=…) a function that finds the user of a request, or Greenroom(auth=…) an auth function"
            )
        return MountedRequest(scope, None if self._user is None else FoundUser(self._user), strict=strangers)


async def _refuse_http(send: Send) -> None:
    headers: list[Any] = [(b"content-type", b"text/plain; charset=utf-8"), (b"upgrade", b"websocket")]
    await send({"type": "http.response.start", "status": 426, "headers": headers})
    await send({"type": "http.response.body", "body": _NO_WEBSOCKET})
