"""greenroom.js: connections that end, new ones, tokens, and the position over a refresh."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from web.scenes import live_client

if TYPE_CHECKING:
    from web.node import Node
    from web.scripted import ScriptedServer


# --- coming back ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1001, 1011, 4001, 4004, 4006, 4410, 4499])
def test_client_comes_back_after_these_codes(node: Node, server: ScriptedServer, code: int) -> None:
    """After a close code of a temporary failure, the client reconnects and resumes."""
    connection = live_client(node, server, "token: () => 't'")
    connection.close(code)
    node.reconnect()
    assert server.accept().hello["resume"] == {"epoch": "e1", "seq": 0}


@pytest.mark.parametrize("code", [1000, 1003, 1008, 1009, 4500, 4501, 4506, 4999])
def test_client_ends_after_these_codes(node: Node, server: ScriptedServer, code: int) -> None:
    """After a final close code, the client ends with this code and does not reconnect."""
    connection = live_client(node, server)
    connection.close(code, "because")
    assert node.first(1, "closed") == [{"code": code, "reason": "because"}]
    node.advance(60_000)
    assert node.run("return kept.client.state") == "closed"
    assert server.waiting == 0


def test_goodbye_replaces_a_lost_close_frame_js(node: Node, server: ScriptedServer) -> None:
    """If the connection is cut after a goodbye, the goodbye's code decides whether the client reconnects."""
    connection = live_client(node, server)
    connection.send("goodbye", code=4502, reason="forbidden")
    connection.cut()
    assert node.first(1, "closed") == [{"code": 4502, "reason": "forbidden"}]


def test_retry_ms(node: Node, server: ScriptedServer) -> None:
    """After a goodbye with ``retry_ms``, the client waits exactly that time before it reconnects."""
    connection = live_client(node, server)
    connection.send("goodbye", code=1001, reason="going away", retry_ms=3_000)
    connection.close(1001)
    node.until("waiting")
    now: int = node.run("return Date.now()")
    waiting = {"state": "waiting", "retryInMs": 3_000, "retryAt": now + 3_000, "code": 1001, "reason": ""}
    assert node.noted("state")[-1] == waiting
    node.advance(2_999)
    assert node.run("return kept.client.state") == "waiting"
    node.advance(1)
    server.accept()


def test_backoff(node: Node) -> None:
    """The upper bound of the delay doubles with each attempt, up to 20 s. The delay is random below this bound."""
    delays = node.run("return [0, 1, 2, 6, 7, 1000].map(backoff)")
    assert delays == [200, 400, 800, 12_800, 20_000, 20_000]
    assert node.run("Math.random = () => 0.25; return backoff(1)") == 100


def test_steady_connection_resets_the_delays(node: Node, server: ScriptedServer) -> None:
    """After a connection that was live for 5 s, the next delay has the smallest bound again."""
    connection = live_client(node, server)
    delays: list[Any] = []
    for lived_ms in (0, 0, 5_000):
        node.advance(lived_ms)
        connection.cut()
        node.until("waiting")
        delays.append(node.noted("state")[-1]["retryInMs"])
        node.reconnect()
        connection = server.accept(recovered=True)
        node.until("live")
    assert delays == [200, 400, 200]


def test_silent_connection_is_replaced(node: Node, server: ScriptedServer) -> None:
    """If the server sends nothing for ``ping_ms`` plus 10 s, the client drops the connection and reconnects."""
    connection = live_client(node, server, ping_ms=4_000)
    node.advance(13_999)
    connection.send("signal", name="still here", data=None)
    node.first(1, "signal")
    node.advance(13_999)
    assert node.run("return kept.client.state") == "live"
    node.advance(1)
    assert node.run("return kept.client.state") == "waiting"


def test_no_welcome(node: Node, server: ScriptedServer) -> None:
    """If the server sends no welcome within 10 s, the client drops the connection and reconnects."""
    node.connect()
    server.accept()
    node.advance(10_000)
    assert node.noted("state")[-1]["reason"] == "nothing heard from the server"
    node.reconnect()
    server.accept()


def test_pong(node: Node, server: ScriptedServer) -> None:
    """The client answers a ping of the server with a pong."""
    connection = live_client(node, server)
    connection.send("ping")
    assert connection.receive() == {"type": "pong"}


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_expired_token(node: Node, server: ScriptedServer) -> None:
    """After 4004 (token expired), the client calls the token function again and reconnects with the new token."""
    node.run("kept.count = 0")
    node.connect("token: async () => `t${++kept.count}`")
    connection = server.accept()
    assert connection.hello["token"] == "t1"
    connection.close(4004, "token expired")
    node.reconnect()
    assert server.accept().hello["token"] == "t2"


def test_expired_string_token(node: Node, server: ScriptedServer) -> None:
    """A client with a fixed token ends after 4004 (token expired), since it cannot get a new token."""
    connection = live_client(node, server, "token: 'fixed'")
    connection.close(4004, "token expired")
    assert node.first(1, "closed") == [{"code": 4004, "reason": "token expired"}]


def test_failing_token_function(node: Node, server: ScriptedServer) -> None:
    """If the token function fails, the client waits and calls it again for the next attempt."""
    node.run("kept.fail = true")
    node.connect("token: async () => { if (kept.fail) throw new Error('offline'); return 't'; }")
    node.until("waiting")
    node.run("kept.fail = false")
    node.reconnect()
    assert server.accept().hello["token"] == "t"


# --- the position over a refresh --------------------------------------------------------------------------------------

STORAGE = """
    kept.items = {}; kept.storage = {
        getItem: (key) => kept.items[key] ?? null, setItem: (key, value) => { kept.items[key] = value; },
        removeItem: (key) => { delete kept.items[key]; },
    };
"""
PERSIST = "persist: true, storage: kept.storage"


def test_refresh_without_persist(node: Node, server: ScriptedServer) -> None:
    """Without the option ``persist``, a page that is refreshed gets all events again."""
    node.run(STORAGE)
    connection = live_client(node, server, "storage: kept.storage")
    connection.events(1, 2)
    node.seqs(2)
    node.run("kept.client.close()")
    node.connect("storage: kept.storage")
    assert "resume" not in server.accept().hello


def test_refresh_with_persist(node: Node, server: ScriptedServer) -> None:
    """With the option ``persist``, a page that is refreshed continues after its last event."""
    node.run(STORAGE)
    live_client(node, server, PERSIST).events(1, 2)
    node.seqs(2)
    node.run("kept.client.close()")
    node.connect(PERSIST)
    assert server.accept().hello["resume"] == {"epoch": "e1", "seq": 2}
    node.connect(f"{PERSIST}, user: 'somebody else'")
    assert "resume" not in server.accept().hello


def test_position_moves_with_the_next_call(node: Node, server: ScriptedServer) -> None:
    """The stored position advances to an event only when the iterator is asked for the next event."""
    node.run(STORAGE)
    node.connect(PERSIST, extra="{ silent: ['event'] }")
    node.run("kept.feed = kept.client[Symbol.asyncIterator]()")
    server.accept(latest=3).events(1, 2, 3)
    node.run("await kept.feed.next(); await kept.feed.next();")
    assert node.run("return Object.values(kept.items)") == ['{"epoch":"e1","seq":1}']


def test_left_iterator_and_the_position(node: Node, server: ScriptedServer) -> None:
    """If the application leaves an iterator, the stored position is the last event that the iterator returned."""
    node.run(STORAGE)
    node.connect(PERSIST, extra="{ silent: ['event'] }")
    server.accept(latest=3).events(1, 2, 3)
    assert node.run("for await (const event of kept.client) if (event.seq === 2) return event.seq") == 2
    assert node.run("return Object.values(kept.items)") == ['{"epoch":"e1","seq":2}']


def test_unseen_reset_comes_again(node: Node, server: ScriptedServer) -> None:
    """Until the application has taken a reset, the old position stays stored, so a refresh brings the reset again."""
    node.run(STORAGE)
    node.connect(PERSIST, extra="{ silent: ['event', 'reset'] }")
    node.run("kept.feed = kept.client[Symbol.asyncIterator]()")
    connection = server.accept(latest=1)
    connection.events(1)
    node.run("await kept.feed.next(); kept.next = kept.feed.next();")
    connection.cut()
    node.reconnect()
    server.accept(epoch="e2", latest=1, reset="epoch_changed").events(1)
    node.run("await kept.next")
    assert node.run("return Object.values(kept.items)") == ['{"epoch":"e1","seq":1}']
    node.run("await kept.feed.next(); kept.feed.next();")
    assert node.run("return Object.values(kept.items)") == ['{"epoch":"e2","seq":1}']


@pytest.mark.parametrize("stored", ["not JSON", "null", '{"epoch":1,"seq":2}', '{"epoch":"e","seq":-1}'])
def test_invalid_stored_position(node: Node, server: ScriptedServer, stored: str) -> None:
    """If the stored position is invalid, the client ignores it and begins without a position."""
    node.run(f"{STORAGE} kept.storage.getItem = () => {stored!r};")
    node.connect(PERSIST)
    assert "resume" not in server.accept().hello
