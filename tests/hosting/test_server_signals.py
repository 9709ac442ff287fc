"""Signals to real web servers, at each moment: every ``finally`` of the application runs, and the exit status is right.

``make soak`` runs the whole matrix of servers, signals and moments, ``make test`` a few cells of it.
"""

from __future__ import annotations

import json
import os
import signal
from itertools import product
from typing import TYPE_CHECKING

import pytest
import trio
from _scale import SOAK
from hosting.web_server import SERVERS, WebServer, web_server
from websockets.trio.client import connect
from websockets.typing import Subprotocol

if TYPE_CHECKING:
    from pathlib import Path

SIGNALS = (signal.SIGTERM, signal.SIGINT)
TROUBLE = ("Traceback", "Warning:", "was never awaited", "was destroyed", "never retrieved")
"""Words in a server's output that show an error, or something that was left behind."""


def status_of(server: str, number: signal.Signals) -> int:
    """Return the exit status of a web server after a signal. uvicorn ends by the SIGTERM that it got."""
    return -signal.SIGTERM if server.startswith("uvicorn") and number == signal.SIGTERM else 0


def require_end(server: WebServer, status: int, *noted: str) -> None:
    """Check that a server ends with this status, after these notes, without an error in its output."""
    assert server.wait() == status, server.said
    assert server.noted == list(noted)
    assert [words for words in TROUBLE if words in server.said] == []


def cells(*few: tuple[str, signal.Signals]) -> list[tuple[str, signal.Signals]]:
    """Return all cells of the matrix in ``make soak``, and the given ones at any other time."""
    return list(product(SERVERS, SIGNALS)) if SOAK else list(few)


@pytest.mark.parametrize(("name", "number"), cells(("uvicorn-asyncio", signal.SIGTERM)))
def test_signal_at_the_start(tmp_path: Path, name: str, number: signal.Signals) -> None:
    """A signal while the web application starts: it starts to the end, and then ends."""
    with web_server(tmp_path, SERVERS[name], SLOW_START="1") as server:
        server.until_noted("own began")
        server.send(number)
        server.release()
        require_end(server, status_of(name, number), "own began", "own ended")


@pytest.mark.parametrize(("name", "number"), cells(("uvicorn-asyncio", signal.SIGINT)))
def test_signal_while_idle(tmp_path: Path, name: str, number: signal.Signals) -> None:
    """A signal to a server without runs ends the application's own lifespan and the server."""
    with web_server(tmp_path, SERVERS[name]) as server:
        server.until_listening()
        server.send(number)
        require_end(server, status_of(name, number), "own began", "own ended")


@pytest.mark.parametrize(("name", "number"), cells(("hypercorn-trio", signal.SIGINT)))
def test_signal_in_a_run(tmp_path: Path, name: str, number: signal.Signals) -> None:
    """A signal in the middle of a run: after ``drain_seconds`` the run is cancelled, then the own lifespan ends."""
    with web_server(tmp_path, SERVERS[name]) as server:
        server.until_listening()
        server.post("/start/endless")
        server.until_noted("run began")
        server.send(number)
        require_end(server, status_of(name, number), "own began", "run began", "run ended", "own ended")


@pytest.mark.parametrize(("name", "number"), cells(("hypercorn-asyncio", signal.SIGTERM)))
def test_run_that_ends_in_time(tmp_path: Path, name: str, number: signal.Signals) -> None:
    """A run that ends within ``drain_seconds`` after the signal completes."""
    with web_server(tmp_path, SERVERS[name], DRAIN="1000") as server:
        server.until_listening()
        server.post("/start/released")
        server.until_noted("run began")
        server.send(number)
        if name.startswith("uvicorn"):  # the other server does not say that it has begun to stop
            server.until_said("Waiting for application shutdown")
        server.release()
        notes = ("own began", "run began", "run completed", "run ended", "own ended")
        require_end(server, status_of(name, number), *notes)


@pytest.mark.parametrize("name", ["uvicorn-asyncio", "uvicorn-uvloop"] if SOAK else ["uvicorn-uvloop"])
def test_second_signal_in_a_drain(tmp_path: Path, name: str) -> None:
    """A second Ctrl-C while the app drains ends the runs at once."""
    with web_server(tmp_path, SERVERS[name], DRAIN="1000") as server:
        server.until_listening()
        server.post("/start/endless")
        server.until_noted("run began")
        server.send(signal.SIGINT)
        server.until_said("Waiting for application shutdown")
        server.send(signal.SIGINT)
        require_end(server, 0, "own began", "run began", "run ended", "own ended")


@pytest.mark.left_out_if(not SOAK, "test_run_that_ends_in_time has nearly the same")
def test_second_sigterm_in_a_drain(tmp_path: Path) -> None:
    """A second SIGTERM while the app drains changes nothing: uvicorn forces its end only by a second Ctrl-C."""
    with web_server(tmp_path, SERVERS["uvicorn-asyncio"], DRAIN="1000") as server:
        server.until_listening()
        server.post("/start/released")
        server.until_noted("run began")
        server.send(signal.SIGTERM)
        server.until_said("Waiting for application shutdown")
        server.send(signal.SIGTERM)
        server.release()
        require_end(server, -signal.SIGTERM, "own began", "run began", "run completed", "run ended", "own ended")


@pytest.mark.parametrize(("name", "number"), cells(("uvicorn-asyncio", signal.SIGINT)))
def test_second_signal_at_once(tmp_path: Path, name: str, number: signal.Signals) -> None:
    """Two signals at once in the middle of a run: also a forced end of the server runs every ``finally``."""
    with web_server(tmp_path, SERVERS[name]) as server:
        server.until_listening()
        server.post("/start/endless")
        server.until_noted("run began")
        server.send(number)
        server.send(number)
        assert server.wait() == status_of(name, number), server.said
        assert sorted(server.noted) == ["own began", "own ended", "run began", "run ended"]


@pytest.mark.parametrize(("name", "number"), cells(("uvicorn-uvloop", signal.SIGTERM)))
async def test_goodbye_of_a_server(tmp_path: Path, name: str, number: signal.Signals) -> None:
    """After a signal, a client gets a goodbye with the time for its return, and the close code 1001."""
    with web_server(tmp_path, SERVERS[name]) as server:
        server.until_listening()
        url = f"ws://127.0.0.1:{server.port}/ws"
        async with connect(url, subprotocols=[Subprotocol("greenroom.v1")], open_timeout=None) as client:
            await client.send('{"type": "hello", "session": "s1"}')
            assert json.loads(await client.recv())["type"] == "welcome"
            server.send(number)
            frames = [json.loads(frame) async for frame in client]
            assert [(frame["type"], frame["code"]) for frame in frames] == [("goodbye", 1001)]
            assert frames[0]["retry_ms"] > 0
            assert client.close_code == 1001
        # The output is not checked: Hypercorn on asyncio logs the connections that it cancels as failed callbacks.
        assert await trio.to_thread.run_sync(server.wait) == status_of(name, number), server.said
        assert server.noted == ["own began", "own ended"]


if SOAK:  # it has several processes

    @pytest.mark.parametrize("to_group", [False, True], ids=["to the parent", "in the terminal"])
    def test_reload(tmp_path: Path, to_group: bool) -> None:
        """``uvicorn --reload`` ends the application and starts it again. A Ctrl-C also ends it as without --reload."""
        (tmp_path / "app.py").touch()
        with web_server(tmp_path, (*SERVERS["uvicorn-uvloop"], "--reload", "--reload-dir", str(tmp_path))) as server:
            server.until_said("startup complete")
            server.post("/start/endless")
            server.until_noted("run began")
            (tmp_path / "app.py").write_text("changed = True")
            server.until_said("startup complete", times=2)
            server.post("/start/endless")
            while server.noted.count("run began") < 2:
                server.note_more()
            if to_group:
                os.killpg(server.process.pid, signal.SIGINT)
            else:
                server.send(signal.SIGINT)
            require_end(server, 0, *["own began", "run began", "run ended", "own ended"] * 2)
