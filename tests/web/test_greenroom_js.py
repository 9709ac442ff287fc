"""greenroom.js, the client for browsers: the rules of the protocol, and the promises of the client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from web.node import Node
    from web.scripted import Connection, ScriptedServer


def live_client(node: Node, server: ScriptedServer, options: str = "", **welcome: object) -> Connection:
    """Make a client and send it a welcome. Return the server's side of its connection."""
    node.connect(options)
    connection = server.accept(**(welcome or {"latest": 0}))
    node.until("live")
    return connection


# --- hello ------------------------------------------------------------------------------------------------------------


def test_hello(node: Node, server: ScriptedServer) -> None:
    """The client offers the subprotocol, and its first frame is a hello with the session and the token."""
    node.connect("token: async () => 't1', from: 'latest'")
    connection = server.accept()
    assert connection.subprotocol == "greenroom.v1"
    assert connection.hello == {
        "type": "hello", "session": "s1", "token": "t1", "from": "latest", "client": "greenroom.js"
    }  # fmt: skip


@pytest.mark.parametrize("bad", ["'http://127.0.0.1/', { session: 's1' }", "url, { session: 'a b' }", "url, {}"])
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
    """If the server sends no welcome within 15 s, the client drops the connection and reconnects."""
    node.connect()
    server.accept()
    node.advance(15_000)
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


# --- commands ---------------------------------------------------------------------------------------------------------


def test_calls_and_their_commands(node: Node, server: ScriptedServer) -> None:
    """``start``, ``cancel``, ``answer`` and ``send`` each send a command, and resolve with the result in its reply."""
    connection = live_client(node, server)
    node.run("""
        watch("start", kept.client.start("assistant", { q: 1 }));
        watch("cancel", kept.client.cancel("r1"));
        watch("answer", kept.client.answer("r1", "c1", [true]));
        watch("send", kept.client.send("hi"));
    """)
    commands = [connection.receive() for _ in range(4)]
    assert [(command["name"], command["args"]) for command in commands] == [
        ("run.start", {"agent": "assistant", "input": {"q": 1}}),
        ("run.cancel", {"run_id": "r1"}),
        ("input.answer", {"run_id": "r1", "call_id": "c1", "value": [True]}),
        ("message.send", {"text": "hi"}),
    ]
    for command, result in zip(commands, ({"run_id": "r9"}, {"cancelled": False}, {}, {}), strict=True):
        connection.send("reply", id=command["id"], ok=True, result=result)
    node.first(1, "send")
    assert [node.noted(name) for name in ("start", "cancel", "answer", "send")] == [["r9"], [False], [None], [None]]


def test_refused_command_rejects(node: Node, server: ScriptedServer) -> None:
    """If the server refuses a command, the promise of the call rejects with the code of the refusal."""
    connection = live_client(node, server)
    node.run("watch('start', kept.client.start('nobody', ''))")
    error = {"code": "unknown_agent", "message": "no agent 'nobody'"}
    connection.send("reply", id=connection.receive()["id"], ok=False, error=error)
    assert node.first(1, "start") == [{"failed": "unknown_agent"}]


def test_commands_are_queued_in_order(node: Node, server: ScriptedServer) -> None:
    """Commands that are given while there is no connection are queued, and later sent in order."""
    node.connect()
    node.run("watch('a', kept.client.send('a')); watch('b', kept.client.send('b'))")
    connection = server.accept(latest=0)
    assert [connection.receive()["args"]["text"] for _ in range(2)] == ["a", "b"]


def test_unanswered_command_is_sent_again(node: Node, server: ScriptedServer) -> None:
    """A command that has no reply when the connection is lost is sent again, with the same id, until a reply comes."""
    connection = live_client(node, server)
    node.run("watch('start', kept.client.start('assistant', 'x', { commandId: 'mine' }))")
    sent = connection.receive()
    assert sent["id"] == "mine"
    connection.cut()
    node.reconnect()
    again = server.accept(recovered=True)
    assert again.receive() == sent
    again.send("reply", id=sent["id"], ok=True, result={"run_id": "r1"}, duplicate=True)
    assert node.first(1, "start") == ["r1"]
    again.cut()
    node.reconnect()
    third = server.accept(recovered=True)
    third.send("ping")
    assert third.receive() == {"type": "pong"}  # and not the command once more


def test_command_of_an_unreachable_session_is_sent_again(node: Node, server: ScriptedServer) -> None:
    """If the server cannot reach the session, the client sends the command again at once, with its id."""
    connection = live_client(node, server)
    node.run("watch('start', kept.client.start('a', 1))")
    sent = connection.receive()
    connection.send("reply", id=sent["id"], ok=False, error={"code": "owner_unreachable", "message": "m"})
    assert connection.receive() == sent
    connection.send("reply", id=sent["id"], ok=True, result={"run_id": "r1"})
    assert node.first(1, "start") == ["r1"]


def test_expired_command_is_not_sent_again(node: Node, server: ScriptedServer) -> None:
    """If the server may have forgotten the id of a command, the client does not send the command again.

    The command rejects with ``outcome_unknown``.
    """
    connection = live_client(node, server)
    node.run("watch('sent', kept.client.send('once'))")
    connection.receive()
    node.run("watch('late', kept.client.send('once'))")
    connection.receive()
    connection.cut()
    node.until("waiting")
    node.advance(300_001)
    server.accept(recovered=True)
    assert node.first(1, "sent") == [{"failed": "outcome_unknown"}]


def test_pending_commands_are_bounded(node: Node, server: ScriptedServer) -> None:
    """At most 32 commands can wait for a reply. One more rejects at once with ``too_many_pending``."""
    node.connect()
    node.run("for (let i = 0; i < 33; i++) watch('sent', kept.client.send(`${i}`))")
    assert node.first(1, "sent") == [{"failed": "too_many_pending"}]
    connection = server.accept(latest=0)
    assert [connection.receive()["args"]["text"] for _ in range(32)] == [str(i) for i in range(32)]


def test_too_large_command_rejects(node: Node, server: ScriptedServer) -> None:
    """A command larger than ``max_frame_bytes`` rejects and is not sent, so the connection stays open."""
    live_client(node, server, max_frame_bytes=1_000)
    node.run("watch('sent', kept.client.send('ä'.repeat(500)))")
    assert node.first(1, "sent") == [{"failed": "too_large"}]
    assert node.run("return kept.client.state") == "live"


def test_commands_reject_at_the_end(node: Node, server: ScriptedServer) -> None:
    """When the server has ended the client, commands without a reply and all later commands reject."""
    connection = live_client(node, server)
    node.run("watch('sent', kept.client.send('a'))")
    connection.receive()
    connection.close(4505, "flooding")
    assert node.first(1, "sent") == [{"failed": "closed"}]
    node.run("watch('after', kept.client.send('b'))")
    assert node.first(1, "after") == [{"failed": "closed"}]


def test_rejection_after_the_end_names_the_reason(node: Node, server: ScriptedServer) -> None:
    """A command that is sent after the end of the client rejects with the reason and the code of that end."""
    live_client(node, server).close(4501, "a token is required")
    node.first(1, "closed")
    message = node.run("return kept.client.send('late').catch((error) => error.message)")
    assert message == "the client is closed: a token is required (4501)"


def test_typing(node: Node, server: ScriptedServer) -> None:
    """While a user types, the client sends ``typing`` at most every 2 s. The end of typing is sent once."""
    connection = live_client(node, server)
    node.run("for (let key = 0; key < 5; key++) { kept.client.typing(true); advance(700); }")
    node.run("kept.client.typing(false); kept.client.typing(false)")
    connection.send("ping")
    sent = [connection.receive() for _ in range(4)]
    typing = [{"type": "typing", "active": active} for active in (True, True, False)]
    assert sent == [*typing, {"type": "pong"}]


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
