"""An ASGI application that lets a handler answer requests in the app's run of trio, on trio and on asyncio."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import anyio
from starlette.requests import ClientDisconnect, Request

from actors import ConfigError
from transport.adapters.answers import Answer, Refused
from transport.adapters.exchange import Exchange, Handler
from transport.adapters.request import HttpRequest
from transport.adapters.response import Response
from transport.asgi.call import call_in
from transport.asgi.request import MountedRequest, is_reachable
from transport.asgi.user import FoundUser
from transport.protocol import close_codes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

    from transport._running import Server
    from transport.asgi.user import UserFunction

_TOKENS_IN_URL = {"token", "access_token"}
_OWN_SITES = {"same-origin", "none"}
"""Values of ``Sec-Fetch-Site`` of requests that no page of another origin has sent."""
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "authorization, content-type, last-event-id, cache-control",
    "Access-Control-Max-Age": "600",
}


def application(  # noqa: PLR0913 - by keyword only
    find: Callable[[], Server],
    handler: Handler,
    *,
    has_auth: bool,
    user: UserFunction | None = None,
    own_port: bool = False,
    whole_conversations: bool = False,
) -> ASGIApp:
    """Return the ASGI application for a route. It lets ``handler`` answer each request.

    Args:
        find: Returns the running server, or raises ConfigError if there is none.
        handler: The handler.
        has_auth: Whether the app has an auth function.
        user: The web application's own function that finds the user of a request. By default the app's auth function
            decides about the token in the header ``Authorization``.
        own_port: Whether the route is on the port of the server's own pages. Then the pages that may connect by
            WebSocket may send requests, and no others. In a web application, pages of the same host may, too.
        whole_conversations: Whether clients send whole conversations, so that a body may have ``http_body_bytes``. If
            not, it may have ``max_frame_bytes``, as a message by WebSocket.
    """
    return Application(
        find, handler, has_auth=has_auth, user=user, own_port=own_port, whole_conversations=whole_conversations
    )


class Application:
    """The ASGI application of :func:`application`. It serves HTTP requests only."""

    def __init__(  # noqa: PLR0913 - by keyword only
        self,
        find: Callable[[], Server],
        handler: Handler,
        *,
        has_auth: bool,
        user: UserFunction | None,
        own_port: bool,
        whole_conversations: bool,
    ) -> None:
        self._find = find
        self._whole_conversations = whole_conversations
        self._handler = handler
        self._has_auth = has_auth
        self._user = user
        self._is_strict = own_port or self._knows_no_users

    @property
    def _knows_no_users(self) -> bool:
        return self._user is None and not self._has_auth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        server = self._find()
        if self._knows_no_users and is_reachable(scope):
            raise ConfigError(
                "other machines can reach this address, and without authentication every user is the same: give the "
                "mount a function user=… that finds the user of a request, or Greenroom(auth=…) an auth function"
            )
        asked = MountedRequest(scope, None if self._user is None else FoundUser(self._user), strict=self._is_strict)
        call = call_in(server.host)
        settings = server.endpoint.settings
        response = Response(send, call, settings.slow_seconds, _cors(asked))
        try:
            request = await self._admitted(server, asked, scope, receive)
        except ClientDisconnect:
            return
        except Refused as refused:
            answer = self._handler.refusal(refused)
        else:
            if isinstance(request, HttpRequest):
                exchange = Exchange(server, request, asked, response, call)
                await call.serve(response, lambda: exchange.run(self._handler), receive)
                return
            answer = request
        await _send(send, response, answer)

    async def _admitted(
        self, server: Server, asked: MountedRequest, scope: Scope, receive: Receive
    ) -> HttpRequest | Answer:
        """Return the request with its body, or the answer to a preflight. Raise ``Refused`` if it is not served."""
        request = Request(scope, receive)
        if not server.endpoint.allow_client(asked.address):
            raise Refused(close_codes.OVERLOADED, "connections from this address come too fast")
        if self._is_foreign(asked) or not server.endpoint.single_requests.allow_page(
            self._with_page(asked).asked.headers
        ):
            raise Refused(close_codes.FORBIDDEN, "this origin is not allowed")
        if request.method == "OPTIONS":
            return Answer(204, headers=_PREFLIGHT if "origin" in asked.headers else {"Allow": "GET, POST, OPTIONS"})
        if not _TOKENS_IN_URL.isdisjoint(request.query_params):
            raise Refused(close_codes.BAD_FRAME, "never put a token into the URL: send the header Authorization")
        body = b"" if request.method == "GET" else await self._body(request, server)
        query = dict(request.query_params.items())
        return HttpRequest(request.method, scope.get("path_params", {}), query, dict(asked.headers), body)

    def _is_foreign(self, asked: MountedRequest) -> bool:
        """Return whether a browser says that a page of another origin has sent the request."""
        return "origin" not in asked.headers and asked.headers.get("sec-fetch-site", "none") not in _OWN_SITES

    def _with_page(self, asked: MountedRequest) -> MountedRequest:
        """Return the request with the origin of its page, which browsers leave out if a page reads from its own host.

        *A foreign page's own name can be made to mean this machine (DNS rebinding). Such a page could read what every
        user may read, since its GET has no* ``Origin`` *, and by plain HTTP no* ``Sec-Fetch-Site`` *.*
        """
        page = asked.headers.get("sec-fetch-site") == "same-origin"
        if "origin" in asked.headers or not self._is_strict or not (page or self._knows_no_users):
            return asked
        return asked.from_own_page()

    async def _body(self, request: Request, server: Server) -> bytes:
        """Return the body of a request. Raise ``Refused`` if it is too large, or does not come in time."""
        settings, body = server.endpoint.settings, bytearray()
        limit = settings.http_body_bytes if self._whole_conversations else settings.max_frame_bytes
        with anyio.move_on_after(settings.hello_seconds):
            async with aclosing(request.stream()) as pieces:
                async for piece in pieces:
                    body += piece
                    if len(body) > limit:
                        raise Refused(close_codes.MESSAGE_TOO_BIG, f"a request may have {limit} bytes")
            return bytes(body)
        raise Refused(close_codes.NO_HELLO, "no whole request came in time", 408)


def _cors(asked: MountedRequest) -> Mapping[str, str]:
    """Return the header fields by which a browser lets a page of an allowed origin read the response.

    They do no harm for other pages: their requests are refused. A page of the server itself needs none.
    """
    if "origin" not in asked.asked.headers:
        return {"Vary": "Origin"}
    return {
        "Vary": "Origin",
        "Access-Control-Allow-Origin": asked.asked.headers["origin"],
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": "Retry-After",
    }


async def _send(send: Send, response: Response, answer: Answer) -> None:
    """Send a whole response in the web server's library, without a way into trio."""
    for message in response.messages(answer):
        await send(message)
