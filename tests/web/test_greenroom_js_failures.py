"""greenroom.js when a part fails or answers late: the client continues, or ends as documented."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from web.scenes import run_js

if TYPE_CHECKING:
    from web.node import Node

# --- one attempt at a time --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", ["reject(new Error('late'))", "resolve('late')", "resolve(7)"])
def test_late_token_is_ignored(page: Node, late: str) -> None:
    """If the token function answers after its attempt was given up, the answer has no effect on the next attempt."""
    got = run_js(
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
def test_late_socket_event_is_ignored(page: Node, event: str) -> None:
    """Events of an old socket, which the client has replaced, have no effect."""
    got = run_js(
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
def test_unusable_token(page: Node, token: str) -> None:
    """If the token function throws or returns no valid string, the attempt fails, and a later one calls it again."""
    got = run_js(
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


def test_token_that_never_comes(page: Node) -> None:
    """If the token function never answers, the attempt ends after 15 s, and the next one calls the function again."""
    got = run_js(
        page,
        """
        let calls = 0; begin({ token: () => (calls++ ? "good" : new Promise(() => {})) }); await turn();
        advance(14_999); await turn(); const before = kept.client.state; advance(1); await again();
        return [before, calls, kept.client.state, Socket.all.length];
        """,
    )
    assert got == ["connecting", 2, "live", 1]


@pytest.mark.parametrize(
    ("error", "state"),
    [("new Error('busy')", "waiting"), ("null", "waiting"), ("new DOMException('no', 'SecurityError')", "closed")],
)
def test_websocket_class_throws(page: Node, error: str, state: str) -> None:
    """If the WebSocket constructor throws, the client tries again. Only a SecurityError of the browser ends it."""
    assert run_js(page, f"begin({{ WebSocket: class {{ constructor() {{ throw {error}; }} }} }}); await turn(); "
                        "return kept.client.state") == state  # fmt: skip


@pytest.mark.parametrize("method", ["send", "close"])
def test_socket_method_throws(page: Node, method: str) -> None:
    """If a method of the socket throws, the client replaces the socket, and the application gets no exception."""
    got = run_js(
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
def test_invalid_frame(page: Node, frame: str) -> None:
    """After an invalid frame, the client is live again with the same position, and no event is lost or repeated."""
    got = run_js(
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
def test_frames_out_of_order(page: Node, frames: str) -> None:
    """If the frames of a connection come in a wrong order, the client drops the connection.

    The application gets no event of this connection.
    """
    got = run_js(page, f"(await live()).lose(); retry(); await turn(); Socket.last.onopen(); {frames}; "
                       "return [kept.client.state, details('event').length]")  # fmt: skip
    assert got == ["waiting", 0]


@pytest.mark.parametrize("retry_ms", ["'soon'", "-1", "null", "1e12"])
def test_invalid_retry_ms_in_a_page(page: Node, retry_ms: str) -> None:
    """If the ``retry_ms`` of a goodbye is invalid, the client ignores it and uses its own random delay."""
    got = run_js(
        page,
        f"""
        const socket = await live();
        socket.receive({{ type: "goodbye", code: 4005, reason: "busy", retry_ms: {retry_ms} }}); socket.lose(4005);
        return details("state").at(-1).retryInMs;
        """,
    )
    assert got == 200


def test_strict_client_ends(page: Node) -> None:
    """After 4410 (position lost), a client with the option ``strict`` ends. Any other client reconnects."""
    for strict, state in (("true", "closed"), ("false", "waiting")):
        got = run_js(page, f"const socket = await live({{ strict: {strict} }}); socket.lose(4410, 'gone'); "
                           "return [socket.of('hello')[0].strict, kept.client.state]")  # fmt: skip
        assert got == [strict == "true", state]


# --- the application's own code ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("thrown", ["throw new Error('mine')", "return Promise.reject(new Error('mine'))"])
def test_listener_throws(page: Node, thrown: str) -> None:
    """If a listener throws, the exception is reported, and the client continues to work."""
    got = run_js(
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


def test_identity_of_a_listener(page: Node) -> None:
    """If the same listener is added twice, it is called only once for each event.

    After it is removed, it is not called. Null as a listener is ignored, as for every EventTarget.
    """
    got = run_js(
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
def test_client_closed_by_a_listener(page: Node, at: str) -> None:
    """If a listener calls ``close()``, the client dispatches the state ``closed`` once, and no event after that."""
    got = run_js(
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
def test_broken_storage(page: Node, storage: str) -> None:
    """If the storage for the position fails, events and commands still work. Only the stored position is lost."""
    got = run_js(
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


@pytest.mark.parametrize(
    "place", ["{ get() { throw new DOMException('no', 'SecurityError'); } }", "{ value: undefined }"]
)
def test_no_storage(page: Node, place: str) -> None:
    """With ``persist`` in a browser that has no sessionStorage, or throws at its name, events still come."""
    got = run_js(
        page,
        f"""
        Object.defineProperty(globalThis, "sessionStorage", {{ configurable: true, ...{place} }});
        const socket = await live({{ persist: true }}); socket.events(1, 2); delete globalThis.sessionStorage;
        return [kept.client.state, details("event").length];
        """,
    )
    assert got == ["live", 2]


def test_left_iterator_ends_its_reader(page: Node) -> None:
    """If the application leaves an iterator while ``next()`` waits, the waiting ``next()`` ends."""
    got = run_js(page, "await live({}, { silent: ['event'] }); const feed = kept.client[Symbol.asyncIterator](); "
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
def test_unsendable_input_rejects(page: Node, value: str) -> None:
    """An input that cannot be sent as JSON rejects with a TypeError, and nothing is sent. Later commands work."""
    got = run_js(
        page,
        f"""
        const refusal = (end) => end.then(() => "sent", (error) => [error instanceof TypeError, error.code]);
        const socket = await live();
        const early = await refusal(kept.client.start("a", {value}));
        socket.lose();
        const offline = await refusal(kept.client.start("a", {value}));
        await again();
        kept.client.start("a", "x").catch(() => {{}}); await turn();
        return [early, offline, kept.client.state, Socket.all.flatMap((one) => one.of("command")).length];
        """,
    )
    assert got == [[True, "bad_args"], [True, "bad_args"], "live", 1]


def test_unsendable_input_is_named(page: Node) -> None:
    """The message of the TypeError names the field with the BigInt, and the fields of the cycle."""
    got = run_js(
        page,
        """
        const text = (value) => kept.client.start("a", value).catch(({ message }) => message);
        await live(); const round = { items: {} }; round.items.owner = round;
        return [await text({ order: { price: 10n } }), await text(round)];
        """,
    )
    assert got[0] == "not JSON: price is a BigInt"
    assert "circular" in got[1]
    assert "owner" in got[1]


def test_nesting_limit(page: Node) -> None:
    """The client accepts the deepest input that the server accepts. Brackets inside strings do not count as levels."""
    got = run_js(
        page,
        """
        const socket = await live(); let a = '[{"\\\\"[[['.repeat(40); for (let i = 0; i < 62; i++) a = [a];
        kept.client.start("a", a).catch(() => {}); await turn();
        return socket.of("command").length;
        """,
    )
    assert got == 1


@pytest.mark.parametrize("id_", ["''", "7", "null", "'x'.repeat(129)", "'\\ud800'", "{}"])
def test_bad_command_id_rejects(page: Node, id_: str) -> None:
    """A command rejects if its id is not a string of 1 to 128 characters, or has a lone surrogate."""
    got = run_js(page, f"const socket = await live(); "
                       f"const end = await settled(kept.client.start('a', 1, {{ commandId: {id_} }})); "
                       f"return [end, socket.of('command').length, kept.client.state]")  # fmt: skip
    assert got == ["bad_args", 0, "live"]


def test_duplicate_command_id_rejects(page: Node) -> None:
    """While a command waits for its reply, a second command with the same id rejects.

    After the reply the id is free.
    """
    got = run_js(
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


def test_typing_is_a_boolean(page: Node) -> None:
    """``typing()`` sends true or false, also for an argument of another type."""
    got = run_js(page, "const socket = await live(); kept.client.typing(3); kept.client.typing(''); "
                       "return socket.of('typing').map(({ active }) => active)")  # fmt: skip
    assert got == [True, False]


def test_typing_on_a_new_connection(page: Node) -> None:
    """After a reconnect, ``typing(true)`` is sent again at once, since the server has forgotten the old state.

    While the client is offline no typing is sent, and ``typing(false)`` is sent only after a ``typing(true)``.
    """
    got = run_js(
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
def test_bad_options_throw(page: Node, options: str) -> None:
    """``connect`` throws TypeError for an option because of which the server would end the connection."""
    got = run_js(page, "Socket.all = []; "
                       f"try {{ connect('ws://x/', {{ session: 's1', WebSocket: Socket, {options} }}) }} "
                       "catch (error) { await turn(); return [error.name, Socket.all.length] }")  # fmt: skip
    assert got == ["TypeError", 0]


def test_failed_send_ends_one_command(page: Node) -> None:
    """If the socket throws while the client sends a command, only this command ends, as ``outcome_unknown``.

    The client sends its other commands later.
    """
    got = run_js(
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
def test_events_wait_for_a_real_listener(page: Node, listener: str) -> None:
    """Events that have arrived are kept until a listener is really added.

    Null, or a listener with a signal that is already aborted, is not added.
    """
    got = run_js(
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


KEEP_WARNINGS = """
    const warnings = [], { warn } = console;
    console.warn = (text) => warnings.push(text);
"""
WARNING = "greenroom: the client is closed: a token is required (4501)"


@pytest.mark.parametrize(("silent", "warnings"), [("['closed']", [WARNING]), ("[]", [])])
def test_refusal_without_a_listener_is_a_warning(page: Node, silent: str, warnings: list[str]) -> None:
    """If the server ends a client without a listener for ``closed``, the console shows one warning with the reason."""
    got = run_js(
        page,
        f"""
        {KEEP_WARNINGS}
        begin({{}}, {{ silent: {silent} }}); await turn();
        Socket.last.lose(4501, "a token is required"); await turn();
        console.warn = warn;
        return warnings;
        """,
    )
    assert got == warnings


def test_close_is_no_warning(page: Node) -> None:
    """If the application ends its client, the console shows no warning."""
    got = run_js(
        page,
        f"""
        {KEEP_WARNINGS}
        begin({{}}, {{ silent: ["closed"] }}); await turn();
        kept.client.close(); await turn();
        console.warn = warn;
        return [kept.client.state, warnings];
        """,
    )
    assert got == ["closed", []]
