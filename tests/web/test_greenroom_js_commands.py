"""greenroom.js: commands, their replies, and what becomes of them without a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from web.scenes import live_client

if TYPE_CHECKING:
    from web.node import Node
    from web.scripted import ScriptedServer


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


def test_start_with_a_trace(node: Node, server: ScriptedServer) -> None:
    """The trace that is given with a start is an argument of its command."""
    connection = live_client(node, server)
    node.run("watch('start', kept.client.start('assistant', 'x', { traceparent: '00-1-2-01' }))")
    assert connection.receive()["args"] == {"agent": "assistant", "input": "x", "traceparent": "00-1-2-01"}


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
