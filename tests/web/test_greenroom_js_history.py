"""greenroom.js: events of the past, and two clients of one session in one page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from web.scenes import run_js

if TYPE_CHECKING:
    from web.node import Node

SERVED = """
    const served = (socket, { oldest = 1, latest = 9, most = 500 } = {}) => {
        const send = socket.send;
        socket.send = (text) => {
            send.call(socket, text);
            const { type, id, after, limit } = JSON.parse(text);
            if (type !== "history") return;
            const seqs = Array.from({ length: latest }, (_, i) => i + 1).filter((seq) => seq > after && seq >= oldest);
            const sent = seqs.slice(0, Math.min(limit, most));
            const events = sent.map((seq) => ({ seq, type: "custom", ts: 0, data: {} }));
            queueMicrotask(() => socket.receive({ type: "history", id, events, more: sent.length < seqs.length }));
        };
    };
    const seqs = async (options) => {
        const { events, more } = await kept.client.history(options);
        return [events.map(({ seq }) => seq), more];
    };
"""


@pytest.mark.parametrize(
    ("options", "log", "expected"),
    [
        ("{}", "{}", [[1, 2, 3, 4, 5, 6, 7, 8, 9], False]),
        ("{ after: 4, limit: 2 }", "{}", [[5, 6], True]),
        ("{ after: 7 }", "{}", [[8, 9], False]),
        ("{ before: 6, limit: 3 }", "{}", [[3, 4, 5], True]),
        ("{ before: 4, limit: 9 }", "{}", [[1, 2, 3], False]),
        ("{ before: 1 }", "{}", [[], False]),
        ("{ before: 8, limit: 5 }", "{ most: 2 }", [[3, 4, 5, 6, 7], True]),
        ("{ before: 8, limit: 5 }", "{ oldest: 5 }", [[5, 6, 7], False]),
        ("{ before: 3 }", "{ oldest: 5 }", [[], False]),
    ],
)
def test_history(page: Node, options: str, log: str, expected: list[object]) -> None:
    """``history()`` returns the events before or after a number, also where the server sends fewer at once."""
    got = run_js(page, f"{SERVED} served(await live(), {log}); return seqs({options})")
    assert got == expected


@pytest.mark.parametrize(
    "options", ["{ limit: 0 }", "{ limit: 501 }", "{ before: -1 }", "{ after: 1.5 }", "{ after: '1' }"]
)
def test_bad_history(page: Node, options: str) -> None:
    """Numbers that the server would refuse reject with a TypeError, and nothing is sent."""
    got = run_js(
        page,
        f"""
        const socket = await live();
        const end = await kept.client.history({options}).catch((error) => [error instanceof TypeError, error.code]);
        return [end, socket.of("history").length];
        """,
    )
    assert got == [[True, "bad_args"], 0]


def test_history_over_a_reconnect(page: Node) -> None:
    """A question for events is asked again on the next connection, however late. At the client's end it rejects."""
    got = run_js(
        page,
        f"""
        {SERVED}
        const socket = await live(), page = seqs({{ after: 7 }}); await turn(); socket.lose();
        freeze(3_600_000); await turn(); served(Socket.last); Socket.last.welcome(); const later = await page;
        Socket.last.send = () => {{}}; const never = settled(kept.client.history()); kept.client.close();
        return [later, await never];
        """,
    )
    assert got == [[[8, 9], False], "closed"]


def test_history_that_was_refused(page: Node) -> None:
    """If the server refuses a question because of its rate limit, the client asks again after a second."""
    got = run_js(
        page,
        f"""
        {SERVED}
        const socket = await live(), page = seqs({{ after: 8 }}); await turn();
        socket.receive({{ type: "error", code: "rate_limited", message: "" }}); served(socket);
        advance(999); await turn();
        const before = socket.of("history").length; advance(1);
        return [before, await page, socket.of("history").length];
        """,
    )
    assert got == [1, [[9], False], 2]


def test_two_clients_of_one_session(page: Node) -> None:
    """Two clients of one session in one page: each gets every event, and the end of one leaves the other alone."""
    got = run_js(
        page,
        """
        const seen = [[], []], ends = [];
        const clients = seen.map((list) => {
            const client = connect("ws://x/", { session: "s1", WebSocket: Socket });
            client.addEventListener("event", ({ detail }) => list.push(detail.seq));
            return client;
        });
        Socket.all = []; await turn(); const [one, two] = Socket.all;
        for (const socket of [one, two]) socket.welcome();
        one.events(1, 2); two.events(1); clients[0].send("a").then(() => ends.push("a")); await turn();
        const id = one.of("command")[0].id;
        two.receive({ type: "reply", id, ok: true }); await turn(); const foreign = [...ends];
        one.receive({ type: "reply", id, ok: true }); await turn();
        clients[0].close(); two.events(2, 3); fire("focus");
        const result = [seen, foreign, ends, two.of("command").length, clients[1].state, two.of("history").length];
        clients[1].close();
        return result;
        """,
    )
    assert got == [[[1, 2], [1, 2, 3]], [], ["a"], 0, "live", 1]
