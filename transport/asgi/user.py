"""The user of a mounted connection, as the web application's own function finds it from the request."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import trio
from anyio import get_cancelled_exc_class
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from actors import ConfigError
from actors.failures import class_name, shown
from transport.asgi.request import RequestHeaders
from transport.auth import User
from transport.errors import AuthUnavailable, Forbidden, NotAuthenticated

if TYPE_CHECKING:
    from starlette.types import Scope

    from transport.auth import Credentials

UserFunction: TypeAlias = Callable[[HTTPConnection], "User | str | Awaitable[User | str]"]
"""A function that finds the user of a request: of one for a WebSocket, and by ``Depends`` of any other request, too.

It refuses the request by :class:`~transport.NotAuthenticated` or :class:`~transport.Forbidden`, or by Starlette's (and
FastAPI's) ``HTTPException`` with status 401 or 403. A function that is not async runs in a thread, as in FastAPI.
"""

_REFUSALS: dict[int, type[Exception]] = {401: NotAuthenticated, 403: Forbidden}


class FoundUser:
    """The user of one request. The function runs in the web server's library, and the connection asks in trio."""

    __slots__ = ("_found", "_function", "_is_found")

    def __init__(self, function: UserFunction) -> None:
        self._function = function
        self._found: object = AuthUnavailable("the request has ended")
        """The result of the function, or the exception with which it ended."""
        self._is_found = trio.Event()

    async def find(self, scope: Scope) -> None:
        """Call the function, in the library of the web server. Only a cancellation is raised.

        *A refusal is kept for the hello. As the answer to the upgrade, browsers would tell it to no page: the page gets
        1006, as if the network had failed, and tries again for ever.*
        """
        try:
            self._found = await call_function(self._function, HTTPConnection(scope))
        except HTTPException as error:
            refusal = _REFUSALS.get(error.status_code)
            self._found = error if refusal is None else refusal(str(error.detail))
        except get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: BLE001 - the application's own failure, for the log and the client
            self._found = error
        finally:
            self._is_found.set()

    async def get(self) -> User:
        """Wait for the user, in trio, and return it. If the function has raised an exception, raise it."""
        await self._is_found.wait()
        found = self._found
        if isinstance(found, BaseException):
            raise found
        if isinstance(found, str):
            return User(found)
        if not isinstance(found, User):
            raise TypeError(f"user must return a User or a str, not {class_name(found)}")
        return found


async def found_user(credentials: Credentials) -> User:
    """Return the user of a mounted connection: the auth function of all mounts that have a function of their own."""
    headers = credentials.headers
    if not isinstance(headers, RequestHeaders) or headers.user is None:
        raise NotAuthenticated(
            "the user of this connection is found from its request: connect again in place of a token"
        )
    return await headers.user.get()


def checked_function(function: Any, argument: str = "user") -> UserFunction | None:
    """Return the argument ``user`` of a mount, or another one of this kind.

    Raises:
        ConfigError: It cannot be called with one argument, the request.
    """
    if function is None:
        return None
    if not callable(function):
        raise ConfigError(f"{argument} must be the function itself, without Depends(…), not {shown(function)}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigError(
            f"{argument} must return the user, but {shown(function)} yields: give a function that returns"
        )
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        raise ConfigError(
            f"{argument} must take one argument, the request as starlette.requests.HTTPConnection: "
            f"{shown(function)}: {error}"
        ) from None
    except ValueError:  # a function in C has no signature
        pass
    return cast("UserFunction", function)


async def call_function(function: UserFunction, connection: HTTPConnection) -> object:
    """Return the result of the function, called in the library of the web server. Its exceptions are raised."""
    return await _called(_overridden(function, connection.scope), connection)


def _overridden(function: UserFunction, scope: Scope) -> UserFunction:
    """Return the function that replaces ``function`` in a test: FastAPI's ``dependency_overrides``."""
    overrides: dict[object, UserFunction] = getattr(scope.get("app"), "dependency_overrides", None) or {}
    return overrides.get(function, function)


async def _called(function: UserFunction, connection: HTTPConnection) -> object:
    called: Any = function
    if inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(getattr(called, "__call__", None)):  # noqa: B004 - an object that is called
        return await called(connection)
    # In a tuple, since trio refuses a function in a thread if its result can be awaited.
    (found,) = await run_in_threadpool(lambda: (called(connection),))
    return await found if inspect.isawaitable(found) else found
