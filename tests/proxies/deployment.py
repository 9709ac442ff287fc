"""The deployment of DEPLOYING.md: its files, and its server as a process."""

from __future__ import annotations

import os
import re
import signal
import sys
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs
import trio
from _processes import PATIENCE, started
from docs.documents import Block, document

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

PAGE = document("transport/http/DEPLOYING.md")
KEY = "a key of at least 32 characters, from your secrets"
OPERATOR_TOKEN = "an-operator-token-for-the-test"
GREENROOM = Path(sys.executable).parent / "greenroom"
PLACES = ("/opt/app/.venv/bin/greenroom", "/opt/app", "/var/lib/greenroom-backups", "/var/lib/greenroom")
"""The program and the folders of the page, each before the one that it begins with."""


def named(name: str) -> Block:
    """Return the block of the page that is this file."""
    (block,) = (block for block in PAGE.blocks if block.name == name or block.text.startswith(f"# {name}\n"))
    return block


def values(unit: str, key: str) -> list[str]:
    """Return the values of a key in a unit of systemd, in order."""
    return re.findall(rf"^{key}=(.*)$", named(unit).text, re.MULTILINE)


def docker() -> dict[str, list[str]]:
    """Return the instructions of the Dockerfile, by name, in order."""
    found: dict[str, list[str]] = {}
    for line in named("Dockerfile").text.splitlines()[1:]:
        if line:
            found.setdefault(line.split()[0], []).append(line.split(maxsplit=1)[1])
    return found


@attrs.frozen
class Deployment:
    """The folders of a deployment, and the ports of its running server."""

    folder: Path
    ws_port: int
    http_port: int

    def here(self, text: str) -> str:
        """Return a text of the page with the folders and the program of this deployment."""
        return here(self.folder, text)


def here(folder: Path, text: str) -> str:
    """Return a text of the page with the program and the folders that a test has."""
    for place in PLACES:
        own = GREENROOM if place.endswith("greenroom") and "bin" in place else folder / Path(place).name
        text = re.sub(rf"{re.escape(place)}(?![\w-])", str(own), text)
    return text


@asynccontextmanager
async def deployed_aside(folder: Path, ws_port: int, http_port: int) -> AsyncIterator[Deployment]:
    """Run a server as :func:`deployed` does, while the tasks of the test go on."""
    running = deployed(folder, ws_port, http_port)
    entered = await trio.to_thread.run_sync(running.__enter__)
    try:
        yield entered
    except BaseException as error:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(running.__exit__, type(error), error, error.__traceback__)
        raise
    with trio.CancelScope(shield=True):
        await trio.to_thread.run_sync(running.__exit__, None, None, None)


@contextmanager
def deployed(folder: Path, ws_port: int = 0, http_port: int = 0) -> Iterator[Deployment]:
    """Run the command of the unit inside the block, with the app and the settings of the page. It must end with 0.

    The ports are free ones, unless they are given.
    """
    for name in ("app", "greenroom", "greenroom-backups"):
        (folder / name).mkdir(exist_ok=True)
    for name in ("app.py", "greenroom.toml"):
        (folder / "app" / name).write_text(named(name).text)
    (command,) = values("greenroom.service", "ExecStart")
    variables = dict(each.split("=", 1) for each in values("greenroom.service", "Environment"))
    environment = {
        **os.environ,
        **{name: here(folder, value) for name, value in variables.items()},
        "APP_KEY": KEY,
        "GREENROOM_OPERATOR_TOKEN": OPERATOR_TOKEN,
        "GREENROOM_PORT": str(ws_port),
        "GREENROOM_HTTP_PORT": str(http_port),
    }
    with started(here(folder, command).split(), cwd=folder / "app", env=environment, stdout=-1) as server:
        assert server.stdout is not None
        ready, *urls = server.stdout.readline().split()
        assert ready == "ready"
        yield Deployment(folder, *(urlsplit(url).port or 0 for url in urls))
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 0
