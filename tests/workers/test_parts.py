"""The parts below the workers: borrowed listening sockets, and lines with a worker's number."""

from __future__ import annotations

import io
import json
import os
import socket
import sys
from typing import TYPE_CHECKING, cast

import pytest
from protocol.agents import make_app
from trio.testing import wait_all_tasks_blocked

from actors import ConfigError
from transport import Greenroom
from transport.cli._logging import use_log_format
from transport.cli._terminal import say
from transport.server.listening import borrowed, listen
from transport.workers._lines import NumberedLines

if TYPE_CHECKING:
    from typing import TextIO

WAITING = 20


async def test_drain_leaves_a_borrowed_listener(own_port: int) -> None:
    """A server that drains closes its copy of a borrowed listener. Clients that wait there are served by another.

    As soon as no process listens any more, clients are refused.
    """
    (parent,) = listen("127.0.0.1", own_port)
    with parent:
        mine = borrowed([os.dup(parent.fileno())])
        async with make_app().running(listeners=mine) as server:
            assert server.url == f"ws://127.0.0.1:{own_port}/"
            await server.drain(0)
            await wait_all_tasks_blocked()
            assert mine[0].fileno() == -1
            waiting = [socket.create_connection(("127.0.0.1", own_port)) for _ in range(WAITING)]
        parent.settimeout(60)
        for client in waiting:
            with client, parent.accept()[0] as accepted:
                accepted.sendall(b"served")
                assert client.recv(6) == b"served"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", own_port))


def test_programs_do_not_inherit_a_borrowed_listener(own_port: int) -> None:
    """A listener that came from the parent is not passed on to programs that a tool starts."""
    (parent,) = listen("127.0.0.1", own_port)
    with parent:
        descriptor = os.dup(parent.fileno())
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - its only form
        (mine,) = borrowed([descriptor])
        assert not os.get_inheritable(mine.fileno())
        mine.close()


def test_lines_have_the_number() -> None:
    """Each line gets the prefix, however its parts are written. A line without an end is ended by ``flush``."""
    target = io.StringIO()
    lines = NumberedLines(target, "worker 2: ")
    assert print("one\ntwo", file=cast("TextIO", lines)) is None
    lines.write("thr")
    assert target.getvalue() == "worker 2: one\nworker 2: two\n"
    lines.write("ee\n\nfo")
    lines.flush()
    lines.flush()
    assert target.getvalue().splitlines()[2:] == ["worker 2: three", "worker 2: ", "worker 2: fo"]
    assert lines.encoding == target.encoding


def test_lines_of_json_have_no_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``log_format=json``, a line of a worker is JSON alone, with the number of the worker in a field."""
    target = io.StringIO()
    monkeypatch.setattr(sys, "stderr", NumberedLines(target, "worker 2: "))
    try:
        use_log_format("json", 2)
        say("it is ready")
    finally:
        use_log_format("text")
    line = json.loads(target.getvalue())
    assert (line["worker"], line["logger"], line["message"]) == (2, "greenroom.cli", "it is ready")


@pytest.mark.parametrize("workers", [0, 1.5, "many"])
def test_wrong_number_of_workers(workers: object) -> None:
    """``workers`` must be a whole number of at least 1."""
    with pytest.raises(ConfigError, match="workers must be a whole number of at least 1, not"):
        Greenroom(log="memory:", settings={"workers": workers})
    assert Greenroom(log="memory:", settings={"workers": 1}).settings.workers == 1
