"""WebSocket clients that others wrote: a conversation, a resume, closes, pings, large messages, and no compression."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from _frame_schemas import check_frame
from foreign.conftest import LIBRARIES

if TYPE_CHECKING:
    from browser.wire import Wire
    from foreign.clients import Connection, Foreign
    from protocol.threaded import ThreadedServer

pytestmark = pytest.mark.timeout(300)  # a browser may need long to start on a busy machine

Frame = dict[str, Any]
_sessions = map("s{}".format, count())


class Talk:
    """The protocol of Greenroom on a connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.events: list[Frame] = []

    def send(self, type_: str, **fields: object) -> None:
        """Send a frame."""
        self.connection.send(json.dumps({"type": type_, **fields}, ensure_ascii=False))

    def receive(self, type_: str) -> Frame:
        """Return the next frame of this type."""
        while True:
            frame: Frame = json.loads(self.connection.receive())
            check_frame(frame)
            self.events += frame["events"] if frame["type"] == "events" else []
            if frame["type"] == type_:
                return frame

    def hello(self, session: str, **fields: object) -> Frame:
        """Say hello and return the welcome."""
        self.send("hello", session=session, **fields)
        return self.receive("welcome")

    def run(self, text: str) -> list[Frame]:
        """Run the agent that repeats its input. Return all events up to its end."""
        self.send("command", id="1", name="run.start", args={"agent": "echo", "input": text})
        while not self.events or self.events[-1]["type"] != "agent_completed":
            self.receive("events")
        return self.events


def talk(foreign: Foreign, port: int) -> Talk:
    """Connect a client, and check what was agreed on: the subprotocol, and no extension."""
    connection = foreign.connect(f"ws://127.0.0.1:{port}/")
    assert connection.agreed == ("greenroom.v1", "")
    return Talk(connection)


def ended(foreign: Foreign, one: Talk) -> tuple[int, str] | None:
    """Wait for the end of a connection. Return code and reason, or None if such a client does not tell them."""
    end = one.connection.ended()
    return end if foreign.sees_the_answer else None


def test_conversation(foreign: Foreign, server: ThreadedServer) -> None:
    """The client agrees on the subprotocol, says hello, and gets all events of a run in order. It is not compressed.

    When the client closes the connection, it gets its own code back.
    """
    one = talk(foreign, server.port)
    welcome = one.hello(next(_sessions))
    assert (welcome["latest"], welcome["recovered"]) == (0, False)
    events = one.run("é€𝄞")
    assert [event["type"] for event in events] == ["agent_started", "agent_output", "agent_completed"]
    assert [event["seq"] for event in events] == [1, 2, 3]
    assert events[1]["data"]["text"] == "é€𝄞"
    one.connection.close(4000, "done")
    assert ended(foreign, one) in (None, (4000, "done"))


@pytest.mark.parametrize("foreign", [*LIBRARIES, "Chromium"], indirect=True)
def test_compressed_conversation(foreign: Foreign, compressing: ThreadedServer) -> None:
    """A client that offers compression gets it from a server that compresses. Texts arrive whole in both directions."""
    connection = foreign.connect(f"ws://127.0.0.1:{compressing.port}/")
    assert connection.agreed[0] == "greenroom.v1"
    assert "deflate" in connection.agreed[1].lower()
    one = Talk(connection)
    one.hello(next(_sessions))
    text = "é€𝄞 a long text " * 2000
    assert one.run(text)[1]["data"]["text"] == text
    connection.close(4000, "done")
    connection.ended()
    compressing.wait_for_connections(0)


@pytest.mark.parametrize("size", [125, 126, 65_000])
def test_large_message(foreign: Foreign, server: ThreadedServer, size: int) -> None:
    """A message of any size arrives whole, in both directions."""
    one = talk(foreign, server.port)
    one.hello(next(_sessions))
    text = "é" * (size // 2)
    assert one.run(text)[1]["data"]["text"] == text
    one.connection.close(4000, "done")
    one.connection.ended()


def test_resume_after_a_cut(foreign: Foreign, server: ThreadedServer, wire: Wire) -> None:
    """After a cut of the network, the client comes back with its position, and gets exactly what it missed."""
    session = next(_sessions)
    server.emit(session, "a", "b")
    one = talk(foreign, wire.port)
    epoch = one.hello(session)["epoch"]
    one.receive("events")
    wire.cut()
    assert ended(foreign, one) in (None, (1006, ""))
    server.emit(session, "c", "d")
    wire.mend()
    two = talk(foreign, wire.port)
    welcome = two.hello(session, resume={"epoch": epoch, "seq": one.events[-1]["seq"]})
    server.emit(session, "e")
    while len(two.events) < 3:
        two.receive("events")
    assert (welcome["recovered"], [event["data"]["value"] for event in two.events]) == (True, ["c", "d", "e"])
    two.connection.close(4000, "done")
    two.connection.ended()


@pytest.mark.parametrize("foreign", [*LIBRARIES, "websocat"], indirect=True)
def test_ping(foreign: Foreign, server: ThreadedServer) -> None:
    """A ping is answered before the hello and after it. (The users of a browser cannot send one.)"""
    one = talk(foreign, server.port)
    one.connection.ping()
    one.hello(next(_sessions))
    one.connection.ping()
    one.connection.close(4000, "done")
    one.connection.ended()


@pytest.mark.parametrize(("message", "code"), [("{}", 4500), ("x" * 65_537, 1009)], ids=["bad frame", "too large"])
def test_close_of_the_server(foreign: Foreign, server: ThreadedServer, message: str, code: int) -> None:
    """The client gets a goodbye with a code and a reason. Then it sees a close with the same code and reason."""
    check_close(foreign, server, message, code)


@pytest.mark.parametrize("foreign", [*LIBRARIES, "Chromium"], indirect=True)
def test_binary_message(foreign: Foreign, server: ThreadedServer) -> None:
    """A client that sends a binary message is closed with 1003. (websocat sends either text or binary messages.)"""
    check_close(foreign, server, b"binary", 1003)


def check_close(foreign: Foreign, server: ThreadedServer, message: str | bytes, code: int) -> None:
    """Send a message that ends the connection, and check what the client sees."""
    one = talk(foreign, server.port)
    one.hello(next(_sessions))
    one.connection.send(message)
    goodbye = one.receive("goodbye")
    assert goodbye["code"] == code
    assert ended(foreign, one) in (None, (code, goodbye["reason"]))
