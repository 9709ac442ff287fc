"""A FastAPI application under uvicorn and clients on asyncio, all in one event loop."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import uvicorn
from _both_loops import on_asyncio_loops
from fastapi import FastAPI

from actors import AgentCompleted, AgentOutput, Event, Run
from transport import Credentials, Greenroom, NotAuthenticated, User
from transport.client.asyncio import connect
from transport.errors import ConnectionClosedForGood
from transport.hosting import lifespan, mount

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from transport.client.asyncio import Client


async def by_token(credentials: Credentials) -> User:
    """Return the user that the token names."""
    if credentials.token not in {"ann", "bob"}:
        raise NotAuthenticated("log in first")
    return User(credentials.token)


def make_api() -> FastAPI:
    """Return a web application with two agents: one answers, and one waits until it is cancelled."""
    app = Greenroom(log="memory:", auth=by_token)

    @app.agent
    async def greeter(run: Run, words: str) -> None:
        for word in words.split():
            await run.output(f"{run.user}: {word}")

    @app.agent
    async def patient(run: Run) -> None:
        await run.output("waiting")
        await trio.sleep_forever()

    api = FastAPI(lifespan=lifespan(app))
    mount(api, "/ws", app)
    return api


@asynccontextmanager
async def uvicorn_serving(api: FastAPI) -> AsyncGenerator[str]:
    """Serve a web application in the running loop. The block gets the URL of its endpoint."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(api, log_level="warning"))
        task = asyncio.create_task(server.serve(sockets=[listening]))
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}/ws"
        server.should_exit = True
        await task


async def until_end(client: Client) -> list[Event]:
    """Return the events from now on, up to the end of a run."""
    seen: list[Event] = []
    async for event in client.events():
        assert isinstance(event, Event)
        seen.append(event)
        if isinstance(event, AgentCompleted):
            return seen
    raise AssertionError("the stream ended before the run did")


@on_asyncio_loops
async def test_two_users_refresh_and_cancel() -> None:
    """Two users in sessions of one name see their own events only. A refresh loses no event, and a run is cancelled."""
    async with uvicorn_serving(make_api()) as url:
        async with connect(url, "s1", token="ann") as ann, connect(url, "s1", token="bob") as bob:
            waiting = await bob.start("patient")
            await ann.start("greeter", "one two three")
            first = [await anext(ann.events()) for _ in range(2)]
            position = ann.position
            assert await bob.cancel(waiting)
            ended = await until_end(bob)
            assert isinstance(ended[-1], AgentCompleted)
            assert ended[-1].status == "cancelled"
            assert {event.run_id for event in ended} == {waiting}
        async with connect(url, "s1", token="ann", resume=position) as ann:  # the page was loaded again
            rest = await until_end(ann)
        seen = [*first, *rest]
        assert [event.seq for event in seen if isinstance(event, Event)] == [1, 2, 3, 4, 5]
        texts = [event.text for event in seen if isinstance(event, AgentOutput)]
        assert texts == ["ann: one", "ann: two", "ann: three"]


@on_asyncio_loops
async def test_unknown_user_is_told() -> None:
    """A client whose token names no user ends with 4501 and the reason."""
    async with uvicorn_serving(make_api()) as url, connect(url, "s1", token="eve") as client:
        with pytest.raises(ConnectionClosedForGood) as ended:
            await anext(client.events())
        assert (ended.value.code, ended.value.reason) == (4501, "log in first")
