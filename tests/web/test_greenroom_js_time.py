"""greenroom.js and time: old commands, changes of clocks, and pages that sleep or are refreshed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from _scale import scaled
from hypothesis import HealthCheck, given, settings
from web.scenes import run_js

if TYPE_CHECKING:
    from web.node import Node

# --- a command's time -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("away", "outcome"), [(59_000, None), (61_000, "outcome_unknown")])
def test_command_memory(page: Node, away: int, outcome: str | None) -> None:
    """Until ``command_memory_ms`` after it was first sent, a command is sent again. Later it ends as unknown."""
    got = run_js(
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


def test_shorter_command_memory_counts(page: Node) -> None:
    """If two servers remember command ids for different times, the shorter time decides when a command expires."""
    for then, now in ((10_000, 60_000), (60_000, 10_000)):
        got = run_js(
            page,
            f"""
            begin(); await turn(); Socket.last.welcome({{ command_memory_ms: {then} }});
            const end = kept.client.send("x"); end.catch(() => {{}}); await turn();
            Socket.last.lose(); freeze(11_000); await turn(); Socket.last.welcome({{ command_memory_ms: {now} }});
            return [await settled(end), Socket.last.of("command").length];
            """,
        )
        assert got == ["outcome_unknown", 0]


def test_longer_memory_does_not_revive_a_command(page: Node) -> None:
    """A command that has expired with one server stays expired, even if the next server remembers ids for longer."""
    got = run_js(
        page,
        """
        begin(); await turn(); Socket.last.welcome({ command_memory_ms: 10_000 });
        const end = kept.client.send("x"); end.catch(() => {}); await turn();
        Socket.last.lose(); await retry(); await turn(); freeze(11_000, { timers: false });
        Socket.last.welcome({ command_memory_ms: 60_000 });
        return [await settled(end), Socket.last.of("command").length];
        """,
    )
    assert got == ["outcome_unknown", 0]


def test_command_expires_without_a_connection(page: Node) -> None:
    """A command expires even while there is no connection.

    A timer ends the command: the client need not read a clock at that time.
    """
    got = run_js(
        page,
        """
        let down = false;
        const socket = await live({ token: () => (down ? new Promise(() => {}) : "t") }), clock = performance.now;
        down = true;
        performance.now = () => 5;
        const end = kept.client.send("x"); end.catch(() => {}); await turn();
        socket.lose(); advance(300_000); const before = await settled(end); advance(2); performance.now = clock;
        return [before ?? "waits", await settled(end)];
        """,
    )
    assert got == ["waits", "outcome_unknown"]


def test_wall_clock_that_is_set(page: Node) -> None:
    """If the wall clock is set forward or back, the age of a command does not change."""
    for jump in (3_600_000, -3_600_000):
        got = run_js(
            page,
            f"""
            const socket = await live(); const end = kept.client.send("x"); end.catch(() => {{}}); await turn();
            setClock({jump}); socket.lose(); await again();
            return [Socket.last.of("command").length];
            """,
        )
        assert got == [1]
    got = run_js(
        page,
        """
        const socket = await live(); const end = kept.client.send("x"); end.catch(() => {}); await turn();
        setClock(-3_600_000); socket.lose(); freeze(300_001); await turn();
        return settled(end);
        """,
    )
    assert got == "outcome_unknown"


def test_sleep_seen_by_the_wall_clock_only(page: Node) -> None:
    """If the monotonic clock stood still while the machine slept, the age of a command is read from the wall clock."""
    got = run_js(
        page,
        """
        const socket = await live(); const end = kept.client.send("x"); end.catch(() => {}); await turn();
        setClock(3_600_000); fire("visibilitychange"); socket.lose(); retry(); await turn();
        return [await settled(end), Socket.last.of("command").length];
        """,
    )
    assert got == ["outcome_unknown", 0]


@pytest.mark.parametrize("jump", [3_600_000, -3_600_000])
def test_timers_ignore_the_wall_clock(page: Node, jump: int) -> None:
    """If the wall clock is set, the intervals of typing, reconnects and silence checks do not change."""
    got = run_js(
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
def test_dead_connection_after_waking(page: Node, event: str) -> None:
    """When a page wakes, it checks its connection once. Without an answer within 2 s it reconnects at once."""
    got = run_js(
        page,
        f"""
        const socket = await live(); fire("{event}"); fire("focus"); fire("online");
        const probes = socket.sent.length - 1; advance(1_999); const before = kept.client.state; advance(1);
        const {{ retryInMs, reason }} = details("state").findLast(({{ state }}) => state === "waiting"); await turn();
        return [probes, before, retryInMs, reason, Socket.all.length];
        """,
    )
    assert got == [1, "live", 0, "nothing heard from the server", 2]


def test_healthy_connection_after_waking(page: Node) -> None:
    """When a page wakes and its connection answers, the connection is kept.

    A hidden page does not check its connection.
    """
    got = run_js(
        page,
        """
        const socket = await live(); socket.events(1, 2);
        for (let i = 0; i < 3; i++) {
            fire("focus"); advance(1_500); socket.receive({ type: "history", id: "x", events: [], more: false });
        }
        const probe = socket.of("history")[0];
        document.visibilityState = "hidden"; fire("visibilitychange"); document.visibilityState = "visible";
        advance(34_999); const before = kept.client.state; advance(1);
        return [probe.after, probe.limit, socket.of("history").length, before, kept.client.state, Socket.all.length];
        """,
    )
    assert got == [2, 1, 3, "live", "waiting", 1]


def test_frozen_page_probes_first(page: Node) -> None:
    """A page that was frozen for long checks its connection before it gives it up, since messages may be unread."""
    got = run_js(
        page,
        """
        const socket = await live(); freeze(600_000);
        const asked = [kept.client.state, socket.of("history").length];
        advance(1_999); socket.receive({ type: "ping" }); advance(30_000);
        const well = kept.client.state; freeze(600_000); advance(1_999); const still = kept.client.state; advance(1);
        return [...asked, well, still, states().slice(-2)];
        """,
    )
    assert got == ["live", 1, "live", "live", ["waiting", "connecting"]]


def test_page_in_the_cache(page: Node) -> None:
    """A page that is left closes its connection and sets no timer. Shown again, it resumes at once."""
    got = run_js(
        page,
        """
        const socket = await live(); socket.events(1, 2); fire("pagehide"); advance(600_000); await turn();
        const left = [socket.closed, kept.client.state, Socket.all.length];
        fire("pageshow", { persisted: true }); await turn(); Socket.last.welcome(); await turn();
        return [...left, Socket.last.of("hello")[0].resume.seq, kept.client.state];
        """,
    )
    assert got == [True, "waiting", 1, 2, "live"]


def test_page_that_was_frozen(page: Node) -> None:
    """A page that was frozen checks its connection when it is resumed, before its late timers end the connection."""
    got = run_js(
        page,
        """
        const socket = await live(); fire("freeze"); freeze(300_000, { timers: false }); fire("resume");
        const asked = socket.of("history").length; socket.receive({ type: "ping" }); freeze(0); advance(30_000);
        return [asked, kept.client.state, Socket.all.length];
        """,
    )
    assert got == [1, "live", 1]


@pytest.mark.parametrize("jump", [3_600_000, -3_600_000])
def test_delay_ignores_the_wall_clock(page: Node, jump: int) -> None:
    """If the wall clock is set while the client waits, the next attempt begins after the same delay."""
    got = run_js(
        page,
        f"""
        (await live()).lose(); setClock({jump}); advance(199); await turn(); const before = Socket.all.length;
        advance(1); await turn();
        return [before, Socket.all.length];
        """,
    )
    assert got == [1, 2]


def test_reconnect_now(page: Node) -> None:
    """If the client waits, ``reconnect()`` begins the next attempt at once, even after a ``retry_ms``, and only one."""
    got = run_js(
        page,
        """
        const socket = await live(); socket.receive({ type: "goodbye", code: 4005, reason: "", retry_ms: 9_000 });
        socket.lose(4005); const before = Socket.all.length;
        const once = kept.client.reconnect(), twice = kept.client.reconnect(); await turn();
        Socket.last.welcome(); await turn(); advance(10_000); await turn();
        return [once, twice, Socket.all.length - before, kept.client.state, kept.client.reconnect()];
        """,
    )
    assert got == [True, False, 1, "live", False]


def test_no_reconnect_after_the_end(page: Node) -> None:
    """If the client has ended, ``reconnect()`` does nothing."""
    got = run_js(
        page,
        """
        const socket = await live(); socket.lose(4506); const done = kept.client.reconnect(); await turn();
        return [done, Socket.all.length, kept.client.state];
        """,
    )
    assert got == [False, 1, "closed"]


def test_time_of_the_next_attempt(page: Node) -> None:
    """While the client waits, ``retryAt`` is the time of the next attempt by the wall clock.

    Otherwise it is undefined.
    """
    got = run_js(
        page,
        """
        const socket = await live(), before = kept.client.retryAt ?? null, lostAt = Date.now(); socket.lose();
        const { retryAt, retryInMs } = details("state").at(-1);
        const during = kept.client.retryAt; retry(); await turn();
        return [before, retryInMs > 0, retryAt - retryInMs - lostAt, during === retryAt, kept.client.retryAt ?? null];
        """,
    )
    assert got == [None, True, 0, True, None]


def test_waking_ends_the_delay(page: Node) -> None:
    """A page that wakes reconnects at once, unless the server has set a delay by ``retry_ms``.

    If the browser reports that the network is back (``online``), the page reconnects at once even during such a delay.
    """
    got = run_js(
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

TWO_CLIENTS = """
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


def test_two_clients_have_two_positions(page: Node) -> None:
    """Two clients of one page store two separate positions.

    After a refresh, the first client that is made gets the first position, and the second client the second.
    """
    got = run_js(
        page,
        TWO_CLIENTS
        + """
        const [slow] = await make([1, 2]), [fast] = await make([1, 2, 3, 4]);
        fast.close(); const [fast2, second] = await make([5]);
        slow.close(); fast2.close();
        const [a, one] = await make([]), [b, last] = await make([]); a.close(); b.close();
        return [second, one, last, items.size];
        """,
    )
    assert got == [4, 2, 5, 2]


@pytest.mark.parametrize("end", ["client.close()", "Socket.last.events(9)", "Socket.last.lose()"])
def test_delivered_events_count(page: Node, end: str) -> None:
    """Events that a listener has got count as processed, even if the client or its connection ends in the listener."""
    got = run_js(
        page,
        TWO_CLIENTS
        + f"""
        const [client] = await make([1]);
        client.addEventListener("event", ({{ detail }}) => detail.seq === 3 && {end});
        Socket.last.events(2, 3, 4); client.close();
        const [next, seq] = await make([]); next.close();
        return seq;
        """,
    )
    assert got == 3


def test_position_of_a_named_client(page: Node) -> None:
    """After a refresh, a client with a name finds its position, even if the clients are made in another order.

    A client without a name finds the position that an earlier version of greenroom.js has stored.
    """
    got = run_js(
        page,
        TWO_CLIENTS
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


# --- all of it at once ------------------------------------------------------------------------------------------------


def step(act: str, **options: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return a Hypothesis strategy for one step of the model: an action with its options."""
    return st.fixed_dictionaries({"act": st.just(act), **options})


STEPS = st.one_of(
    step("token", ok=st.booleans(), nth=st.integers(0, 3)),
    step("token", ok=st.sampled_from([True]), nth=st.just(0)),
    step("welcome"),
    step("grow", count=st.integers(1, 3)),
    step("again"),
    step("gap"),
    step("rebuild"),
    step("lose", code=st.sampled_from([1001, 1006, 4001, 4002])),
    step("stale", nth=st.integers(0, 3), final=st.booleans()),
    step("start"),
    step("reply"),
    step("advance", ms=st.sampled_from([10, 500, 5_000, 40_000])),
    step("freeze", ms=st.sampled_from([1_000, 60_000, 400_000])),
    step("clock", ms=st.sampled_from([-3_600_000, 3_600_000])),
    step("wake", event=st.sampled_from(["focus", "online", "visibilitychange", "resume"])),
    step("page", event=st.sampled_from(["pagehide", "pageshow"])),
    step("throwing", on=st.booleans()),
)


@given(steps=st.lists(STEPS, max_size=40))
@settings(max_examples=scaled(300, 2_000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_model_of_failures(page: Node, steps: list[dict[str, Any]]) -> None:
    """After any sequence of failures, the application has got each event once and in order.

    Each command has exactly one outcome.
    """
    got = page.run(
        f"return play({json.dumps(steps)}, {{ begin, noted, advance, freeze, setClock }})",
    )
    assert got["state"] == "live"
    assert got["inOrder"], got
    assert got["position"] == got["expected"]
    assert got["most"] <= 1
    assert set(got["outcomes"]) <= {1}


# --- the end of a token -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("expires", "after"), [(3_600_000, 3_510_000), (100_000, 50_000), (10, 1_000)])
def test_fresh_token_is_sent_in_time(page: Node, expires: int, after: int) -> None:
    """A client with a token function sends a fresh token 90 s before the expiry, or after half of the time to it.

    It does so again for each fresh token.
    """
    got = run_js(
        page,
        f"""
        let n = 0;
        begin({{ token: () => `t${{n++}}` }}); await turn();
        Socket.last.welcome({{ expires_ms: {expires}, ping_ms: 1e9 }}); await turn();
        const sent = [];
        for (let i = 0; i < 2; i++) {{
            advance({after} - 1); await turn(); sent.push(Socket.last.of("token").length);
            advance(1); await turn(); sent.push(Socket.last.of("token").at(-1)?.token);
            Socket.last.receive({{ type: "token", expires_ms: {expires} }});
        }}
        return [sent, states(), Socket.all.length];
        """,
    )
    assert got == [[0, "t1", 1, "t2"], ["live"], 1]


@pytest.mark.parametrize(
    "token", ['"fixed"', "() => (n++ ? Promise.reject(new Error()) : 't')", "() => (n++ ? 7 : 't')"]
)
def test_connection_without_a_fresh_token(page: Node, token: str) -> None:
    """Without a fresh token (a fixed one, a function that fails), the connection goes on until the token expires."""
    got = run_js(
        page,
        f"""
        let n = 0;
        begin({{ token: {token} }}); await turn();
        Socket.last.welcome({{ expires_ms: 100_000, ping_ms: 1e9 }}); await turn();
        advance(99_000); await turn();
        return [Socket.last.of("token").length, states()];
        """,
    )
    assert got == [0, ["live"]]


def test_no_fresh_token_after_the_end(page: Node) -> None:
    """After the end of a client, and for a token without an end, the token function is not called.

    Of several answers of the server, the last one counts. An ended client leaves no timer, which would keep Node alive.
    """
    got = run_js(
        page,
        """
        let n = 0;
        const pending = new Set(), [set, clear] = [setTimeout, clearTimeout];
        globalThis.setTimeout = (act, ms) => {
            const timer = set(() => { pending.delete(timer); act(); }, ms);
            pending.add(timer);
            return timer;
        };
        globalThis.clearTimeout = (timer) => { pending.delete(timer); clear(timer); };
        begin({ token: () => `t${n++}` }); await turn();
        Socket.last.welcome({ expires_ms: 100_000, ping_ms: 1e9 }); await turn();
        advance(50_000); await turn();
        Socket.last.receive({ type: "token", expires_ms: 5_000 }); Socket.last.receive({ type: "token" });
        advance(1e8); await turn();
        const unending = n;
        Socket.last.receive({ type: "token", expires_ms: 100_000 });
        kept.client.close();
        const left = pending.size; [globalThis.setTimeout, globalThis.clearTimeout] = [set, clear];
        advance(1e6); await turn();
        return [unending, left, n, Socket.last.of("token").length];
        """,
    )
    assert got == [2, 0, 2, 1]
