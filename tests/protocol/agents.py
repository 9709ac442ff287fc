"""Agents and an auth function for the tests of the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import trio

from transport import AuthUnavailable, Credentials, Forbidden, Greenroom, NotAuthenticated, TokenExpired, User

if TYPE_CHECKING:
    from actors import EventLog, Run


@attrs.frozen
class Order:
    """An agent's input with two fields."""

    item: str
    count: int


@attrs.frozen
class EmitRequest:
    """The number and the size of the outputs that :func:`emit` makes."""

    count: int
    size: int


def make_app(log: str | EventLog = "memory:", auth: Any = None, **settings: object) -> Greenroom:
    """Return an app with the agents below."""
    settings = {"drain_seconds": 0, "handshakes_per_address_per_second": 10_000, **settings}
    app = Greenroom(log=log, auth=auth, settings=settings)
    for agent in (echo, wait, emit, order, nothing, ask, parent, typist):
        app.agent(agent)
    return app


async def auth_by_name(credentials: Credentials) -> User:
    """Return the user that the token names, or raise the refusal that it names."""
    wrong = {
        None: NotAuthenticated("a token is required"),
        "wrong": NotAuthenticated("the token is not valid: no"),
        "stranger": NotAuthenticated("unknown"),
        "expired": TokenExpired("the token has expired"),
        "forbidden": Forbidden("not you"),
        "unavailable": AuthUnavailable("the directory is down"),
        "broken": ZeroDivisionError("a secret of the server"),
    }
    if credentials.token in wrong:
        raise wrong[credentials.token]
    return User(str(credentials.token))


async def echo(run: Run, text: str) -> str:
    """Output the text and return it."""
    await run.output(text)
    return text


async def wait(run: Run) -> None:
    """Run until cancelled."""
    await run.thinking("waiting")
    await trio.sleep_forever()


async def emit(run: Run, request: EmitRequest) -> int:
    """Make as many outputs as requested, of the requested size."""
    for number in range(request.count):
        await run.output(f"{number}:".ljust(request.size, "x"))
    return request.count


async def order(run: Run, order: Order) -> str:
    """Return the order as text."""
    await run.thinking("ordering")
    return f"{order.count} x {order.item}"


async def nothing(run: Run) -> None:
    """Return at once. Takes no input."""


async def ask(run: Run) -> object:
    """Ask the user and return the answer."""
    return await run.ask_user("Which one?", schema={"type": "string"})


async def parent(run: Run, text: str) -> Any:
    """Run ``echo`` as a sub-agent and return its result."""
    return await run.call_agent("echo", text)


async def typist(run: Run) -> None:
    """Type until cancelled."""
    run.typing(active=True)
    await run.thinking("typing")
    await trio.sleep_forever()
