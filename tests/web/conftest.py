"""Fixtures that run greenroom.js in Node, against a scripted server or scripted sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from web.node import Node, node_with_packages
from web.scripted import ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def node_with_ws() -> str:
    """Return the path of Node. Once per test run, install the packages of package.json."""
    return node_with_packages()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Return a scripted server, which clients reach over real sockets."""
    scripted = ScriptedServer()
    yield scripted
    scripted.shutdown()


@pytest.fixture(scope="module")
def page(node_with_ws: str) -> Iterator[Node]:
    """Return one Node process for all tests of a module.

    Each test makes a new client in it, with simulated sockets that the test controls.
    """
    process = Node(node_with_ws, "ws://x/")
    yield process
    process.end()


@pytest.fixture
def node(page: Node, server: ScriptedServer) -> Iterator[Node]:
    """Return the Node process of the module, with clients that connect to the scripted server."""
    page.restart(server.url)
    yield page
    page.restart("ws://x/")
