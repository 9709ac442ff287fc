"""The browser's client where something fails or comes late: it stays in its place, and the client goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from web.node import Node

if TYPE_CHECKING:
    from collections.abc import Iterator

HELPERS = """
    const states = () => noted.filter(([type]) => type === "state").map(([, { state }]) => state);
    const details = (wanted) => noted.filter(([type]) => type === wanted).map(([, detail]) => detail);
    const retry = () => advance(details("state").at(-1).retryInMs);
    const live = async (options, extra) => {
        begin(options, extra); await turn(); Socket.last.welcome(); await turn(); return Socket.last;
    };
    const again = async (fields) => { retry(); await turn(); Socket.last.welcome(fields); await turn(); };
    const settled = (promise) => Promise.race([promise.then((v) => v ?? "done", (e) => e.code ?? e.message), turn()]);
"""


@pytest.fixture(scope="module")
def page(node_with_ws: str) -> Iterator[Node]:
    """One process for all of these: each test begins a client of its own, over sockets that it scripts."""
    process = Node(node_with_ws, "ws://x/")
    yield process
    process.end()


def run(page: Node, js: str) -> Any:
    return page.run(HELPERS + js)


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
        await turn(); Socket.last.welcome({{ latest: 2 }}); Socket.last.events(1);
        for (const type of ["reset", "event", "welcome"]) if (type === "{at}") client.addEventListener(type, close);
        client.addEventListener("state", ({{ detail }}) => detail.state === "{at}" && close());
        await turn(); Socket.last.events(2); Socket.last.lose();
        if (client.state !== "closed") {{
            retry(); await turn(); Socket.last.welcome({{ recovered: false, epoch: "e2", reset: "trimmed" }});
        }}
        advance(60_000); await turn();
        return [client.state, states().filter((state) => state === "closed").length, Socket.all.length - sockets,
                states().at(-1)];
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


# --- a command's time -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("away", "outcome"), [(59_000, None), (61_000, "outcome_unknown")])
def test_the_servers_memory_decides_whether_a_command_is_sent_again(page: Node, away: int, outcome: str | None) -> None:
    """``command_memory_ms`` of the welcome counts, from the first time that the command was sent."""
    got = run(
        page,
        f"""
        begin(); await turn(); Socket.last.welcome({{ command_memory_ms: 60_000 }}); await turn();
        let end = null; kept.client.start("a", 1).catch((error) => (end = error.code)); await turn();
        Socket.last.lose(); freeze({away}); await turn();
        Socket.last.welcome({{ command_memory_ms: 60_000 }}); await turn();
        return [end, Socket.last.of("command").length];
        """,
    )
    assert got == [outcome, 0 if outcome else 1]


def test_the_shorter_memory_counts_where_the_server_changed(page: Node) -> None:
    """What the server of then may have forgotten is not sent to the one of now, nor the other way round."""
    for then, now in ((10_000, 60_000), (60_000, 10_000)):
        got = run(
            page,
            f"""
            begin(); await turn(); Socket.last.welcome({{ command_memory_ms: {then} }});
            const end = kept.client.send("x"); end.catch(() => {{}}); await turn();
            Socket.last.lose(); freeze(11_000); await turn(); Socket.last.welcome({{ command_memory_ms: {now} }});
            return [await settled(end), Socket.last.of("command").length];
            """,
        )
        assert got == ["outcome_unknown", 0]


def test_a_clock_that_is_set_says_nothing_about_a_command(page: Node) -> None:
    """An hour forward or back on the wall, and the command is as old as it was."""
    for jump in (3_600_000, -3_600_000):
        got = run(
            page,
            f"""
            const socket = await live(); const end = kept.client.send("x"); end.catch(() => {{}}); await turn();
            setClock({jump}); socket.lose(); await again();
            return [Socket.last.of("command").length];
            """,
        )
        assert got == [1]
    got = run(
        page,
        """
        const socket = await live(); const end = kept.client.send("x"); end.catch(() => {}); await turn();
        setClock(-3_600_000); socket.lose(); freeze(300_001); await turn();
        return settled(end);
        """,
    )
    assert got == "outcome_unknown"


def test_a_sleep_that_only_the_clock_on_the_wall_saw_counts(page: Node) -> None:
    """Where the other clock stands still with the machine, the page's waking says that this was a sleep."""
    got = run(
        page,
        """
        const socket = await live(); const end = kept.client.send("x"); end.catch(() => {}); await turn();
        setClock(3_600_000); fire("visibilitychange"); socket.lose(); retry(); await turn();
        return [await settled(end), Socket.last.of("command").length];
        """,
    )
    assert got == ["outcome_unknown", 0]


@pytest.mark.parametrize("jump", [3_600_000, -3_600_000])
def test_typing_backoff_and_limits_go_by_no_clock_that_is_set(page: Node, jump: int) -> None:
    """The refresh of typing, the delays and the silence are as long as ever."""
    got = run(
        page,
        f"""
        const socket = await live(); kept.client.typing(true); setClock({jump});
        kept.client.typing(true); advance(1_999); kept.client.typing(true);
        const early = socket.of("typing").length; advance(1); kept.client.typing(true);
        const due = socket.of("typing").length;
        advance(3_000); setClock({jump}); socket.lose(); const delay = details("state").at(-1).retryInMs;
        return [early, due, delay];
        """,
    )
    assert got == [1, 2, 200]


# --- waking up --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["visibilitychange", "focus", "resume", "online"])
def test_a_dead_connection_is_replaced_soon_after_the_page_wakes(page: Node, event: str) -> None:
    """5 s without an answer, not 35, and several events at once are one look."""
    got = run(
        page,
        f"""
        const socket = await live(); fire("{event}"); fire("focus"); fire("online");
        const probes = socket.sent.length - 1; advance(4_999); const before = kept.client.state; advance(1);
        return [probes, before, kept.client.state, details("state").at(-1).reason];
        """,
    )
    assert got == [1, "live", "waiting", "nothing heard from the server"]


def test_a_healthy_connection_is_kept_when_the_page_wakes(page: Node) -> None:
    """Any frame is an answer, and afterwards the silence counts from there; a page that is hidden looks at nothing."""
    got = run(
        page,
        """
        const socket = await live(); socket.events(1, 2);
        for (let i = 0; i < 3; i++) {
            fire("focus"); advance(3_000); socket.receive({ type: "history", id: "x", events: [], more: false });
        }
        const probe = socket.of("history")[0];
        document.visibilityState = "hidden"; fire("visibilitychange"); document.visibilityState = "visible";
        advance(34_999); const before = kept.client.state; advance(1);
        return [probe.after, probe.limit, socket.of("history").length, before, kept.client.state, Socket.all.length];
        """,
    )
    assert got == [2, 1, 3, "live", "waiting", 1]


def test_a_page_that_was_frozen_is_no_judge_of_silence(page: Node) -> None:
    """What came meanwhile is still to be read: the connection is asked first, and given up if it says nothing."""
    got = run(
        page,
        """
        const socket = await live(); freeze(600_000);
        const asked = [kept.client.state, socket.of("history").length];
        advance(4_999); socket.receive({ type: "ping" }); advance(30_000);
        const well = kept.client.state; freeze(600_000); advance(5_000);
        return [...asked, well, kept.client.state];
        """,
    )
    assert got == ["live", 1, "live", "waiting"]


def test_a_page_that_wakes_while_it_waits_tries_at_once(page: Node) -> None:
    """Unless the server said how long to wait; the network's return counts more than that."""
    got = run(
        page,
        """
        (await live()).lose(); fire("focus"); await turn(); const soon = Socket.all.length;
        Socket.last.welcome(); Socket.last.receive({ type: "goodbye", code: 4005, reason: "", retry_ms: 9_000 });
        Socket.last.lose(4005); fire("focus"); await turn(); const told = Socket.all.length;
        fire("online"); await turn();
        return [soon, told, Socket.all.length];
        """,
    )
    assert got == [2, 2, 3]


# --- positions --------------------------------------------------------------------------------------------------------

TWO = """
    const items = new Map(), storage = { getItem: (key) => items.get(key) ?? null,
        setItem: (key, value) => items.set(key, value), removeItem: (key) => items.delete(key) };
    const make = async (seqs, more = {}) => {
        const client = connect("ws://x/", { session: "s1", WebSocket: Socket, persist: true, storage, ...more });
        await turn();
        const { resume } = (Socket.last.onopen(), Socket.last.of("hello")[0]);
        Socket.last.receive({ type: "welcome", epoch: "e", oldest: 1, latest: 9, recovered: !!resume });
        client.addEventListener("event", () => {}); await turn(); Socket.last.events(...seqs);
        return [client, resume?.seq ?? 0];
    };
"""


def test_two_clients_of_one_page_have_a_position_each(page: Node) -> None:
    """Made in the same order after a refresh, each goes on where it was; one that is made anew does too."""
    got = run(
        page,
        TWO
        + """
        const [slow] = await make([1, 2]), [fast] = await make([1, 2, 3, 4]);
        fast.close(); const [fast2, second] = await make([5]);
        slow.close(); fast2.close();
        const [a, one] = await make([]), [b, last] = await make([]); a.close(); b.close();
        return [second, one, last, items.size];
        """,
    )
    assert got == [4, 2, 5, 2]


def test_a_name_keeps_its_position_in_any_order(page: Node) -> None:
    """And a client without one goes by what versions before this one stored."""
    got = run(
        page,
        TWO
        + """
        const key = `greenroom:${JSON.stringify(["ws://x/", "", "s1"])}`;
        items.set(key, '{"epoch":"e","seq":7}');
        const [a] = await make([1], { name: "side" }), [b] = await make([1, 2], { name: "main" });
        a.close(); b.close();
        const [c, main] = await make([], { name: "main" }), [d, side] = await make([], { name: "side" });
        const [e, plain] = await make([]);
        for (const client of [c, d, e]) client.close();
        return [main, side, plain];
        """,
    )
    assert got == [2, 1, 7]
