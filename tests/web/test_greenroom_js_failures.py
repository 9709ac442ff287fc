"""The browser's client where something fails or comes late: it stays in its place, and the client goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from web.scenes import run

if TYPE_CHECKING:
    from web.node import Node

# --- one attempt at a time --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", ["reject(new Error('late'))", "resolve('late')", "resolve(7)"])
def test_a_token_that_comes_after_its_attempt_was_given_up_touches_nothing(page: Node, late: str) -> None:
    """The connection that replaced the attempt lives on, and no second socket is opened."""
    got = run(
        page,
        f"""
        let resolve, reject, calls = 0;
        begin({{ token: () => (calls++ ? "good" : new Promise((yes, no) => {{ resolve = yes; reject = no; }})) }});
        await turn();
        advance(15_000); retry(); await turn(); Socket.last.welcome();
        {late}; await turn(); advance(1_000);
        return [kept.client.state, Socket.all.length, Socket.last.of("hello")[0].token, Socket.last.closed, calls];
        """,
    )
    assert got == ["live", 1, "good", False, 2]


@pytest.mark.parametrize("event", ["onopen()", "onmessage({ data: 'no JSON' })", "onclose({ code: 4506, reason: '' })"])
def test_what_an_old_socket_says_late_touches_nothing(page: Node, event: str) -> None:
    """A socket that was given up is not listened to, even where its class kept the callbacks."""
    got = run(
        page,
        f"""
        begin(); await turn();
        const old = Socket.last, {{ onopen, onmessage, onclose }} = old;
        old.welcome(); old.lose();
        await again();
        {event}; await turn();
        return [kept.client.state, Socket.all.length, old.sent.length, Socket.last.sent.length];
        """,
    )
    assert got == ["live", 2, 1, 1]


@pytest.mark.parametrize(
    "token", ["throw new Error('no')", "return 7", "return '\\ud800'", "return Promise.reject(Object.create(null))"]
)
def test_a_token_that_cannot_be_used_is_an_attempt_that_failed(page: Node, token: str) -> None:
    """The client waits and asks again."""
    got = run(
        page,
        f"""
        let failing = true;
        begin({{ token: () => {{ if (failing) {{ {token}; }} return "good"; }} }}); await turn();
        const state = kept.client.state, reason = details("state").at(-1).reason;
        failing = false; await again();
        return [state, reason.startsWith("no token: "), kept.client.state];
        """,
    )
    assert got == ["waiting", True, "live"]


@pytest.mark.parametrize(
    ("error", "state"),
    [("new Error('busy')", "waiting"), ("null", "waiting"), ("new DOMException('no', 'SecurityError')", "closed")],
)
def test_a_websocket_class_that_throws_is_an_attempt_that_failed(page: Node, error: str, state: str) -> None:
    """Only what a browser throws for a page that may not connect is final."""
    assert run(page, f"begin({{ WebSocket: class {{ constructor() {{ throw {error}; }} }} }}); await turn(); "
                     "return kept.client.state") == state  # fmt: skip


@pytest.mark.parametrize("method", ["send", "close"])
def test_a_socket_whose_methods_throw_is_replaced(page: Node, method: str) -> None:
    """Neither the attempt's failure nor its end gets out of it."""
    got = run(
        page,
        f"""
        class Broken extends Socket {{ {method}(text) {{
            if (Socket.all.length === 1) throw new Error("broken"); super.{method}?.(text);
        }} }}
        begin({{ WebSocket: Broken }}); await turn();
        Socket.last.welcome(); Socket.last.lose(); await again();
        return [kept.client.state, Socket.all.length];
        """,
    )
    assert got == ["live", 2]


@pytest.mark.parametrize(
    "frame",
    ['"no JSON"', "null", "7", "[]", '{ type: "events" }', '{ type: "events", events: [null] }', '{ type: "reply" }',
     '{ type: "events", events: [{ seq: "1" }] }', '{ type: "goodbye" }', '{ type: "goodbye", code: "x" }',
     '{ type: "welcome" }', '{ type: "welcome", recovered: true }', '{ type: "error" }', '{ type: "newer" }',
     '{ type: "reply", id: {}, ok: false, error: null }'],
)  # fmt: skip
def test_a_frame_that_cannot_be_is_ignored_or_costs_its_connection(page: Node, frame: str) -> None:
    """Before a welcome and after one: the client comes back, and keeps its position."""
    got = run(
        page,
        f"""
        begin(); await turn(); Socket.last.onopen(); Socket.last.receive({frame}); await turn();
        if (kept.client.state === "waiting") {{ retry(); await turn(); }}
        Socket.last.welcome(); Socket.last.events(1, 2);
        Socket.last.receive({frame}); await turn();
        if (kept.client.state === "waiting") await again();
        return [kept.client.state, kept.client.position, details("event").length];
        """,
    )
    assert got == ["live", {"epoch": "e1", "seq": 2}, 2]


@pytest.mark.parametrize(
    "frames",
    ["Socket.last.receive({ type: 'events', events: [{ seq: 1 }] })", "Socket.last.welcome(); Socket.last.welcome()"],
    ids=["events before a welcome", "a second welcome"],
)
def test_frames_out_of_order_cost_their_connection(page: Node, frames: str) -> None:
    """Nothing of them is handed out."""
    got = run(page, f"(await live()).lose(); retry(); await turn(); Socket.last.onopen(); {frames}; "
                    "return [kept.client.state, details('event').length]")  # fmt: skip
    assert got == ["waiting", 0]


@pytest.mark.parametrize("retry_ms", ["'soon'", "-1", "null", "1e12"])
def test_a_retry_ms_that_is_no_time_is_ignored(page: Node, retry_ms: str) -> None:
    """The backoff counts instead: at most 200 ms the first time."""
    got = run(
        page,
        f"""
        const socket = await live();
        socket.receive({{ type: "goodbye", code: 4005, reason: "busy", retry_ms: {retry_ms} }}); socket.lose(4005);
        return details("state").at(-1).retryInMs;
        """,
    )
    assert got == 200


def test_a_lost_position_ends_a_client_that_asked_for_strict(page: Node) -> None:
    """4410 is the answer to ``strict``; from any other client it would come back."""
    for strict, state in (("true", "closed"), ("false", "waiting")):
        got = run(page, f"const socket = await live({{ strict: {strict} }}); socket.lose(4410, 'gone'); "
                        "return [socket.of('hello')[0].strict, kept.client.state]")  # fmt: skip
        assert got == [strict == "true", state]


# --- the application's own code ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("thrown", ["throw new Error('mine')", "return Promise.reject(new Error('mine'))"])
def test_what_a_listener_throws_is_reported_and_stays_there(page: Node, thrown: str) -> None:
    """Listeners of every type fail at everything, and events, commands and reconnects go on."""
    got = run(
        page,
        f"""
        const client = begin();
        for (const type of ["state", "event", "signal", "welcome", "closed", "refused"]) {{
            client.addEventListener(type, () => {{ {thrown}; }});
            client.addEventListener(type, {{ handleEvent() {{ {thrown}; }} }});
        }}
        await turn(); Socket.last.welcome(); Socket.last.events(1);
        Socket.last.receive({{ type: "signal", name: "n" }}); Socket.last.receive({{ type: "error", code: "x" }});
        Socket.last.lose(); await again(); Socket.last.events(2); client.close(); await turn();
        return [details("event").map(({{ seq }}) => seq), states(), new Set(details("reported")).size];
        """,
    )
    assert got == [[1, 2], ["live", "waiting", "connecting", "live", "closed"], 1]


def test_a_listener_can_be_removed_and_is_added_once(page: Node) -> None:
    """A listener keeps the identity that it has in every EventTarget."""
    got = run(
        page,
        """
        let count = 0, self;
        const client = begin(), listener = function () { count += 1; self = this === client; };
        client.addEventListener("signal", listener); client.addEventListener("signal", listener);
        await turn(); Socket.last.welcome();
        Socket.last.receive({ type: "signal", name: "n" });
        client.removeEventListener("signal", listener); client.addEventListener("signal", null);
        Socket.last.receive({ type: "signal", name: "n" });
        return [count, self];
        """,
    )
    assert got == [1, True]


@pytest.mark.parametrize("at", ["connecting", "live", "waiting", "reset", "event", "welcome"])
def test_a_client_that_a_listener_closes_stays_closed(page: Node, at: str) -> None:
    """Nothing that was under way when it was closed is done any more."""
    got = run(
        page,
        f"""
        const client = begin(); let sockets;
        const close = () => {{ sockets ??= Socket.all.length; client.close(); }};
        await turn(); Socket.last.welcome({{ latest: 3 }}); Socket.last.events(1);
        for (const type of ["reset", "event", "welcome"]) if (type === "{at}") client.addEventListener(type, close);
        client.addEventListener("state", ({{ detail }}) => detail.state === "{at}" && close());
        await turn(); Socket.last.events(2, 3); Socket.last.lose();
        if (client.state !== "closed") {{
            retry(); await turn(); Socket.last.welcome({{ recovered: false, epoch: "e2", reset: "trimmed" }});
        }}
        advance(60_000); await turn();
        return [client.state, states().filter((state) => state === "closed").length, Socket.all.length - sockets,
                noted.at(-1)[0]];
        """,
    )
    assert got == ["closed", 1, 0, "closed"]


STORAGES = {
    "throws": "getItem: deny, setItem: deny, removeItem: deny",
    "throws later": "getItem: () => null, setItem: deny, removeItem: deny",
    "rejects": "async getItem() { deny(); }, async setItem() { deny(); }, async removeItem() { deny(); }",
    "is none": "",
}


@pytest.mark.parametrize("storage", STORAGES.values(), ids=STORAGES)
def test_a_storage_that_refuses_costs_the_stored_position_and_nothing_else(page: Node, storage: str) -> None:
    """Welcomes, events, iterators and commands work as without one."""
    got = run(
        page,
        f"""
        const deny = () => {{ throw new DOMException("denied", "SecurityError"); }};
        const socket = await live({{ persist: true, storage: {{ {storage} }} }}, {{ silent: ["event"] }});
        const feed = kept.client[Symbol.asyncIterator]();
        socket.events(1, 2);
        const seqs = [(await feed.next()).value.seq, (await feed.next()).value.seq];
        const sent = kept.client.send("hi");
        socket.receive({{ type: "reply", id: socket.of("command")[0].id, ok: true }});
        return [kept.client.state, seqs, await settled(sent)];
        """,
    )
    assert got == ["live", [1, 2], "done"]


def test_an_iterator_that_is_left_ends_the_reader_that_waits(page: Node) -> None:
    """A ``next`` that waits while the loop is left from elsewhere is over, not forgotten."""
    got = run(page, "await live({}, { silent: ['event'] }); const feed = kept.client[Symbol.asyncIterator](); "
                    "const waiting = feed.next(); feed.return(); return (await waiting).done")  # fmt: skip
    assert got is True


# --- arguments --------------------------------------------------------------------------------------------------------

INPUTS = {
    "a BigInt": "{ id: 10n }",
    "a cycle": "(() => { const a = {}; a.a = a; return a; })()",
    "a toJSON that throws": "{ toJSON() { throw new Error('mine'); } }",
    "a getter that throws": "{ get a() { throw null; } }",
    "65 levels": "(() => { let a = 1; for (let i = 0; i < 63; i++) a = [a]; return a; })()",
    "10,000 levels": "(() => { let a = 1; for (let i = 0; i < 10_000; i++) a = { a }; return a; })()",
}


@pytest.mark.parametrize("value", INPUTS.values(), ids=INPUTS)
def test_an_input_that_cannot_be_sent_rejects_at_the_call_and_is_not_kept(page: Node, value: str) -> None:
    """Live and offline: the next connection is as good as without it."""
    got = run(
        page,
        f"""
        const socket = await live();
        const early = await settled(kept.client.start("a", {value}));
        socket.lose();
        const offline = await settled(kept.client.start("a", {value}));
        await again();
        kept.client.start("a", "x").catch(() => {{}}); await turn();
        return [early, offline, kept.client.state, Socket.all.flatMap((one) => one.of("command")).length];
        """,
    )
    assert got == ["bad_args", "bad_args", "live", 1]


def test_as_many_levels_as_the_server_takes_are_sent(page: Node) -> None:
    """The frame's own two count; brackets in strings do not."""
    got = run(
        page,
        """
        const socket = await live(); let a = '[{"\\\\"[[['.repeat(40); for (let i = 0; i < 62; i++) a = [a];
        kept.client.start("a", a).catch(() => {}); await turn();
        return socket.of("command").length;
        """,
    )
    assert got == 1


@pytest.mark.parametrize("id_", ["''", "7", "null", "'x'.repeat(129)", "'\\ud800'", "{}"])
def test_a_command_id_that_the_server_would_end_it_for_rejects(page: Node, id_: str) -> None:
    """128 characters are the most, and a lone surrogate is none."""
    got = run(page, f"const socket = await live(); "
                    f"const end = await settled(kept.client.start('a', 1, {{ commandId: {id_} }})); "
                    f"return [end, socket.of('command').length, kept.client.state]")  # fmt: skip
    assert got == ["bad_args", 0, "live"]


def test_a_second_command_of_one_id_is_refused_and_the_first_is_answered(page: Node) -> None:
    """An id stands for one command until it is answered; afterwards it may be repeated."""
    got = run(
        page,
        """
        const socket = await live(), start = () => kept.client.start("a", 1, { commandId: "\\u{1F600}".repeat(128) });
        const answer = () => socket.receive(
            { type: "reply", id: "\\u{1F600}".repeat(128), ok: true, result: { run_id: "r" } });
        const one = start(), two = await settled(start());
        answer(); const answered = await settled(one);
        const three = start(); await turn(); answer();
        return [two, answered, await settled(three), socket.of("command").length];
        """,
    )
    assert got == ["bad_args", "r", "r", 2]


def test_typing_takes_anything_for_yes_or_no(page: Node) -> None:
    """``typing(text.length)`` is sent as a boolean: a number would end the conversation."""
    got = run(page, "const socket = await live(); kept.client.typing(3); kept.client.typing(''); "
                    "return socket.of('typing').map(({ active }) => active)")  # fmt: skip
    assert got == [True, False]


def test_typing_is_told_anew_on_a_new_connection(page: Node) -> None:
    """The server knows nothing of what an old connection said, and is not told that it ended."""
    got = run(
        page,
        """
        (await live()).lose(); kept.client.typing(true); await again();
        kept.client.typing(false); kept.client.typing(true);
        Socket.last.lose(); await again(); kept.client.typing(true);
        return Socket.all.map((socket) => socket.of("typing").length);
        """,
    )
    assert got == [0, 1, 1]


@pytest.mark.parametrize(
    "options",
    ["session: 5", "session: null", "token: 7", "token: '\\ud800'", "from: 'newest'", "strict: 1", "resume: 7",
     "resume: { epoch: 1, seq: 1 }", "resume: { epoch: 'e', seq: -1 }", "resume: { epoch: 'e', seq: 1.5 }"],
)  # fmt: skip
def test_options_that_the_server_would_end_it_for_throw_at_once(page: Node, options: str) -> None:
    """The error is a TypeError, and no connection is made."""
    got = run(page, f"Socket.all = []; try {{ connect('ws://x/', {{ session: 's1', WebSocket: Socket, {options} }}) }} "
                    "catch (error) { await turn(); return [error.name, Socket.all.length] }")  # fmt: skip
    assert got == ["TypeError", 0]


def test_a_command_that_was_not_sent_waits_although_sending_another_failed(page: Node) -> None:
    """Where sending ends the attempt, the outcome is unknown of that command alone; the others go with the next one."""
    got = run(
        page,
        """
        begin(); await turn();
        const ended = [], failing = Socket.last, send = failing.send;
        const said = (text) =>
            kept.client.send(text).then(() => ended.push(text), ({ code }) => ended.push(text + code));
        said("a"); said("b");
        failing.send = (text) => {
            if (text.includes("command")) throw new Error("cannot send");
            send.call(failing, text);
        };
        failing.welcome({ command_memory_ms: 60_000 }); await turn();
        advance(61_000); await turn();
        Socket.last.lose(); await turn();
        const told = [...ended];
        await again({ command_memory_ms: 60_000 });
        return [kept.client.state, told, Socket.last.of("command").map(({ args }) => args.text)];
        """,
    )
    assert got == ["live", ["aoutcome_unknown"], ["b"]]


@pytest.mark.parametrize("listener", ["null", "() => {}, { signal: AbortSignal.abort() }"])
def test_events_wait_for_a_listener_that_is_added(page: Node, listener: str) -> None:
    """What ``addEventListener`` does not add takes no event."""
    got = run(
        page,
        f"""
        const got = [], client = connect("ws://x/", {{ session: "s1", WebSocket: Socket }}); await turn();
        Socket.last.welcome(); Socket.last.events(1, 2);
        client.addEventListener("event", {listener}); await turn();
        client.addEventListener("event", ({{ detail }}) => got.push(detail.seq)); await turn();
        client.close();
        return got;
        """,
    )
    assert got == [1, 2]
