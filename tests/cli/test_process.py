"""The command ``greenroom`` as a process: its end by a signal, and by a reader that is gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from _processes import started
from websockets.trio.client import connect
from websockets.typing import Origin, Subprotocol

from actors import SqliteLog, StreamKey
from actors.testing import event_batch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APP = 'from transport import Greenroom\napp = Greenroom(log="memory:")\n'
# On a busy machine the event loop stands still for a second, which is a warning on stderr.
QUIETLY = ("--port", "0", "--http-port", "0", "--set", "loop_stall_seconds=60")
SERVE = ("serve", "good:app", *QUIETLY)
PATIENCE = 60
KEY = StreamKey("anonymous", "s1")


@contextmanager
def running_command(
    folder: Path, *arguments: str, stdout: int = subprocess.PIPE, **variables: str
) -> Iterator[subprocess.Popen[str]]:
    """Run the command inside the block, and kill it at the end of the block."""
    (folder / "good.py").write_text(APP)
    command = [sys.executable, "-m", "transport", *arguments]
    environment = os.environ | variables
    with started(command, cwd=folder, env=environment, stdout=stdout, stderr=subprocess.PIPE) as running:
        yield running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_signal_at_ready(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM or SIGINT right after ``ready`` ends the server with status 0.

    The only output is the address to open, and a warning that the app has no agent.
    """
    with running_command(tmp_path, *SERVE) as server:
        assert server.stdout is not None
        ready, _, pages = server.stdout.readline().split()
        assert ready == "ready"
        server.send_signal(number)
        told = f"greenroom: open {pages} in a browser; Ctrl-C ends the server\n"
        told += "greenroom: good:app has no agent: register one with @app.agent\n"
        assert server.communicate(timeout=PATIENCE) == ("", told)
        assert server.returncode == 0


def test_settings_of_a_server(tmp_path: Path) -> None:
    """A server can take its host from the environment, one port from the TOML file and one from the command line."""
    (tmp_path / "greenroom.toml").write_text("http_port = 0\nport = 1")
    with running_command(tmp_path, "serve", "good:app", "--set", "port=0", GREENROOM_HOST="127.0.0.2") as server:
        assert server.stdout is not None
        ready, url, pages = server.stdout.readline().split()
        assert (ready, url[:15], pages[:17]) == ("ready", "ws://127.0.0.2:", "http://127.0.0.2:")
        assert url != "ws://127.0.0.2:1/"


def test_public_url_of_a_server(tmp_path: Path) -> None:
    """With ``public_url``, pages get it from ``/config``. The ready line still has the addresses of this machine."""
    with running_command(tmp_path, *SERVE, GREENROOM_PUBLIC_URL="wss://app.example.com/ws") as server:
        assert server.stdout is not None
        _, url, pages = server.stdout.readline().split()
        assert url.startswith("ws://127.0.0.1:")
        with urllib.request.urlopen(f"{pages}config", timeout=PATIENCE) as answer:  # noqa: S310 - our own server
            assert json.load(answer)["ws_url"] == "wss://app.example.com/ws"
        trio.run(greeted, url, "https://app.example.com")


async def greeted(url: str, page: str) -> None:
    """Connect as a page of another host does, and check that the server says hello."""
    async with connect(url, origin=Origin(page), subprotocols=[Subprotocol("greenroom.v1")]) as socket:
        await socket.send('{"type":"hello","session":"s1"}')
        assert json.loads(await socket.recv())["type"] == "welcome"


def test_log_lines_as_json(tmp_path: Path) -> None:
    """With ``log_format=json``, each line on stderr is a JSON object, also those for the person at the terminal."""
    given = ("--set", "log_format=json")
    with running_command(tmp_path, *SERVE, *given, GREENROOM_NONSENSE="1") as server:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("ready ws://")
        server.send_signal(signal.SIGTERM)
        _, told = server.communicate(timeout=PATIENCE)
    lines = [json.loads(line) for line in told.splitlines()]
    assert [line["logger"] for line in lines][:1] == ["greenroom.settings"]
    assert {(line["logger"], line["level"]) for line in lines} == {
        ("greenroom.settings", "warning"),
        ("greenroom.cli", "info"),
    }


PAGED = """
from transport import Greenroom
app = Greenroom(log="memory:", pages="static")
"""


async def test_own_page_may_connect(tmp_path: Path) -> None:
    """``serve`` serves the pages of an app. Without any setting, these pages may connect to the WebSocket endpoint."""
    folder = tmp_path / "static"
    folder.mkdir()
    (folder / "index.html").write_text("our own page")
    (tmp_path / "paged.py").write_text(PAGED)
    with running_command(tmp_path, "serve", "paged:app", "--port", "0", "--http-port", "0") as server:
        assert server.stdout is not None
        _, url, pages = (await trio.to_thread.run_sync(server.stdout.readline)).split()
        assert await trio.to_thread.run_sync(fetched, pages) == b"our own page"
        origin, protocol = Origin(pages.rstrip("/")), Subprotocol("greenroom.v1")
        async with connect(url, origin=origin, subprotocols=[protocol], open_timeout=None) as socket:
            assert socket.response is not None


def fetched(url: str) -> bytes:
    """Return the content at a URL."""
    with urllib.request.urlopen(url, timeout=PATIENCE) as response:  # noqa: S310 - the address of our own server
        content: bytes = response.read()
    return content


BLOCKING = """
import logging, signal, sys
from transport import Greenroom

logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
app = Greenroom(log="memory:")
before = signal.getsignal(signal.SIGINT)
app.serve(port=0)
print(signal.getsignal(signal.SIGINT) is before)
"""


def test_program_goes_on_after_its_server(tmp_path: Path) -> None:
    """After ``Greenroom.serve`` has ended by a signal, the handler for Ctrl-C is the same as before the call."""
    (tmp_path / "blocking.py").write_text(BLOCKING)
    command = [sys.executable, "blocking.py"]
    with started(command, cwd=tmp_path, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline().startswith("serving at ws://127.0.0.1:")
        program.send_signal(signal.SIGINT)
        assert program.communicate(timeout=PATIENCE)[0].splitlines()[-1] == "True"


STUBBORN = """
import trio
from transport import Greenroom

app = Greenroom(log="memory:")

@app.agent
async def stubborn(run):
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()
"""


@pytest.mark.parametrize(
    ("first", "second"),
    [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM)],
    ids=lambda number: number.name,
)
def test_second_signal_ends_at_once(tmp_path: Path, first: signal.Signals, second: signal.Signals) -> None:
    """After the first signal, the server prints the runs that it waits for. A second signal ends the server at once.

    The second signal ends the server even if a run does not end.
    """
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    arguments = ("serve", "stubborn:app", *QUIETLY, "--set", "drain_seconds=1000")
    with running_command(tmp_path, *arguments) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        url = server.stdout.readline().split()[1]
        server.stderr.readline()
        subprocess.run([sys.executable, "-c", START, url, "s1", "s2"], check=True, timeout=PATIENCE)
        server.send_signal(first)
        waiting, hint = server.stderr.readline(), server.stderr.readline()
        runs = "2 runs to finish: stubborn in session s1, stubborn in session s2"
        assert waiting == f"greenroom: {first.name}: waiting up to 1000 s for {runs}\n"
        assert hint.startswith("greenroom: press Ctrl-C to end at once")
        server.send_signal(second)
        assert server.wait(PATIENCE) == -second


START = """
import sys, trio
from transport import connect

async def start():
    for session in sys.argv[2:]:
        async with connect(sys.argv[1], session) as client:
            await client.start("stubborn")

trio.run(start)
"""


def test_ctrl_c_ends_tail(tmp_path: Path) -> None:
    """Ctrl-C ends ``tail`` with status 0. ``tail`` prints nothing on stderr except the state of its connection."""
    with running_command(tmp_path, *SERVE) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split()[1]
        with running_command(tmp_path, "tail", "s1", "--url", url, "--json") as tail:
            assert tail.stdout is not None
            subprocess.run([sys.executable, "-c", SAY, url], check=True, timeout=PATIENCE)
            assert '"type":"user_message"' in tail.stdout.readline()
            tail.send_signal(signal.SIGINT)
            connecting = f"greenroom: connecting to {url}\n"
            connected = "greenroom: connected: waiting for events of session s1\n"
            assert tail.communicate(timeout=PATIENCE) == ("", connecting + connected)
            assert tail.returncode == 0


SAY = """
import sys, trio
from transport import connect

async def say():
    async with connect(sys.argv[1], "s1") as client:
        await client.send("hello")

trio.run(say)
"""


async def test_closed_output(tmp_path: Path) -> None:
    """If the program that reads the output of ``export`` has ended, ``export`` prints no error.

    Its exit status shows SIGPIPE.
    """
    async with SqliteLog(tmp_path / "log.db") as log:
        await log.make(KEY)
        await log.append([event_batch(KEY, 1, 3)])
    reading, writing = os.pipe()
    os.close(reading)
    with running_command(tmp_path, "export", "log.db", stdout=writing) as export:
        os.close(writing)
        assert export.communicate(timeout=PATIENCE)[1] == ""
        assert export.returncode == 128 + signal.SIGPIPE
