"""greenroom.js where no WebSocket gets through: a stream over HTTP, then polls, with one position for all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from _scale import scaled
from hypothesis import HealthCheck, given, settings
from web.scenes import run_js as run_scene

if TYPE_CHECKING:
    from web.node import Node

SCENES = """
    const turns = async () => { for (let i = 0; i < 8; i++) await turn(); };
    const http = async (options) => {
        begin({ fallback: `http://h${Math.floor(performance.now())}${Date.now()}/base/`, ...options }); await turn();
    };
    const fail = async () => { Socket.last.lose(); retry(); await turns(); };
    const failed = async (options) => { await http(options); for (let i = 0; i < 3; i++) await fail();
    return Asked.last; };
    const streaming = async (options) => {
        const asked = (await failed(options)).stream(); asked.welcome(); await turns();
        Socket.all.at(-1)?.lose(); await turn(); return asked;
    };
    const polling = async (options) => {
        (await failed(options)).json({}, 404); await turns(); retry(); await turns();
        const asked = Asked.last; asked.frames(); await turns(); Socket.last.lose(); return Asked.last;
    };
"""


def run_js(page: Node, js: str) -> Any:
    """Run JavaScript with the helpers of this module. Each test has its own WebSocket URL: a page remembers them."""
    run_js.count = getattr(run_js, "count", 0) + 1  # type: ignore[attr-defined]  # a counter of this function alone
    # A block, since the names of a test may be those of a helper.
    return run_scene(page, SCENES.replace("begin({", f"begin({{ at: {run_js.count},") + f"{{ {js} }}")  # type: ignore[attr-defined]  # see above


# --- the choice of a transport ----------------------------------------------------------------------------------------


def test_three_failed_openings(page: Node) -> None:
    """After three openings that failed, the client reads a stream over HTTP, with its token in a header."""
    got = run_js(
        page,
        """
        await http({ token: "t" }); await fail(); await fail(); const before = Asked.all.length; await fail();
        const asked = Asked.last; asked.stream().welcome(); await turn(); asked.events(1, 2); await turn();
        const { url, query, headers } = asked;
        return [before, url.pathname, query, headers.Authorization, headers.Accept, kept.client.state,
        kept.client.transport,
                details("event").map(({ seq }) => seq), kept.client.position];
        """,
    )
    query = {"session": "s1", "after": "oldest"}
    state = ["live", "sse", [1, 2], {"epoch": "e1", "seq": 2}]
    assert got == [0, "/base/events", query, "Bearer t", "text/event-stream", *state]


def test_openings_without_a_network(page: Node) -> None:
    """Openings that fail while the browser is offline do not count: no transport would work then."""
    got = run_js(
        page,
        """
        await http(); navigator.onLine = false;
        for (let i = 0; i < 5; i++) await fail();
        const offline = [kept.client.transport, Asked.all.length, Socket.all.length];
        navigator.onLine = true; await fail(); await fail(); const before = Asked.all.length; await fail();
        const after = Asked.all.length; delete navigator.onLine;
        return [offline, before, after];
        """,
    )
    assert got == [["websocket", 0, 6], 0, 1]


def test_no_welcome_within_ten_seconds(page: Node) -> None:
    """If a WebSocket opens and no welcome comes within 10 s, the next attempt is a stream, and no WebSocket."""
    got = run_js(
        page,
        """
        await http(); Socket.last.onopen(); advance(9_999); const before = kept.client.state; advance(1); retry();
        await turns(); Asked.last.stream().welcome(); await turn();
        return [before, kept.client.transport, Socket.all.length];
        """,
    )
    assert got == ["connecting", "sse", 1]


def test_stream_that_is_held_back(page: Node) -> None:
    """If something on the way holds the stream back, no welcome comes within 10 s, and the client polls."""
    got = run_js(
        page,
        """
        (await failed()).stream(); advance(10_000); retry(); await turns();
        const { query, headers } = Asked.last; Asked.last.frames([1]); await turns();
        return [Asked.all[0].aborted, headers.Accept, query.wait, kept.client.transport, Asked.last.query];
        """,
    )
    query = {"session": "s1", "after": "e1:1", "wait": "25"}
    assert got == [True, "application/json", "0", "poll", query]


def test_nothing_gets_through(page: Node) -> None:
    """If stream and poll fail, too, the client begins again with WebSockets, three of them."""
    got = run_js(
        page,
        """
        const kinds = [], { length } = Socket.all; await failed();
        for (let i = 0; i < 7; i++) {
            const asked = Asked.all.length; kinds.push(kept.client.state === "connecting" && Asked.last.aborted);
            if (i % 5 < 2) Asked.last.json({}, 404); else Socket.last.lose();
            await turns(); retry(); await turns(); kinds[i] = Asked.all.length > asked ? "http" : "socket";
        }
        return kinds;
        """,
    )
    assert got == ["http", "socket", "socket", "socket", "http", "http", "socket"]


@pytest.mark.parametrize(
    "end",
    [
        "Socket.last.onopen(); Socket.last.receive({ type: 'goodbye', code: 4005 }); Socket.last.lose(4005)",
        "Socket.last.lose(4006)",
        "Socket.last.welcome(); Socket.last.lose()",
    ],
)
def test_server_that_was_reached(page: Node, end: str) -> None:
    """If the server itself ends the connections, WebSockets get through, and no other transport is tried."""
    got = run_js(
        page,
        f"""
        await http(); for (let i = 0; i < 9; i++) {{ {end}; retry(); await turn(); }}
        return [Asked.all.length, Socket.all.length];
        """,
    )
    assert got == [0, 10]


def test_failing_tokens_are_no_failed_openings(page: Node) -> None:
    """If the token function fails, no transport was tried: the next attempt is a WebSocket."""
    got = run_js(
        page,
        """
        await http({ token: () => Promise.reject(new Error()) }); for (let i = 0; i < 9; i++) { retry();
        await turn(); }
        return [Asked.all.length, Socket.all.length];
        """,
    )
    assert got == [0, 0]


def test_no_fallback(page: Node) -> None:
    """With ``fallback: false`` the client uses WebSockets only."""
    got = run_js(page, "await http({ fallback: false }); for (let i = 0; i < 9; i++) await fail(); "
                       "return [Asked.all.length, Socket.all.length]")  # fmt: skip
    assert got == [0, 10]


def test_default_address(page: Node) -> None:
    """By default, the routes are below the address of the WebSocket, with http: or https:."""
    got = run_js(
        page,
        """
        kept.client = open("wss://example.com/ws/?a=b", { session: "s1", WebSocket: Socket, fallback: undefined });
        Socket.all = []; Asked.all = []; await turn();
        for (let i = 0; i < 3; i++) await fail();
        const { href } = Asked.last.url; kept.client.close();
        return href;
        """,
    )
    assert got == "https://example.com/ws/events?session=s1&after=oldest"


def test_websockets_that_work_again(page: Node) -> None:
    """*A server that restarts refuses WebSockets for a while.* So the client tries one beside its new stream.

    If it opens, the client goes back to it, at its position.
    """
    got = run_js(
        page,
        """
        const asked = (await failed()).stream(), before = Socket.all.length; asked.welcome(); await turn();
        asked.events(1); await turn(); const tried = Socket.all.length - before, probe = Socket.last;
        probe.onopen(); advance(0); await turn(); Socket.last.welcome(); await turn();
        Socket.last.events(2); await turn();
        return [tried, probe.closed, asked.aborted, Socket.last.of("hello")[0].resume.seq, kept.client.transport,
                details("event").map(({ seq }) => seq)];
        """,
    )
    assert got == [1, True, True, 1, "websocket", [1, 2]]


def test_transport_that_works_is_kept(page: Node) -> None:
    """A client whose stream worked comes back with a stream, and tries no more WebSockets. So does a new client."""
    got = run_js(
        page,
        """
        const asked = await streaming(), sockets = Socket.all.length; asked.controller.close(); await turns();
        retry(); await turns(); Asked.last.stream().welcome(); await turn();
        const state = kept.client.transport, other = connect(`ws://x/?${kept.at}`, { session: "s2",
        WebSocket: Socket });
        await turns(); const { query } = Asked.last; other.close();
        return [state, Socket.all.length - sockets, query.session];
        """,
    )
    assert got == ["sse", 0, "s2"]


def test_restart_of_the_server_over_http(page: Node) -> None:
    """A transport that worked is tried nine times before another one: a server may be away for long."""
    got = run_js(
        page,
        """
        const asked = await streaming(); asked.controller.close(); await turns(); const { length } = Asked.all;
        for (let i = 0; i < 9; i++) { retry(); await turns(); Asked.last.reject(new Error("refused")); await turns(); }
        retry(); await turns();
        return Asked.all.slice(length).map(({ headers }) => headers.Accept);
        """,
    )
    assert got == ["text/event-stream"] * 9 + ["application/json"]


def test_stream_that_is_held_back_later(page: Node) -> None:
    """If a stream that worked is held back at the next opening, the client polls next."""
    got = run_js(
        page,
        """
        const asked = await streaming(); asked.controller.close(); await turns(); retry(); await turns();
        Asked.last.stream(); advance(10_000); retry(); await turns();
        return Asked.last.headers.Accept;
        """,
    )
    assert got == "application/json"


@pytest.mark.parametrize(
    "answer", ["text('<p>Log in</p>', 'text/html')", "json({ code: 'x' }, 403)", "reject(new Error('net'))"]
)
def test_answers_of_others(page: Node, answer: str) -> None:
    """A page of a captive portal, a refusal of a proxy and a failed request: the client polls next."""
    got = run_js(
        page,
        f"(await failed()).{answer}; await turns(); retry(); await turns(); "
        "return [kept.client.state, Asked.last.headers.Accept]",
    )
    assert got == ["connecting", "application/json"]


def test_refusals_of_the_server(page: Node) -> None:
    """A refusal of the server counts as its close code: 4501 ends the client, 4005 makes it wait as long as it says."""
    got = run_js(
        page,
        """
        (await failed()).json({ type: "goodbye", code: 4005, reason: "busy", retry_ms: 700 }, 503); await turns();
        const { code, retryInMs } = details("state").at(-1); retry(); await turns();
        Asked.last.json({ type: "goodbye", code: 4501, reason: "no" }, 401); await turns();
        return [code, retryInMs, Asked.last.headers.Accept, kept.client.state, details("closed")];
        """,
    )
    assert got == [4005, 700, "text/event-stream", "closed", [{"code": 4501, "reason": "no"}]]


# --- downwards --------------------------------------------------------------------------------------------------------


def test_signals_and_the_end_of_a_stream(page: Node) -> None:
    """Signals come over the stream. After a goodbye the client waits as it says, and resumes with a stream."""
    got = run_js(
        page,
        """
        const asked = await streaming(); asked.events(1);
        asked.message("signal", { type: "signal", name: "n", data: 7 });
        asked.message("goodbye", { type: "goodbye", code: 1001, reason: "restart", retry_ms: 900 }); await turns();
        const { code, retryInMs } = details("state").at(-1); retry(); await turns();
        return [details("signal"), code, retryInMs, Asked.last.query.after];
        """,
    )
    assert got == [[{"name": "n", "data": 7}], 1001, 900, "e1:1"]


def test_silent_stream(page: Node) -> None:
    """Comments keep a stream alive. Without any bytes for 35 s it is replaced."""
    got = run_js(
        page,
        """
        const asked = await streaming(); for (let i = 0; i < 4; i++) { advance(30_000); asked.write(":\\n\\n");
        await turn(); }
        const well = kept.client.state; advance(34_999); const still = kept.client.state; advance(1);
        return [well, still, kept.client.state, asked.aborted];
        """,
    )
    assert got == ["live", "live", "waiting", True]


@pytest.mark.parametrize("kind", ["streaming", "polling"])
def test_page_that_wakes(page: Node, kind: str) -> None:
    """A page that wakes reads on by a new request, since its old one may be dead. After 2 s it reconnects."""
    got = run_js(
        page,
        f"""
        const asked = await {kind}(); fire("focus"); await turns();
        const again = Asked.last, wait = again.query.wait ?? "0";
        if ("{kind}" === "polling") again.frames([1]); else {{ again.stream().welcome(); again.events(1); }}
        await turns(); advance(2_000); const well = kept.client.state;
        fire("online"); await turn(); advance(2_000); await turns();
        return [asked.aborted, again !== asked, wait, well, details("event").length, details("welcome").length,
                states().slice(-2)];
        """,
    )
    assert got == [True, True, "0", "live", 1, 1, ["waiting", "connecting"]]


def test_position_that_is_lost_while_reading_on(page: Node) -> None:
    """If the position is lost at a poll, the client connects anew, and the application gets the reset."""
    got = run_js(
        page,
        """
        (await polling()).frames([1, 2]); await turns();
        const lost = { recovered: false, reset: "epoch_changed", epoch: "e2", oldest: 1, latest: 1 };
        Asked.last.frames([], { welcome: lost }); await turns(); retry(); await turns();
        Asked.last.frames([1], { welcome: lost }); await turns();
        return [details("reset"), details("event").map(({ seq }) => seq), kept.client.position.epoch];
        """,
    )
    assert got == [[{"type": "reset", "reason": "epoch_changed"}], [1, 2, 1], "e2"]


def test_signals_between_polls(page: Node) -> None:
    """Between two polls, signals are lost: the client makes those of starts and typing from the welcomes."""
    got = run_js(
        page,
        """
        const queued = [{ command_id: "c", agent: "a", since: 1 }], typing = [{ by: "user", id: "x" }];
        (await polling()).frames([], { welcome: { queued, typing } }); await turns();
        const during = kept.client.queued.map(({ command_id }) => command_id);
        Asked.last.frames(); await turns();
        return [during, kept.client.queued, details("signal").map(({ name, data }) => [name,
        data.waiting ?? data.active])];
        """,
    )
    assert got == [["c"], [], [["queued", True], ["typing", True], ["queued", False], ["typing", False]]]


def test_page_that_is_left(page: Node) -> None:
    """A page that is left ends its requests, and gives its place among the connections back."""
    got = run_js(
        page,
        """
        const asked = await streaming(); kept.client.send("x").catch(() => {}); await turn(); const post = Asked.last;
        fire("pagehide"); await turn(); const state = kept.client.state; fire("pageshow", { persisted: true });
        await turns(); const again = Asked.last; kept.client.close(); await turn();
        return [asked.aborted, post.aborted, state, again.headers.Accept, again.aborted, Asked.all.length];
        """,
    )
    assert got == [True, True, "waiting", "text/event-stream", True, 3]


def test_parser(page: Node) -> None:
    """The parser returns the same messages, however the text is cut, and with each kind of line end."""
    got = run_js(
        page,
        r"""
        const text = "\uFEFFid: e:1\ndata: a\ndata:  b\n\n: comment\n\nevent: signal\ndata:\n\n" +
            "id\0: x\ndata\n\nevent: lost\n\ndata: ü💚\n\ndata: half";
        const wanted = JSON.stringify(new Parser().push(text)), other = new Set();
        for (const end of ["\n", "\r\n", "\r"]) {
            const lines = text.replaceAll("\n", end);
            for (let cut = 0; cut <= lines.length; cut++) {
                const parser = new Parser();
                other.add(JSON.stringify([...parser.push(lines.slice(0, cut)), ...parser.push(lines.slice(cut))]));
            }
        }
        return [[...other].every((got) => got === wanted), JSON.parse(wanted)];
        """,
    )
    assert got[0] is True
    assert [(each["event"], each["data"], each.get("id")) for each in got[1]] == [
        ("message", "a\n b", "e:1"),
        ("signal", "", "e:1"),
        ("message", "", "e:1"),
        ("message", "ü💚", "e:1"),
    ]


# --- upwards ----------------------------------------------------------------------------------------------------------


def test_commands_by_post(page: Node) -> None:
    """Commands are posted one after the other, in the order of the calls, and resolve with their replies."""
    got = run_js(
        page,
        """
        await streaming({ token: "t" }); const one = kept.client.start("a", 1), two = kept.client.send("b");
        await turn();
        const first = Asked.of("commands"); const { method, headers, query, frame } = first[0];
        first[0].json({ type: "reply", id: frame.id, ok: true, result: { run_id: "r" } }); await turns();
        const second = Asked.of("commands").at(-1);
        second.json({ type: "reply", id: second.frame.id, ok: false, error: { code: "overloaded", message: "" } },
        429);
        const { session, connection, wait } = query;
        return [first.length, method, headers.Authorization, headers["Content-Type"], session, connection, wait,
        frame.name,
                await settled(one), second.frame.name, await two.catch(({ code }) => code)];
        """,
    )
    sent = [1, "POST", "Bearer t", "application/json", "s1", "h1", "1", "run.start"]
    assert got == [*sent, "r", "message.send", "overloaded"]


def test_start_that_waits_for_its_turn(page: Node) -> None:
    """A command without a reply yet (202) is posted again with its id, ever later, and lets others pass.

    A refusal of such a repetition because of its rate does not count: the command is with the server.
    """
    got = run_js(
        page,
        """
        await streaming(); const start = kept.client.start("a", 1), end = start.then((run) => note("run", run));
        await turn();
        const { id } = Asked.last.frame, posts = () => Asked.of("commands").filter(({ frame }) => frame.id === id);
        Asked.last.json({ type: "pending", id }, 202); await turns();
        kept.client.send("b").catch(() => {}); await turn(); const passed = Asked.last.frame.name;
        Asked.last.json({ type: "reply", id: Asked.last.frame.id, ok: true }); await turns();
        const counts = [];
        for (const ms of [999, 1, 1_999, 1]) { advance(ms); await turns(); counts.push(posts().length);
            if (ms === 1) Asked.last.json({ type: "reply", id, ok: false, error: { code: "rate_limited" } }, 429);
            await turns(); }
        advance(4_000); await turns();
        posts().at(-1).json({ type: "reply", id, ok: true, result: { run_id: "r" }, duplicate: true });
        return [passed, counts, await start, posts().map(({ query }) => query.wait)];
        """,
    )
    assert got == ["message.send", [1, 2, 2, 3], "r", ["1", "0", "0", "0"]]


def test_commands_across_transports(page: Node) -> None:
    """A command without a reply is sent again with its id over every transport, until one brings the reply."""
    got = run_js(
        page,
        """
        await http(); Socket.last.welcome(); await turn();
        const end = kept.client.start("a", 1); await turn(); const { id } = Socket.last.of("command")[0];
        Socket.last.lose(); retry(); await turn(); Socket.last.onopen(); advance(10_000); retry(); await turns();
        Asked.last.stream().welcome({ recovered: true }); await turns();
        const overStream = Asked.last.frame.id === id;
        Asked.last.reject(new Error("cut")); await turns(); retry(); await turns();
        Asked.last.stream().welcome(); await turns(); const again = Asked.last.frame.id === id;
        Asked.last.json({ type: "reply", id, ok: true, result: { run_id: "r" }, duplicate: true });
        return [overStream, again, await end];
        """,
    )
    assert got == [True, True, "r"]


def test_post_that_was_too_slow(page: Node) -> None:
    """A POST whose body did not come in time (408) does not end the client: the network was slow."""
    got = run_js(
        page,
        """
        await streaming(); const end = kept.client.send("x"); await turn(); const { id } = Asked.last.frame;
        Asked.last.json({ type: "goodbye", code: 4503, reason: "no body in time" }, 408); await turns(); retry();
        await turns(); Asked.last.stream().welcome(); await turns(); const { frame } = Asked.last;
        Asked.last.json({ type: "reply", id, ok: true, result: {} });
        return [frame.id === id, await settled(end)];
        """,
    )
    assert got == [True, "done"]


def test_typing_and_tokens(page: Node) -> None:
    """Typing and a fresh token go to the stream's connection. A client that polls types as its first connection."""
    got = run_js(
        page,
        """
        let n = 0; const token = () => `t${++n}`, asked = (await failed({ token })).stream();
        asked.welcome({ expires_ms: 100_000 });
        await turns(); kept.client.typing(true); await turn(); const typed = Asked.last; typed.json(undefined, 204);
        for (let i = 0; i < 5; i++) { advance(10_000); asked.write(":\\n\\n"); await turns(); }
        const { frame, headers, query } = Asked.last, known = n;
        return [typed.frame, typed.query.connection, [frame.type, frame.token], headers.Authorization,
        query.connection, known];
        """,
    )
    assert got[0] == {"type": "typing", "active": True}
    token = f"t{got[5]}"
    assert got[1:5] == ["h1", ["token", token], f"Bearer {token}", "h1"]
    got = run_js(
        page,
        """
        (await polling()).frames([], { welcome: { connection: "h2" } }); await turns();
        kept.client.typing(true); await turn(); const { frame, query } = Asked.of("commands").at(-1);
        return [frame, query, details("welcome").at(-1).connection];
        """,
    )
    assert got == [{"type": "typing", "active": True}, {"session": "s1", "typist": "h1", "wait": "1"}, "h1"]


def test_history_by_post(page: Node) -> None:
    """Pages of older events are read by POST."""
    got = run_js(
        page,
        """
        await streaming(); const end = kept.client.history({ after: 3, limit: 2 }); await turn();
        const { frame } = Asked.last;
        Asked.last.json({ type: "history", id: frame.id, events: [{ seq: 4 }], more: false });
        return [frame.after, frame.limit, await end];
        """,
    )
    assert got == [3, 2, {"events": [{"seq": 4}], "more": False}]


# --- six connections to a host ----------------------------------------------------------------------------------------


def test_fourth_tab(page: Node) -> None:
    """Over HTTP/1.1, three channels of a browser hold a connection. The fourth asks from time to time, and moves up."""
    got = run_js(
        page,
        """
        const tabs = [], fallback = "http://tabs/";
        for (let i = 0; i < 4; i++) {
            const client = connect(`ws://tabs/?${kept.at}${i}`, { session: `t${i}`, WebSocket: Socket, fallback });
            for (let n = 0; n < 3; n++) { await turn(); Socket.last.lose(); advance(900); }
            await turns(); const asked = Asked.last; tabs.push([client, asked]);
            if (i < 3) asked.stream().welcome(); else asked.frames();
            await turns();
        }
        const [client, first] = tabs[3], kinds = tabs.map(([{ transport }]) => transport), { wait } = first.query;
        const before = Asked.all.length; advance(374); await turns(); const early = Asked.all.length - before;
        tabs[0][0].close(); advance(1); await turns();
        const next = Asked.last; next.stream().welcome({ connection: "h9" }); await turns();
        client.typing(true); await turn(); const { typist, connection } = Asked.of("commands").at(-1).query;
        const after = [next.query.session, next.headers.Accept, client.transport, typist, connection];
        for (const [each] of tabs) each.close();
        return [kinds, wait, early, after];
        """,
    )
    after = ["t3", "text/event-stream", "sse", "h1", None]  # it types as the connection that it takes for its own
    assert got == [["sse", "sse", "sse", "poll"], "0", 0, after]


@pytest.mark.parametrize(
    ("where", "kind"), [("navigator.locks = undefined", "poll"), ("performance.getEntriesByType = h2", "sse")]
)
def test_tabs_that_cannot_or_need_not_be_counted(page: Node, where: str, kind: str) -> None:
    """Without Web Locks (a page over plain http) the client polls. Over HTTP/2 no counting is needed."""
    got = run_js(
        page,
        f"""
        const {{ locks }} = navigator, entries = performance.getEntriesByType;
        const h2 = () => [{{ name: "http://h2/page", nextHopProtocol: "h2" }}];
        navigator.locks = undefined; {where};
        const asked = await failed({{ fallback: "http://h2/" }});
        if ("{kind}" === "sse") asked.stream().welcome(); else asked.frames();
        await turns(); navigator.locks = locks; performance.getEntriesByType = entries;
        return kept.client.transport;
        """,
    )
    assert got == kind


def test_polls_become_rare(page: Node) -> None:
    """A client that may hold no connection asks soon again after news, and every 3 s when nothing happens."""
    got = run_js(
        page,
        """
        const { locks } = navigator; navigator.locks = undefined; (await failed()).frames(); const pauses = [];
        for (let i = 0; i < 9; i++) {
            await turns(); const before = Asked.all.length; let ms = 0;
            while (Asked.all.length === before && ms < 5_000) { advance(125); ms += 125; await turns(); }
            pauses.push(ms); Asked.last.frames(i === 6 ? [1] : []);
        }
        navigator.locks = locks;
        return pauses;
        """,
    )
    assert got[0] == 375
    assert got[5:] == [2875, 3000, 250, 375]


# --- all of it at once ------------------------------------------------------------------------------------------------


def step(act: str, **options: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return a Hypothesis strategy for one step of the model: an action with its options."""
    return st.fixed_dictionaries({"act": st.just(act), **options})


STEPS = st.one_of(
    step("answer", nth=st.integers(0, 3)),
    step("grow", count=st.integers(1, 3)),
    step("cut"),
    step("fail", status=st.sampled_from([0, 0, 404, 502])),
    step("rebuild"),
    step("start"),
    step("run", lost=st.booleans(), pending=st.booleans()),
    step("wake", event=st.sampled_from(["focus", "online", "pagehide", "pageshow"])),
    step("advance", ms=st.sampled_from([10, 500, 5_000, 40_000])),
)


@given(steps=st.lists(STEPS, max_size=40), held=st.booleans())
@settings(max_examples=scaled(100, 2_000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_model_over_http(page: Node, steps: list[dict[str, Any]], *, held: bool) -> None:
    """After any sequence of failures, the application has got each event once and in order, each command one end."""
    run_js.count = getattr(run_js, "count", 0) + 1  # type: ignore[attr-defined]  # as in run_js
    scope = f"{{ begin, noted, advance, at: {run_js.count}, held: {json.dumps(held)} }}"  # type: ignore[attr-defined]  # as in run_js
    got = page.run(f"return playOverHttp({json.dumps(steps)}, {scope})")
    assert got["state"] == "live"
    assert got["seen"] == list(range(1, got["length"] + 1))
    assert got["position"] == {"epoch": got["epoch"], "seq": got["length"]}
    assert set(got["outcomes"]) <= {1}
