"""The side of a worker: its number and its listeners, its report to the parent, and its end with the parent."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, cast

import attrs

from transport.server.listening import Listeners, borrowed
from transport.workers._lines import NumberedLines

if TYPE_CHECKING:
    from typing import TextIO


@attrs.frozen
class WorkerPlace:
    """The place of this process among the workers of a parent."""

    number: int
    """The number of the worker: 1, 2, 3 … A worker that is started in place of another has the same number.

    0 for the only process of a server, which its parent starts again.
    """
    listeners: Listeners
    """The listening sockets, which all workers and the parent share."""
    _channel: socket.socket

    def report_ready(self, ws_url: str, page_url: str | None) -> None:
        """Tell the parent that this worker accepts connections at these addresses."""
        self._channel.sendall(json.dumps([ws_url, page_url]).encode() + b"\n")


def take_place(descriptor: int) -> WorkerPlace:
    """Return the place of this process, a worker. From now on each of its lines on stderr has the worker's number.

    If the parent ends, this process gets SIGTERM, and drains. If it has not ended in time, it is killed.

    Args:
        descriptor: File descriptor of the socket to the parent.
    """
    channel = socket.socket(fileno=descriptor)
    channel.set_inheritable(False)
    with channel.makefile("rb") as lines:
        given = json.loads(lines.readline())
    if given["number"]:  # 0 is a server alone, which its parent starts again (serve --reload)
        sys.stderr = cast("TextIO", NumberedLines(sys.stderr, f"worker {given['number']}: "))
    watch = threading.Thread(target=_end_with_parent, args=(channel, given["patience"]), name="parent", daemon=True)
    watch.start()
    listeners = Listeners(borrowed(given["endpoint"]), borrowed(given["pages"]))
    return WorkerPlace(given["number"], listeners, channel)


def _end_with_parent(channel: socket.socket, patience: float) -> None:
    """Wait until the parent has ended, then end this process. This is a thread: the event loop may be blocked."""
    while channel.recv(1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(patience)
    os.kill(os.getpid(), signal.SIGKILL)
