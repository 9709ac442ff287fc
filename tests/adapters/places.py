"""An app that is served over plain HTTP in two places, on real sockets: the port of its own pages, and uvicorn."""

from __future__ import annotations

import http.client
import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import trio
from _frame_schemas import check_event, check_frame
from fastapi import FastAPI
from hosting.uvicorn_thread import PATIENCE, UvicornThread

from transport import Credentials, Greenroom, NotAuthenticated, User
from transport.adapters.routes import routes
from transport.hosting import lifespan, mount, mount_events
from transport.http._server import PageServer, serve_http
from transport.http.pages import pages
from transport.server.listening import listen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from actors import Run
    from transport._running import Server

T = TypeVar("T")
PLACES = ("native", "uvicorn")
TOKEN = "token-of-"


class Revocable:
    """An auth function: the token names the user. Expired and foreign ones are refused."""

    def __init__(self) -> None:
        self.expires: dict[str, float] = {}
        """The times at which tokens expire, in seconds since 1970."""
        self.asked = 0

    async def __call__(self, credentials: Credentials) -> User:
        """Return the user of a token."""
        self.asked += 1
        token = credentials.token or ""
        if not token.startswith(TOKEN):
            raise NotAuthenticated("a token is required" if not token else "the token is not valid")
        return User(token.removeprefix(TOKEN).partition("/")[0], self.expires.get(token), token)


def make_app(**settings: object) -> tuple[Greenroom, Revocable]:
    """Return an app with agents that say something, ask something, and wait."""
    auth = Revocable()
    app = Greenroom(auth=auth, log="memory:", settings={"drain_seconds": 0, "slow_seconds": 30, **settings})

    @app.agent
    async def says(run: Run, count: int) -> int:
        for number in range(count):
            await run.output(f"{number} ")
        return count

    @app.agent
    async def asks(run: Run, prompt: str) -> Any:
        return await run.ask_user(prompt)

    @app.agent
    async def waits(run: Run) -> None:
        await run.ask_user("for ever")

    @app.agent
    async def big(run: Run, size: int) -> None:
        for _ in range(20):
            await run.output("x" * size)

    return app, auth


class Place:
    """A running server, and the ways to it for a client that blocks."""

    def __init__(self, app: Greenroom, auth: Revocable, port: int, prefix: str) -> None:
        self.app, self.auth = app, auth
        self.port, self.prefix = port, prefix
        self.ws_port, self.ws_path = port, "/ws"
        self.run: Callable[..., Any]
        """Awaits a trio function in the server."""

    @property
    def server(self) -> Server:
        """The running server."""
        return self.app.server

    def ask(
        self, method: str, path: str, body: object = None, *, user: str | None = "ann", **headers: str
    ) -> http.client.HTTPResponse:
        """Send a request and return the head of its response. An underscore in a header stands for a hyphen."""
        return self._send(method, path, body, user, headers).getresponse()

    def begin(self, method: str, path: str, body: object = None, **headers: str) -> http.client.HTTPConnection:
        """Send a request and do not wait for its response. The connection is closed with the place."""
        return self._send(method, path, body, "ann", headers)

    def _send(
        self, method: str, path: str, body: object, user: str | None, headers: dict[str, str]
    ) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        # Without it, http.client leaves the socket open after the response.
        fields = {"Connection": "close", **{name.replace("_", "-"): value for name, value in headers.items()}}
        if user is not None:
            fields.setdefault("Authorization", f"Bearer {TOKEN}{user}")
        data: bytes | None = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            fields.setdefault("Content-Type", "application/json")
        connection.request(method, self.prefix + path, data, fields)
        return connection

    def json(self, method: str, path: str, body: object = None, **options: Any) -> tuple[int, Any]:
        """Send a request. Return its status and its JSON body, None if it has none."""
        with self.ask(method, path, body, **options) as response:
            text = response.read()
            return response.status, json.loads(text) if text else None

    def command(self, name: str, session: str = "s1", id_: str = "c-1", query: str = "", **args: object) -> Any:
        """Send a command and return its reply."""
        frame = {"type": "command", "id": id_, "name": name, "args": args}
        _, reply = self.json("POST", f"/commands?session={session}{query}", frame)
        return reply

    def poll(self, query: str = "", session: str = "s1", **options: Any) -> tuple[str, list[Any]]:
        """Do one poll. Return the position and the frames."""
        status, answer = self.json("GET", f"/events?session={session}{query}", Accept="application/json", **options)
        assert status == 200, answer
        for frame in answer["frames"]:
            check_frame(frame)
        return answer["position"], answer["frames"]

    @contextmanager
    def stream(self, query: str = "", session: str = "s1", **options: Any) -> Iterator[Stream]:
        """Open a stream."""
        response = self.ask("GET", f"/events?session={session}{query}", Accept="text/event-stream", **options)
        assert response.status == 200, response.read()
        stream = Stream(response)
        try:
            yield stream
        finally:
            response.close()


@attrs.frozen
class Message:
    """A message of a stream."""

    event: str
    data: Any
    id: str
    retry: int | None = None


class Stream:
    """Server-sent events, as the standard reads them (WHATWG HTML, section 9.2.6)."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.response = response
        self.last_id = ""
        self.comments = 0

    def next(self, event: str | None = None) -> Message:
        """Return the next message, of an event if one is given. Fail at the end of the stream."""
        found = self.maybe(event)
        assert found is not None, "the stream has ended"
        return found

    def maybe(self, event: str | None = None) -> Message | None:
        """Return the next message, or None at the end of the stream."""
        fields: dict[str, str] = {}
        while line := self.response.readline():
            text = line.decode().rstrip("\n")
            if text.startswith(":"):
                self.comments += 1
            elif text:
                name, _, value = text.partition(":")
                fields[name] = value.removeprefix(" ")
            elif "data" in fields:
                self.last_id = fields.get("id", self.last_id)
                retry = int(fields["retry"]) if "retry" in fields else None
                message = Message(fields.get("event", "message"), json.loads(fields["data"]), self.last_id, retry)
                (check_event if message.event == "message" else check_frame)(message.data)
                if event is None or message.event == event:
                    return message
                fields = {}
            else:
                fields = {}
        return None

    def until(self, type_: str) -> list[Any]:
        """Return the events up to the first one of a type."""
        found: list[Any] = []
        while not found or found[-1]["type"] != type_:
            found.append(self.next("message").data)
        return found


class _NativeThread:
    """The endpoint and the pages of an app, in a thread with a trio of its own."""

    def __init__(self, app: Greenroom) -> None:
        self._app = app
        self._ready = threading.Event()
        self._token: trio.lowlevel.TrioToken
        self._stop: trio.Event
        self.ws_port = self.port = 0

    @contextmanager
    def running(self) -> Iterator[_NativeThread]:
        thread = threading.Thread(target=trio.run, args=(self._serve,))
        thread.start()
        try:
            assert self._ready.wait(PATIENCE)
            yield self
        finally:
            self._token.run_sync_soon(self._stop.set)
            thread.join(PATIENCE)
            assert not thread.is_alive()

    async def _serve(self) -> None:
        self._token, self._stop = trio.lowlevel.current_trio_token(), trio.Event()
        app = self._app
        async with app.running(port=0) as server, trio.open_nursery() as nursery:
            listeners = listen("127.0.0.1", 0)
            site = pages(
                ws_url=server.url,
                agent="says",
                health=server.health,
                sessions=routes(lambda: server, has_auth=app.auth is not None, own_port=True),
            )
            page_server = PageServer(site, app.settings, failures=server.sessions.failures)
            await nursery.start(serve_http, page_server, listeners)
            self.ws_port = int(server.url.rpartition(":")[2].strip("/"))
            self.port = listeners[0].getsockname()[1]
            self._ready.set()
            await self._stop.wait()
            await server.endpoint.say_goodbye(PATIENCE)
            nursery.cancel_scope.cancel()

    def run(self, function: Callable[..., Awaitable[T]], *arguments: object) -> T:
        """Await a trio function in the server."""
        return trio.from_thread.run(function, *arguments, trio_token=self._token)


@contextmanager
def served(place: str, **settings: object) -> Iterator[Place]:
    """Serve the app of :func:`make_app` in one of the places."""
    app, auth = make_app(**settings)
    if place == "native":
        with _NativeThread(app).running() as native:
            found = Place(app, auth, native.port, "")
            found.ws_port, found.ws_path, found.run = native.ws_port, "/", native.run
            yield found
        return
    api = FastAPI(lifespan=lifespan(app))
    mount(api, "/ws", app)
    mount_events(api, "/ws", app)
    with UvicornThread(api, timeout_graceful_shutdown=0).running() as uvicorn:
        found = Place(app, auth, uvicorn.port, "/ws")

        async def on_trio(function: Callable[..., Awaitable[T]], *arguments: object) -> T:
            host = app.server.host.asyncio
            assert host is not None
            return await host.run(function, *arguments)

        found.run = lambda function, *arguments: uvicorn.run(on_trio, function, *arguments)
        yield found
