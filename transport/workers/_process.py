"""One worker, as its parent sees it: a process, from its start to its end."""

from __future__ import annotations

import json
import socket
import subprocess
from typing import TYPE_CHECKING, Self

import attrs
import trio

if TYPE_CHECKING:
    import signal

    from transport.server.listening import Listeners
    from transport.workers.launch import Launch


@attrs.frozen
class Addresses:
    """The addresses that a worker serves: of its WebSocket endpoint, and of its pages, if there are any."""

    ws_url: str
    page_url: str | None


class WorkerProcess:
    """A worker process. Get one by :meth:`start`."""

    def __init__(self, number: int, process: trio.Process, channel: trio.SocketStream) -> None:
        self.number = number
        """The number of the worker."""
        self.addresses: Addresses | None = None
        """The addresses of the worker. None until the worker is ready."""
        self._process = process
        self._channel = channel

    @classmethod
    async def start(cls, number: int, launch: Launch, listeners: Listeners, patience: float) -> Self:
        """Start a worker process.

        Args:
            number: The number of the worker.
            launch: The arguments, the folder and the environment of the process.
            listeners: The listening sockets that the process inherits.
            patience: If this process ends: how long the worker may go on, in seconds.

        Raises:
            OSError: The system cannot start a process.

        Cancellation: no process is left.
        """
        ours, theirs = socket.socketpair()
        channel = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        endpoint, pages = ([each.fileno() for each in group] for group in (listeners.endpoint, listeners.pages))
        given = {"number": number, "endpoint": endpoint, "pages": pages, "patience": patience}
        # The socket's buffer has room for this line, so it is written before there is a process to read it.
        end = theirs.fileno()
        with theirs:
            try:
                await channel.send_all(json.dumps(given).encode() + b"\n")
                # This is cancelled before the process exists, or not at all.
                process = await trio.lowlevel.open_process(
                    [*launch.program, str(end), *launch.arguments],
                    pass_fds=[end, *endpoint, *pages],
                    stdin=subprocess.DEVNULL,
                    cwd=launch.folder,
                    env=launch.environment,
                    # A terminal sends Ctrl-C to a whole group: the workers get one signal, from their parent.
                    process_group=0,
                )
            except BaseException:
                await trio.aclose_forcefully(channel)
                raise
        return cls(number, process, channel)

    @property
    def pid(self) -> int:
        """The number of the process in the system."""
        return self._process.pid

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process. Do nothing if it has ended."""
        self._process.send_signal(number)

    async def until_ready(self) -> bool:
        """Wait until the worker accepts connections. Return False if it ends before."""
        line = b""
        while not line.endswith(b"\n"):
            try:
                part = await self._channel.receive_some()
            except trio.BrokenResourceError:
                return False
            if not part:
                return False
            line += part
        self.addresses = Addresses(*json.loads(line))
        return True

    async def wait(self) -> int:
        """Wait until the process has ended. Return its exit status, or the negative number of a signal.

        Cancellation: the process goes on.
        """
        return await self._process.wait()

    def close(self) -> None:
        """Close the channel to the process, when no task reads it any more. A process that still runs ends by that."""
        self._channel.socket.close()
