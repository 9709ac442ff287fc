"""An inspector of a small app, and a client that sends it requests from any address, without a socket."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import orjson
import trio
import trio.testing
from starlette.applications import Starlette

from transport import Greenroom
from transport.inspector import Inspector
from transport.inspector.app import routes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from starlette.types import ASGIApp, Message

    from actors import Run
    from transport import Settings
    from transport._running import Server
    from transport.inspector._access import OperatorFunction

TOKEN = "an operator's secret of many letters".replace(" ", "-")
OTHER = "203.0.113.7"
"""The address of a client that is not on this machine."""
PATIENCE = 60


@attrs.frozen
class Answer:
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body of the response, read as JSON."""
        return orjson.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a refusal."""
        return str(self.json["error"]["code"])


async def ask(  # noqa: PLR0913 - the parts of a request
    app: ASGIApp,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    *,
    client: str = "127.0.0.1",
    server: str = "127.0.0.1",
    scheme: str = "http",
    root_path: str = "",
) -> Answer:
    """Return the response of an ASGI application to a request."""
    path, _, query = path.partition("?")
    fields = {"host": "127.0.0.1:8766", **{name.lower(): value for name, value in (headers or {}).items()}}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": scheme,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": root_path,
        "headers": [(name.encode(), value.encode()) for name, value in fields.items() if value],
        "client": (client, 5555),
        "server": (server, 8766),
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], found, b"".join(message.get("body", b"") for message in sent[1:]))


@attrs.frozen
class Site:
    """The inspector of a running app at ``/inspect``."""

    server: Server
    app: ASGIApp

    async def get(self, path: str, headers: Mapping[str, str] | None = None, **options: Any) -> Answer:
        """Return the response to a GET request below ``/inspect/``."""
        return await ask(self.app, "GET", f"/inspect/{path}", headers, **options)

    async def json(self, path: str) -> Any:
        """Return the JSON of the response to a GET request, which must be served."""
        answer = await self.get(path)
        assert answer.status == 200, answer.body
        return answer.json

    async def post(
        self, path: str, content: object, headers: Mapping[str, str] | None = None, **options: Any
    ) -> Answer:
        """Return the response to a POST request of a page of the inspector."""
        usual = {"content-type": "application/json", "x-requested-with": "greenroom"}
        return await ask(
            self.app, "POST", f"/inspect/{path}", {**usual, **(headers or {})}, orjson.dumps(content), **options
        )


def make_app(**settings: Any) -> Greenroom:
    """Return an app with agents that end at once, wait for ever, ask their user, or fail."""
    app = Greenroom(log="memory:", settings=settings)

    @app.agent
    async def quick(run: Run, text: str) -> str:
        await run.output(text)
        return text

    @app.agent
    async def slow(run: Run) -> None:
        await run.call_tool(dig, place="garden")

    @app.agent
    async def nested(run: Run) -> None:
        await run.call_agent("slow")

    @app.agent
    async def curious(run: Run) -> Any:
        return await run.ask_user("really?")

    @app.agent
    async def broken(run: Run) -> None:
        raise ValueError("no agent is perfect, password=hunter2")

    return app


async def dig(place: str) -> None:
    """Wait for ever, as a tool does that is slow."""
    await trio.sleep_forever()


@asynccontextmanager
async def inspected(operator: OperatorFunction | None = None, **settings: Any) -> AsyncGenerator[Site]:
    """Run an app with these settings, and its inspector."""
    async with make_app(**settings).running(port=0) as server:
        yield site_of(server, operator)
        await server.end_runs(0)


def site_of(
    server: Server, operator: OperatorFunction | None = None, settings: Settings | None = None, *, worker: int = 0
) -> Site:
    """Return the inspector of a running server, with other settings if they are given."""
    inspector = Inspector(lambda: server, settings or server.endpoint.settings, operator, worker=worker)
    return Site(server, Starlette(routes=routes(inspector, "/inspect")))


async def started(site: Site, user: str, session: str, agent: str, given: object = None) -> str:
    """Start a run, wait until it waits for something or has ended, and return its id."""
    handle = await site.server.sessions.get(user, session)
    run = await handle.start(agent, given)
    await trio.testing.wait_all_tasks_blocked()
    return run


async def cancelled(site: Site, user: str, session: str, run: str) -> bool:
    """Cancel a run through the inspector, and return whether it was there."""
    answer = await site.post("api/runs/cancel", {"user": user, "session": session, "run": run})
    assert answer.status == 200, answer.body
    return bool(answer.json["cancelled"])
