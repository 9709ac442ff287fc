"""Many users of one server from one process: raw sockets and one epoll loop, so that the server is the bottleneck.

Speaks just enough WebSocket (RFC 6455) and ``greenroom.v1`` to hold a session and to check what arrives: each user's
events must have the seq that follows, or the round counts a fault.
"""

from __future__ import annotations

import base64
import json
import os
import re
import selectors
import socket
import time
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

_RECEIVE = 256 * 1024
_SEQ = re.compile(rb'"seq":(\d+)')
_AT = re.compile(rb'"text":"(\d+) ')
_SILENCE = 20.0
_UPGRADE = (
    "GET / HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def _masked(frame: dict[str, object]) -> bytes:
    """A client's text message, with a mask of zeros: the server unmasks it all the same."""
    payload = json.dumps(frame).encode()
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    return b"\x81" + size + bytes(4) + payload


@attrs.define(eq=False)
class Client:
    """One user's connection."""

    sock: socket.socket
    last: int = 0
    buffer: bytes = b""

    def send(self, frame: dict[str, object]) -> None:
        """Send a small frame, which the kernel takes at once."""
        self.sock.sendall(_masked(frame))


@attrs.define
class Round:
    """What one round brought."""

    wanted: int
    events: int = 0
    frames: int = 0
    faults: int = 0
    latencies: list[int] = attrs.Factory(list[int])
    """From emission to arrival in ns: of each event, or of the last one of each frame."""
    seconds: float = 0.0
    busy: float = 0.0
    """The share of the round in which this process was busy: near 1 it was the bottleneck itself."""


class Generator:
    """Holds the connections; :meth:`round` has every user start one run and reads until all events are there."""

    def __init__(self, port: int, users: int) -> None:
        self._port = port
        self._users = users
        self._selector = selectors.DefaultSelector()
        self._clients: list[Client] = []
        self._rounds = 0

    def connect(self, progress: Callable[[int], None]) -> None:
        """Open every connection and wait for its welcome."""
        for number in range(self._users):
            client = Client(socket.create_connection(("127.0.0.1", self._port)))
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.sock.sendall(_UPGRADE.format(key=base64.b64encode(os.urandom(16)).decode()).encode())
            self._read_until(client, b"\r\n\r\n")
            client.send({"type": "hello", "session": f"bench-{os.getpid()}", "token": f"user-{number}"})
            self._read_until(client, b'"typing":[]}')
            client.buffer = b""
            client.sock.settimeout(0)  # from here on epoll says when there is something
            self._selector.register(client.sock, selectors.EVENT_READ, client)
            self._clients.append(client)
            progress(number + 1)

    def round(self, events: int, rate: float, progress: Callable[[int], None]) -> Round:
        """One run of ``events`` events for every user at once, started and completed on top; all of them are read."""
        self._rounds += 1
        outcome = Round(wanted=len(self._clients) * (events + 2))
        job = {"agent": "load", "input": {"events": events, "rate": rate}}
        began, busy = time.perf_counter(), time.process_time()
        start = _masked({"type": "command", "id": str(self._rounds), "name": "run.start", "args": job})
        for client in self._clients:
            client.sock.sendall(start)
        while outcome.events < outcome.wanted:
            ready = self._selector.select(_SILENCE)
            if not ready:
                raise TimeoutError(f"{outcome.events} of {outcome.wanted} events came, then nothing for {_SILENCE:g} s")
            for key, _ in ready:
                self._read(key.data, outcome, every=rate > 0)
            progress(outcome.events)
        outcome.seconds = time.perf_counter() - began
        outcome.busy = (time.process_time() - busy) / outcome.seconds
        return outcome

    def close(self) -> None:
        """Close every connection."""
        for client in self._clients:
            client.sock.close()
        self._selector.close()

    def _read_until(self, client: Client, end: bytes) -> None:
        while end not in client.buffer:
            data = client.sock.recv(_RECEIVE)
            if not data:
                raise ConnectionError(f"the server closed: {client.buffer[-200:]!r}")
            client.buffer += data

    def _read(self, client: Client, outcome: Round, *, every: bool) -> None:
        data = client.sock.recv(_RECEIVE)
        if not data:
            raise ConnectionError("the server closed a connection")
        now = time.monotonic_ns()
        data = client.buffer + data if client.buffer else data
        start = 0
        while (bounds := _payload(data, start)) is not None:
            first, start = bounds
            self._take(client, data[first:start], outcome, now, every=every)
        client.buffer = data[start:]

    def _take(self, client: Client, payload: bytes, outcome: Round, now: int, *, every: bool) -> None:
        if payload.startswith(b'{"type":"ping"'):
            client.send({"type": "pong"})
            return
        if not payload.startswith(b'{"type":"events"'):
            return
        numbers = _SEQ.findall(payload)
        first, last = int(numbers[0]), int(numbers[-1])
        outcome.faults += first != client.last + 1 or last - first + 1 != len(numbers)
        client.last = last
        outcome.events += len(numbers)
        outcome.frames += 1
        times = _AT.findall(payload)
        outcome.latencies.extend(now - int(at) for at in (times if every else times[-1:]))


def _payload(data: bytes, start: int) -> tuple[int, int] | None:
    """Where the payload of the frame at ``start`` begins and ends; None while it is not all there."""
    if len(data) - start < 2:
        return None
    size, first = data[start + 1], start + 2
    if size >= 126:
        first += 2 if size == 126 else 8
        size = int.from_bytes(data[start + 2 : first], "big")
    return (first, first + size) if len(data) >= first + size else None
