"""greenroom.js, the client for browsers: the hello, each event once and in order, and how events are handed out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from web.scenes import live_client

if TYPE_CHECKING:
    from web.node import Node
    from web.scripted import ScriptedServer


# --- hello ------------------------------------------------------------------------------------------------------------


def test_hello(node: Node, server: ScriptedServer) -> None:
    """The client offers the subprotocol, and its first frame is a hello with the session and the token."""
    node.connect("token: async () => 't1', from: 'latest'")
    connection = server.accept()
    assert connection.subprotocol == "greenroom.v1"
    assert connection.hello == {
        "type": "hello", "session": "s1", "token": "t1", "from": "latest", "client": "greenroom.js"
    }  # fmt: skip


@pytest.mark.parametrize("bad", ["'ftp://127.0.0.1/', { session: 's1' }", "url, { session: 'a b' }", "url, {}"])
def test_bad_arguments_throw(node: Node, bad: str) -> None:
    """``connect`` throws at the call if an argument cannot be used."""
    assert node.run(f"try {{ open({bad}) }} catch (error) {{ return error.name }}") == "TypeError"


def test_states(node: Node, server: ScriptedServer) -> None:
    """The client dispatches a ``state`` event for each new state, in order."""
    connection = live_client(node, server)
    connection.cut()
    node.reconnect()
    server.accept(recovered=True)
    states = [change["state"] for change in node.first(4, "state")]
    assert states == ["live", "waiting", "connecting", "live"]  # the first "connecting" was before anybody could listen


# --- each event once, in order ----------------------------------------------------------------------------------------


def test_resume_and_duplicates(node: Node, server: ScriptedServer) -> None:
    """A client that reconnects sends the position of its last event, and drops events that it has got before."""
    connection = live_client(node, server)
    connection.events(1, 2, 3)
    assert node.seqs(3) == [1, 2, 3]
    connection.cut()
    node.reconnect()
    again = server.accept()
    assert again.hello["resume"] == {"epoch": "e1", "seq": 3}
    again.welcome(recovered=True, latest=5)
    again.events(2, 3, 4)
    again.events(4, 5)
    assert node.seqs(5) == [1, 2, 3, 4, 5]


def test_gap_is_resumed(node: Node, server: ScriptedServer) -> None:
    """If an event is missing, the client drops the connection, reconnects and resumes, and so gets the event."""
    connection = live_client(node, server)
    connection.events(1, 2)
    connection.events(4, 5)
    assert connection.closed_by_client()
    node.reconnect()
    again = server.accept()
    assert again.hello["resume"] == {"epoch": "e1", "seq": 2}
    again.welcome(recovered=True, latest=5)
    again.events(3, 4, 5)
    assert node.seqs(5) == [1, 2, 3, 4, 5]


def test_gap_at_the_beginning(node: Node, server: ScriptedServer) -> None:
    """If the first event is newer than the oldest event of the log, the client reports a gap and resumes."""
    connection = live_client(node, server, oldest=7, latest=9)
    connection.events(8, 9)
    assert connection.closed_by_client()
    node.reconnect()
    assert server.accept().hello["resume"] == {"epoch": "e1", "seq": 6}


def test_resume_without_events(node: Node, server: ScriptedServer) -> None:
    """A client that has had a welcome but no event resumes from the position in the welcome."""
    connection = live_client(node, server, epoch="e7", latest=0)
    connection.cut()
    node.reconnect()
    assert server.accept().hello["resume"] == {"epoch": "e7", "seq": 0}


def test_from_latest(node: Node, server: ScriptedServer) -> None:
    """A client with ``from: "latest"`` gets only the events after the latest event in the welcome."""
    connection = live_client(node, server, "from: 'latest'", latest=40)
    connection.events(41)
    assert node.seqs(1) == [41]


@pytest.mark.parametrize("reason", ["epoch_changed", "trimmed", "ahead"])
def test_reset_comes_before_events(node: Node, server: ScriptedServer, reason: str) -> None:
    """If the position is lost, the client dispatches a ``reset`` before the events that follow it."""
    connection = live_client(node, server)
    connection.events(1, 2, 3)
    node.seqs(3)
    connection.cut()
    node.reconnect()
    again = server.accept(epoch="e2", oldest=2, latest=3, reset=reason)
    again.events(2, 3)
    assert node.seqs(5) == [1, 2, 3, 2, 3]
    told = [type_ for type_ in node.run("return noted.map(([type]) => type)") if type_ in {"event", "reset"}]
    assert told == ["event"] * 3 + ["reset"] + ["event"] * 2
    assert node.noted("reset") == [{"type": "reset", "reason": reason}]
    assert node.run("return kept.client.position") == {"epoch": "e2", "seq": 3}


# --- handing out ------------------------------------------------------------------------------------------------------


def test_events_wait_for_the_first_listener(node: Node, server: ScriptedServer) -> None:
    """Events that arrive before the application adds a listener are kept, and the first listener gets them all."""
    node.connect(extra="{ silent: ['event'] }")
    connection = server.accept(latest=2)
    connection.events(1, 2)
    connection.send("signal", name="marker", data=None)
    node.first(1, "signal")
    node.run("kept.client.addEventListener('event', ({ detail }) => note('event', detail))")
    connection.events(3)
    assert node.seqs(3) == [1, 2, 3]


def test_iterator_order(node: Node, server: ScriptedServer) -> None:
    """An iterator returns events and resets in the order in which they arrived."""
    node.connect(extra="{ silent: ['event', 'reset'] }")
    connection = server.accept(latest=2)
    connection.events(1, 2)
    connection.cut()
    node.reconnect()
    server.accept(epoch="e2", latest=1, reset="epoch_changed").events(1)
    took = node.run("""
        const took = [];
        for await (const event of kept.client) if (took.push(event.seq ?? event.reason) === 4) break;
        return took;
    """)
    assert took == [1, 2, "epoch_changed", 1]


def test_next_iterator_goes_on(node: Node, server: ScriptedServer) -> None:
    """If the application leaves an iterator, a new iterator continues with the next event."""
    node.connect(extra="{ silent: ['event'] }")
    connection = server.accept(latest=3)
    connection.events(1, 2, 3)
    assert node.run("for await (const event of kept.client) return event.seq") == 1
    connection.events(4)
    connection.send("signal", name="marker", data=None)
    node.first(1, "signal")
    took = node.run("""
        const took = [];
        for await (const event of kept.client) if (took.push(event.seq) === 3) break;
        return took;
    """)
    assert took == [2, 3, 4]


def test_listener_leaves_nothing_for_an_iterator(node: Node, server: ScriptedServer) -> None:
    """Events that a listener gets are not kept: an iterator that is made later begins with newer events."""
    connection = live_client(node, server)
    node.run("kept.feed = kept.client[Symbol.asyncIterator](); kept.feed.return();")
    connection.events(1, 2)
    assert node.seqs(2) == [1, 2]
    node.run("kept.feed = kept.client[Symbol.asyncIterator]()")
    connection.events(3)
    assert node.run("return (await kept.feed.next()).value.seq") == 3


def test_iterator_ends_after_close(node: Node, server: ScriptedServer) -> None:
    """If the application calls ``close()``, a waiting iterator ends, and the connection is closed."""
    connection = live_client(node, server)
    node.run("kept.next = kept.client[Symbol.asyncIterator]().next(); kept.client.close()")
    assert node.run("return kept.next") == {"done": True}
    assert connection.closed_by_client() == 1005
    assert node.noted("closed") == [{"code": 1000, "reason": "closed here"}]


def test_iterator_throws_after_a_final_code(node: Node, server: ScriptedServer) -> None:
    """If the server closes the connection with a final code, a waiting iterator throws."""
    connection = live_client(node, server)
    node.run("watch('next', kept.client[Symbol.asyncIterator]().next())")
    connection.close(4506, "session closed for good")
    assert node.first(1, "next") == [{"failed": "closed"}]


def test_signals_refusals_and_unknown_frames(node: Node, server: ScriptedServer) -> None:
    """The client dispatches signals and ``error`` frames as events, and ignores frames of unknown types."""
    connection = live_client(node, server)
    connection.send("of_a_newer_server", x=1)
    connection.send("signal", name="typing", data={"by": "agent", "id": "r1", "active": True})
    connection.send("error", code="bad_history", message="no")
    assert node.first(1, "refused") == [{"code": "bad_history", "message": "no"}]
    assert node.noted("signal") == [{"name": "typing", "data": {"by": "agent", "id": "r1", "active": True}}]


def test_queued_starts(node: Node, server: ScriptedServer) -> None:
    """``client.queued`` lists the starts that wait for their turn, from the welcome and from later signals.

    If an agent sends its own signal with the name ``queued`` and other data, the list does not change.
    """
    node.connect()
    first = {"command_id": "a", "agent": "x", "since": 5}
    connection = server.accept(latest=0, queued=[first])
    for data in ({"command_id": "b", "agent": "y", "waiting": True}, None, 7, {"waiting": True}):
        connection.send("signal", name="queued", data=data)
    node.first(4, "signal")
    assert node.run("return kept.client.queued") == [first, {"command_id": "b", "agent": "y"}]
    connection.send("signal", name="queued", data={"command_id": "a", "agent": "x", "waiting": False})
    node.first(5, "signal")
    assert node.run("return kept.client.queued.map((start) => start.command_id)") == ["b"]
    connection.cut()
    node.reconnect()
    server.accept(recovered=True)
    node.first(2, "welcome")
    assert node.run("return kept.client.queued") == []


def test_queued_start_is_cancelled_by_its_command(node: Node, server: ScriptedServer) -> None:
    """The client can cancel a start that has no run yet by the id of the start's command."""
    connection = live_client(node, server)
    node.run("watch('start', kept.client.start('x', null, { commandId: 'mine' }))")
    node.run("watch('cancel', kept.client.cancel({ commandId: 'mine' }))")
    start, cancel = connection.receive(), connection.receive()
    assert (cancel["name"], cancel["args"]) == ("run.cancel", {"command_id": "mine"})
    connection.send("reply", id=start["id"], ok=False, error={"code": "cancelled", "message": "before its turn"})
    connection.send("reply", id=cancel["id"], ok=True, result={"cancelled": True})
    assert node.first(1, "cancel") == [True]
    assert node.noted("start") == [{"failed": "cancelled"}]
