"""A web application with ``lifespan(app)``: in the tools for tests, and with a lifespan of its own."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import threading
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import httpx2
import pytest
import trio
import uvicorn
from fastapi import FastAPI, Request
from hypercorn.config import Config as HypercornConfig
from starlette.testclient import TestClient

from actors import ConfigError, LogUnavailable, Run
from transport import Greenroom
from transport.hosting import hosted, lifespan, mount
from transport.hosting._lifespan import asked_workers, configured_workers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

TESTS = Path(__file__).parents[1]
BACKENDS: tuple[Literal["asyncio", "trio"], ...] = ("asyncio", "trio")


class Site:
    """A web application around an app with the agent ``count``, and the events of its own lifespan."""

    def __init__(self, then: Any = None, log: str = "memory:") -> None:
        self.app = Greenroom(log=log, settings={"drain_seconds": 0.05})
        self.app.agent(count)
        self.api = FastAPI(lifespan=lifespan(self.app, then=then))
        self.api.post("/runs/{number}")(self.start)
        self.api.get("/state")(self.state)
        mount(self.api, "/ws", self.app)

    async def start(self, number: int) -> str:
        """Start a run."""

        async def begin() -> str:
            return await (await self.app.sessions.get("anonymous", "s1")).start("count", number)

        host = self.app.server.host.asyncio
        return await (begin() if host is None else host.run(begin))

    async def state(self, request: Request) -> str:
        """Return the state that the application's own lifespan has made."""
        return str(request.state.database)


async def count(run: Run, number: int) -> None:
    """Agent that emits this number of outputs."""
    for each in range(number):
        await run.output(str(each))


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Any:
    """Return the event loop's library, and check that no thread is left behind."""
    threads = set(threading.enumerate())
    yield request.param
    # Trio keeps idle threads for later calls, and they end by themselves.
    assert {each for each in threading.enumerate() if "Trio thread" not in each.name} <= threads


def test_test_client(backend: Literal["asyncio", "trio"]) -> None:
    """With Starlette's TestClient, on either library, runs start and a WebSocket gets their events."""
    site = Site()
    for _ in range(2):
        with TestClient(site.api, backend=backend) as client:
            with client.websocket_connect("/ws", subprotocols=["greenroom.v1"]) as socket:
                socket.send_json({"type": "hello", "session": "s1"})
                assert socket.receive_json()["type"] == "welcome"
                assert client.post("/runs/2").status_code == 200
                types: list[str] = []
                while "agent_completed" not in types:
                    frame = socket.receive_json()
                    types += [event["type"] for event in frame.get("events", ())]
                assert types == ["agent_started", "agent_output", "agent_output", "agent_completed"]


def test_without_the_lifespan(backend: Literal["asyncio", "trio"]) -> None:
    """Without the lifespan each call and each connection raises a ConfigError that says so."""
    client = TestClient(Site().api, backend=backend)
    with pytest.raises(ConfigError, match=r"lifespan=transport\.hosting\.lifespan\(app\)"):
        client.post("/runs/1")
    with pytest.raises(ConfigError, match=r"lifespan=transport\.hosting\.lifespan\(app\)"):
        with client.websocket_connect("/ws", subprotocols=["greenroom.v1"]):
            pass


def on_each(backend: str, story: Callable[[], Awaitable[None]]) -> None:
    """Run ``story`` in a loop of this library."""
    if backend == "trio":
        trio.run(story)
    else:
        asyncio.run(story())  # type: ignore[arg-type]  # each story is a coroutine function


def test_asgi_transport(backend: str) -> None:
    """httpx's ASGITransport, which runs no lifespan, calls the application inside ``hosted(app)``."""
    site = Site()

    async def story() -> None:
        transport = httpx2.ASGITransport(site.api)
        async with hosted(site.app), httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            assert (await client.post("/runs/1")).status_code == 200

    on_each(backend, story)


def test_own_lifespan(backend: Literal["asyncio", "trio"]) -> None:
    """``then`` runs inside: the app runs when it begins, its state is the application's, and it ends after the runs."""
    seen: list[str] = []

    @asynccontextmanager
    async def then(api: FastAPI) -> AsyncGenerator[dict[str, str]]:
        assert site.app.server.sessions.of("anonymous") == ()
        seen.append("began")
        yield {"database": api.title}
        seen.append("ended")

    async def endless(run: Run) -> None:
        seen.append("run began")
        try:
            await trio.sleep_forever()
        finally:
            seen.append("run ended")

    site = Site(then)
    site.app.agent(name="endless")(endless)

    with TestClient(site.api, backend=backend) as client:
        assert client.get("/state").json() == "FastAPI"
        with client.websocket_connect("/ws", subprotocols=["greenroom.v1"]) as socket:
            socket.send_json({"type": "hello", "session": "s1"})
            assert socket.receive_json()["type"] == "welcome"
            socket.send_json({"type": "command", "id": "1", "name": "run.start", "args": {"agent": "endless"}})
            while "run began" not in seen:
                socket.receive_json()
    assert seen == ["began", "run began", "run ended", "ended"]


def test_own_lifespan_that_fails(backend: Literal["asyncio", "trio"]) -> None:
    """If ``then`` fails at its begin or its end, its error comes out unchanged, and the app has ended."""
    for at_begin in (True, False):
        wrong = ValueError("no database")

        @asynccontextmanager
        async def then(_: FastAPI) -> AsyncGenerator[None]:
            if at_begin:  # noqa: B023 - it runs in this turn of the loop
                raise wrong  # noqa: B023 - as above
            yield
            raise wrong  # noqa: B023 - as above

        site = Site(then)
        with pytest.raises(ValueError, match="no database") as raised, TestClient(site.api, backend=backend):
            pass
        assert raised.value is wrong
        with pytest.raises(ConfigError, match="not running"):
            _ = site.app.server


@pytest.mark.parametrize("then", [5, "then"])
def test_then_that_is_no_lifespan(then: Any) -> None:
    """``then`` must be a function. One without @asynccontextmanager is refused when the application starts."""
    with pytest.raises(ConfigError, match="then must be a lifespan: a function with @asynccontextmanager, not "):
        lifespan(Greenroom(log="memory:"), then=then)

    async def plain(_: FastAPI) -> AsyncGenerator[None]:
        yield

    with pytest.raises(ConfigError, match="put @asynccontextmanager above"), TestClient(Site(plain).api):
        pass


@pytest.mark.parametrize(
    ("workers", "log", "refused"), [("2", "memory:", True), ("1", "memory:", False), ("2", "sqlite:x.db", False)]
)
def test_several_workers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, workers: str, log: str, refused: bool
) -> None:
    """With a log in memory and several workers, the application does not start. The error says what to do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEB_CONCURRENCY", workers)
    site = Site(log=log)
    if not refused:
        with TestClient(site.api) as client:
            assert client.post("/runs/1").status_code == 200
        return
    with pytest.raises(ConfigError, match=r"WEB_CONCURRENCY asks for 2 workers.*Run one worker"), TestClient(site.api):
        pass


@pytest.mark.parametrize(
    ("arguments", "concurrency", "found"),
    [
        (["/x/bin/uvicorn", "a:b", "--workers", "3"], "", ("--workers", 3)),
        (["/x/uvicorn/__main__.py", "--workers=4", "a:b"], "2", ("--workers", 4)),
        (["gunicorn", "-w", "2", "a:b"], "", ("--workers", 2)),
        (["/x/bin/fastapi", "run", "--workers", "5"], "", ("--workers", 5)),
        (["/x/bin/uvicorn", "a:b", "--workers"], "", ("--workers", 1)),
        (["/x/bin/uvicorn", "a:b"], "2", ("WEB_CONCURRENCY", 2)),
        (["/x/bin/pytest", "--workers", "3"], "", ("WEB_CONCURRENCY", 1)),
        ([], "many", ("WEB_CONCURRENCY", 1)),
    ],
)
def test_number_of_workers(arguments: list[str], concurrency: str, found: tuple[str, int]) -> None:
    """The number of workers is read from the arguments of a known web server, or from the environment."""
    assert asked_workers(arguments, {"WEB_CONCURRENCY": concurrency}) == found


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (uvicorn.Config("a:b", workers=3), ("uvicorn's workers", 3)),
        (uvicorn.Config("a:b"), ("uvicorn's workers", 1)),
        (HypercornConfig.from_mapping(workers=2), ("hypercorn's workers", 2)),
        (SimpleNamespace(workers=2), ("types's workers", 1)),
        (None, ("builtins's workers", 1)),
    ],
)
def test_workers_that_code_asks_for(config: object, found: tuple[str, int]) -> None:
    """The number of workers is read from the configuration that uvicorn or hypercorn passes to its worker processes."""
    assert configured_workers(SimpleNamespace(_kwargs={"config": config})) == found
    assert configured_workers(object())[1] == 1


def test_several_workers_by_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a log in memory the application does not start either if ``uvicorn.run`` was called with several workers."""
    monkeypatch.chdir(tmp_path)
    worker = SimpleNamespace(_kwargs={"config": uvicorn.Config("a:b", workers=2)})
    monkeypatch.setattr(multiprocessing, "current_process", lambda: worker)
    site = Site(log="memory:")
    with pytest.raises(ConfigError, match=r"uvicorn's workers asks for 2.*\(workers=1\)"), TestClient(site.api):
        pass


def test_two_servers_with_one_log(tmp_path: Path) -> None:
    """A second server on one SQLite file does not start. The error names the process, and says what to do."""
    one, two = (Site(log=f"sqlite:{tmp_path}/log.db") for _ in range(2))
    with TestClient(one.api):
        with pytest.raises(LogUnavailable, match=rf"in use by process {os.getpid()}: .*must run one worker"):
            with TestClient(two.api):
                pass


def test_another_loop() -> None:
    """A call in another loop than the app's is refused, with a ConfigError that says what to do."""
    site = Site()

    async def elsewhere() -> None:
        with pytest.raises(ConfigError, match=r"another event loop or thread.*run_coroutine_threadsafe"):
            await site.start(1)

    with TestClient(site.api):
        asyncio.run(elsewhere())


PYTEST_ASYNCIO = """
import pytest
from actors import ConfigError, Run
from transport import Greenroom
from transport.hosting import hosted

app = Greenroom(log="memory:")

@app.agent
async def count(run: Run, number: int) -> None:
    await run.output("x")

@pytest.fixture
async def server():
    async with hosted(app) as server:
        yield server

@pytest.mark.parametrize("n", range(3))
async def test_in_a_block(n):
    async with hosted(app) as server:
        await server.host.asyncio.run(app.sessions.get, "ann", "s1")

async def test_in_a_fixture(server):
    await server.host.asyncio.run(app.sessions.get, "ann", "s1")
"""


def test_pytest_asyncio(tmp_path: Path) -> None:
    """Tests of pytest-asyncio host the app in their block or in a fixture, with warnings as errors."""
    (tmp_path / "test_app.py").write_text(PYTEST_ASYNCIO)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nfilterwarnings = error\nasyncio_default_fixture_loop_scope = function\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:trio", "-p", "no:cacheprovider"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert "4 passed" in result.stdout
