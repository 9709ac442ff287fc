"""Fixtures that run greenroom.js in Node, against a scripted server or scripted sockets."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from _requires import missing, require
from web.node import HERE, Node
from web.scripted import ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def node_with_ws() -> str:
    """Return the path of Node. Once per test run, install the package ``ws`` in the folder of driver.mjs."""
    program = require("node")
    if not (HERE / "node_modules" / "ws").is_dir():
        npm = require("npm")
        install = subprocess.run(
            [npm, "install", "--no-package-lock", "--no-audit", "--no-fund"],
            cwd=HERE,
            capture_output=True,
            text=True,
            check=False,
        )
        if install.returncode:
            missing(f"npm cannot install ws: {install.stderr.strip()[-200:]}")
    return program


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Return a scripted server, which clients reach over real sockets."""
    scripted = ScriptedServer()
    yield scripted
    scripted.shutdown()


@pytest.fixture
def node(node_with_ws: str, server: ScriptedServer) -> Iterator[Node]:
    """Return a Node process with a client that connects to the scripted server."""
    process = Node(node_with_ws, server.url)
    yield process
    process.end()


@pytest.fixture(scope="module")
def page(node_with_ws: str) -> Iterator[Node]:
    """Return one Node process for all tests of a module.

    Each test makes a new client in it, with simulated sockets that the test controls.
    """
    process = Node(node_with_ws, "ws://x/")
    yield process
    process.end()
