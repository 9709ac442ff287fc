"""One attacker: it floods a server on this machine in one way, for a limited time, and prints what came of it.

When it is cut off it connects again, as fast as the limits on new connections let it. It stays on loopback addresses.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
FRAMES = 10_000
"""Number of frames that are sent at once: as many as a read of the server takes."""
HELD = 400
"""Number of silent connections that are held at once: more than an address may have."""
PAUSE_SECONDS = 0.02
"""Pause before the next connection: an address may open 50 per second."""


def frame(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """Return a client's frame of less than 126 bytes, with a mask of zeros."""
    return bytes([final << 7 | opcode, 0x80 | len(payload)]) + b"\0\0\0\0" + payload


HELLO = frame(1, b'{"type":"hello","session":"s1","token":"attacker"}')
FLOODS = {
    "pongs": frame(10) * FRAMES,
    "pings": frame(9) * FRAMES,
    "fragments": frame(1, final=False) + frame(0, final=False) * FRAMES,
    "acks": HELLO + frame(1, b'{"type":"ack","seq":0}') * (FRAMES // 4),
    "pongs after hello": HELLO + frame(10) * FRAMES,
}
"""The bytes of each flood, which is sent again and again on one connection."""


def connect(port: int, source: str) -> socket.socket:
    """Connect from a loopback address."""
    sock = socket.socket()
    sock.settimeout(1)
    sock.bind((source, 0))
    sock.connect(("127.0.0.1", port))
    return sock


def flood(data: bytes, port: int, source: str, until: float) -> int:
    """Upgrade, and send ``data`` until the server cuts the connection. Return the number of bytes sent."""
    sent = 0
    with connect(port, source) as sock:
        sock.sendall(UPGRADE + b"\r\n")
        if not sock.recv(4096).startswith(b"HTTP/1.1 101"):
            return sent
        while time.monotonic() < until:
            sent += sock.send(data)
    return sent


def bad_request(port: int, source: str, _: float) -> int:
    """Send one request with a byte that HTTP does not allow."""
    with connect(port, source) as sock:
        sock.sendall(UPGRADE + b"X: \xff\r\n\r\n")
        sock.recv(4096)
    return 1


def connect_and_leave(port: int, source: str, _: float) -> int:
    """Connect and disconnect."""
    connect(port, source).close()
    return 1


def hold(port: int, source: str, until: float) -> int:
    """Open silent connections, and hold as many as :data:`HELD`. Return the number of connections opened."""
    held: list[socket.socket] = []
    opened = 0
    while time.monotonic() < until:
        with suppress(OSError):
            held.append(connect(port, source))
            opened += 1
        if len(held) > HELD:
            held.pop(0).close()
        time.sleep(PAUSE_SECONDS / 4)
    for sock in held:
        sock.close()
    return opened


ATTACKS: dict[str, Callable[[int, str, float], int]] = {
    **{name: partial(flood, data) for name, data in FLOODS.items()},
    "bad requests": bad_request,
    "connect and leave": connect_and_leave,
    "silent connections": hold,
}
"""All attacks by name. Each works until it is cut off, or until a time; its result counts what it did."""


def main() -> None:
    """Attack until the time is over. Print the number of attempts, and the sum of their results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("attack", choices=ATTACKS)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--source", default="127.0.0.2", help="the loopback address to connect from")
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    if not options.source.startswith("127."):
        raise SystemExit("attacks stay on loopback addresses")
    # The neighbour's client runs on the same core, and is measured: it must wait for the server, and not for attackers.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    until = time.monotonic() + options.seconds
    attempts = done = 0
    while time.monotonic() < until:
        attempts += 1
        with suppress(OSError):
            done += ATTACKS[options.attack](options.port, options.source, until)
        time.sleep(PAUSE_SECONDS)
    print(json.dumps({"attempts": attempts, "done": done}))


if __name__ == "__main__":
    main()
