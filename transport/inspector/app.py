"""The inspector as an ASGI application, for a path of the server's own pages or of a web application."""

from __future__ import annotations

import logging
import re
import secrets
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from actors import FailureKind, GreenroomError
from actors.failures import log_failure
from transport.inspector import _audit
from transport.inspector._access import Access, address_of, require_own_reader, require_same_site
from transport.inspector._answers import HEADERS, Refused, json_answer, refusal
from transport.inspector._cookies import LOGIN_SECONDS, cookie_name
from transport.inspector._inspected import CurrentServer
from transport.inspector._query import Query
from transport.inspector._routes import ACTIONS, SHOWS, Asked, answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    from transport._running import Server
    from transport.inspector._access import Operator, OperatorFunction
    from transport.inspector._routes import Handler
    from transport.settings import Settings

logger = logging.getLogger("greenroom.http")

PAGE_FILES = Path(__file__).parent / "page"
MAX_BODY = 64 * 1024
"""Maximum size of the body of a request, in bytes. The port of the server's own pages has its own limit besides."""
REST = "rest"
"""Name of the parameter of the inspector's route: the path behind the mount."""
_GUESSES = {"wrong_token", "too_many_attempts"}
"""Codes of refusals that the audit log has in any case. Others only for a request that has an effect."""
_FILE = re.compile(r"[a-z0-9_-][a-z0-9_.-]*\.(html|js|css|svg|png|json)")


class Inspector:
    """The inspector of one app.

    Args:
        find: Returns the running server, or raises ConfigError if there is none.
        settings: The settings of the app.
        operator: A function of the web application that finds the operator of a request. It returns the name, or
            raises a refusal. By default ``operator_token`` decides.
        worker: The number of this process among the workers of a server. 0 for a process alone.
    """

    def __init__(
        self,
        find: Callable[[], Server],
        settings: Settings,
        operator: OperatorFunction | None = None,
        *,
        worker: int = 0,
    ) -> None:
        self._current = CurrentServer(find, worker)
        self._access = Access(settings, operator)
        self._refusals = _audit.RefusedLines()
        self._files = StaticFiles(directory=PAGE_FILES, check_dir=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. The route that leads here has the parameter :data:`REST`, or none for its own path."""
        request = Request(scope, receive)
        response = await self._response(request, scope["path_params"].get(REST))
        await response(scope, receive, send)

    async def _response(self, request: Request, path: str | None) -> Response:
        try:
            if path is None or not path.startswith("api/"):
                return await self._page(request, path)
            return await self._api(request, path.removeprefix("api/"))
        except Refused as refused:
            if request.method == "POST" or refused.code in _GUESSES:
                self._refusals.note(address_of(request), f"{request.method} {path}", refused.code)
            return refusal(refused)
        except ClientDisconnect:
            raise
        except GreenroomError as error:
            return self._failed(error, 503, "unavailable")
        except Exception as error:  # noqa: BLE001 - the border: no error of the inspector reaches the web application
            return self._failed(error, 500, "internal")

    async def _page(self, request: Request, path: str | None) -> Response:
        """Return a file of the page. Without the slash at the end, the browser is sent to the path with it."""
        self._access.require_page(request)
        if request.method not in {"GET", "HEAD"}:
            raise Refused(405, "method", "a file is read by GET", Allow="GET, HEAD")
        if path is None:  # relative, so that it also holds behind a proxy that has changed the path
            name = request.scope["path"].rsplit("/", 1)[1]
            return RedirectResponse(f"{name}/", 307, HEADERS)
        name = path or "index.html"
        if not _FILE.fullmatch(name) or not (PAGE_FILES / name).is_file():
            raise Refused(404, "not_found", "there is no such file")
        response = await self._files.get_response(name, request.scope)
        # The browser asks again each time; the ETag saves the body.
        response.headers.update({**HEADERS, "Cache-Control": "no-cache"})
        return response

    async def _api(self, request: Request, name: str) -> Response:
        if request.method == "POST":
            return await self._post(request, name)
        if request.method != "GET":
            raise Refused(405, "method", "only GET and POST are served", Allow="GET, POST")
        require_own_reader(request)
        operator = await self._access.operator(request)
        handler = SHOWS.get(name)
        if handler is None:
            raise _unknown(name, ACTIONS, "POST")
        return await self._answer(handler, operator, Query(dict(request.query_params.items())))

    async def _post(self, request: Request, name: str) -> Response:
        require_same_site(request)
        if name == "login" and self._access.has_login:
            return await self._log_in(request)
        operator = await self._access.operator(request)
        if name == "logout" and self._access.has_login:
            return self._log_out(request, operator)
        handler = ACTIONS.get(name)
        if handler is None:
            raise _unknown(name, SHOWS, "GET")
        return await self._answer(handler, operator, Query.of_body(await _body(request)))

    async def _answer(self, handler: Handler, operator: Operator, query: Query) -> Response:
        inspected = self._current.get()
        asked = Asked(operator, query, inspected, can_log_out=bool(operator.cookie))
        host = inspected.server.host
        if host.asyncio is None:
            return json_answer(await answer(handler, asked))
        return json_answer(await host.asyncio.run(answer, handler, asked))

    async def _log_in(self, request: Request) -> Response:
        given = Query.of_body(await _body(request)).given.get("token")
        cookie = self._access.log_in(request, given if isinstance(given, str) else "")
        _audit.note_login(address_of(request))
        response = json_answer({"who": "token"})
        # Without a path: the browser then sends it to this folder alone, also if a proxy has changed the path.
        response.set_cookie(
            cookie_name(request),
            cookie,
            max_age=int(LOGIN_SECONDS),
            path=None,
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return response

    def _log_out(self, request: Request, operator: Operator) -> Response:
        self._access.log_out(operator)
        _audit.note_action(operator, "log out", "", "done")
        response = json_answer({})
        response.set_cookie(cookie_name(request), "", max_age=0, path=None, httponly=True, samesite="strict")
        return response

    def _failed(self, error: Exception, status: int, code: str) -> Response:
        """Log an error with a reference number, and return the answer that names it."""
        reference = secrets.token_hex(4)
        log_failure(logger, "a request to the inspector failed, reference %s", reference, error=error)
        inspected = self._current.known
        if inspected is not None:
            what = "a request to the inspector failed"
            inspected.server.sessions.failures.add(FailureKind.HTTP, what, error, reference=reference)
        return refusal(Refused(status, code, f"the inspector failed, reference {reference}"))


async def _body(request: Request) -> bytes:
    """Return the body of a request with JSON. Raise ``Refused`` for another type, or if it is too large."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(400, "bad_args", "the body must be application/json")
    body = b""
    async with aclosing(request.stream()) as pieces:
        async for piece in pieces:
            body += piece
            if len(body) > MAX_BODY:
                raise Refused(413, "bad_args", f"the body may have {MAX_BODY} bytes")
    return body


def _unknown(name: str, others: dict[str, Any], method: str) -> Refused:
    if name in others:
        return Refused(405, "method", f"this is called by {method}", Allow=method)
    return Refused(404, "not_found", "there is no such route")


def routes(inspector: Inspector, path: str) -> list[Route]:
    """Return the routes of an inspector at ``path``, which must not end with a slash."""
    return [
        Route(path, inspector, name="greenroom inspector", include_in_schema=False),
        Route(f"{path}/{{{REST}:path}}", inspector, name="greenroom inspector files", include_in_schema=False),
    ]
