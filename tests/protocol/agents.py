"""The agents that the protocol's tests drive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import trio

from transport import Credentials, Forbidden, Greenroom, NotAuthenticated, TokenExpired, User

if TYPE_CHECKING:
    from actors import EventLog, Run


@attrs.frozen
class Order:
    """An input with a shape."""

    item: str
    count: int


@attrs.frozen
class Wall:
    """An input that says how much to emit."""

    count: int
    size: int


def greenroom(log: str | EventLog = "memory:", auth: Any = None, **settings: object) -> Greenroom:
    """A server with the agents below."""
    app = Greenroom(log=log, auth=auth, settings={"drain_seconds": 0, **settings})
    for agent in (echo, wait, emit, order, nothing, ask, parent, typist):
        app.agent(agent)
    return app


async def by_name(credentials: Credentials) -> User:
    """Takes the token for the user's name, unless it says what is wrong with it."""
    wrong = {
        None: NotAuthenticated("a token is required"),
        "expired": TokenExpired("the token has expired"),
        "forbidden": Forbidden("not you"),
        "broken": ZeroDivisionError("a secret of the server"),
    }
    if credentials.token in wrong:
        raise wrong[credentials.token]
    return User(str(credentials.token))


async def echo(run: Run, text: str) -> str:
    await run.output(text)
    return text


async def wait(run: Run) -> None:
    """Goes on until it is stopped."""
    await run.thinking("waiting")
    await trio.sleep_forever()


async def emit(run: Run, wall: Wall) -> int:
    """Emits as much as it is told."""
    for number in range(wall.count):
        await run.output(f"{number}:".ljust(wall.size, "x"))
    return wall.count


async def order(run: Run, order: Order) -> str:
    await run.thinking("ordering")
    return f"{order.count} x {order.item}"


async def nothing(run: Run) -> None:
    """Takes no input."""


async def ask(run: Run) -> object:
    return await run.ask_user("Which one?", schema={"type": "string"})


async def parent(run: Run, text: str) -> Any:
    return await run.call_agent("echo", text)


async def typist(run: Run) -> None:
    run.typing(active=True)
    await run.thinking("typing")
    await trio.sleep_forever()
