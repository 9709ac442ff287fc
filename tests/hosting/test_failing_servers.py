"""Web servers around an app that cannot start, or that gives up: nothing answers 200 in front of a dead app."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from _scale import SOAK
from hosting.web_server import SERVERS, web_server

if TYPE_CHECKING:
    from pathlib import Path

NO_FOLDER = "sqlite:/no/such/folder/log.db"


# By default Hypercorn has one worker process, and its parent ends with 0 whatever the worker ends with.
ONE_PROCESS = {
    **SERVERS,
    **{name: (*arguments, "--workers", "0") for name, arguments in SERVERS.items() if name.startswith("hypercorn")},
}


def servers(*few: str) -> list[str]:
    """Return all web servers in ``make soak``, and the given ones at any other time."""
    return list(ONE_PROCESS) if SOAK else list(few)


@pytest.mark.parametrize("name", servers("uvicorn-uvloop"))
def test_app_that_cannot_start(tmp_path: Path, name: str) -> None:
    """If the log cannot be opened, the server says why and ends: uvicorn with status 3, Hypercorn with 1."""
    with web_server(tmp_path, ONE_PROCESS[name], LOG=NO_FOLDER) as server:
        assert server.wait() == (3 if name.startswith("uvicorn") else 1)
        assert "LogUnavailable: /no/such/folder/log.db" in server.said
        if name.startswith("uvicorn"):
            assert "Application startup failed" in server.said
        assert server.noted == []


@pytest.mark.parametrize("name", servers("uvicorn-uvloop"))
def test_app_that_gives_up(tmp_path: Path, name: str) -> None:
    """If the app's supervision gives up, the server ends with an error and a status that is not 0."""
    with web_server(tmp_path, ONE_PROCESS[name]) as server:
        server.until_listening()
        server.post("/break")
        status = server.wait()
        assert status == {"uvicorn": -signal.SIGTERM, "hypercorn": 1}[name.partition("-")[0]]
        assert server.noted == ["own began", "own ended"]
        assert "RestartLimit: /greenroom gave up" in server.said


if SOAK:  # each has several processes

    @pytest.mark.parametrize("name", ["hypercorn-asyncio", "hypercorn-trio"])
    def test_worker_process_that_gives_up(tmp_path: Path, name: str) -> None:
        """If the app in Hypercorn's worker process gives up, the worker ends, and with it the whole server."""
        with web_server(tmp_path, SERVERS[name]) as server:
            server.until_listening()
            server.post("/break")
            assert server.wait() == 0
            assert server.noted == ["own began", "own ended"]
            assert "RestartLimit: /greenroom gave up" in server.said

    def test_second_worker(tmp_path: Path) -> None:
        """Of two workers with one SQLite log the second one ends with an error that says what to do."""
        with web_server(tmp_path, (*SERVERS["uvicorn-asyncio"], "--workers", "2")) as server:
            assert server.wait() == 0
            assert "log.db is in use by process" in server.said
            assert "must run one worker" in server.said

    def test_workers_with_a_log_in_memory(tmp_path: Path) -> None:
        """With WEB_CONCURRENCY above 1 and a log in memory, no worker starts, and the error says what to do."""
        with web_server(tmp_path, SERVERS["uvicorn-asyncio"], LOG="memory:", WEB_CONCURRENCY="2") as server:
            server.wait()
            assert "WEB_CONCURRENCY asks for 2 workers" in server.said
            assert "Run one worker (WEB_CONCURRENCY=1)" in server.said
            assert "own began" not in server.noted
