"""shared.js: one connection for each session of a page, however many components show it."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from web.node import MODULE

if TYPE_CHECKING:
    from collections.abc import Callable

    from web.node import Node

SHARED = (
    f"const {{ keyOf, same, sharedStore, SharedStore }} = await load({json.dumps(str(MODULE.with_name('shared.js')))});"
)
BEGIN = (
    SHARED
    + """
    Socket.all = []; noted.length = 0;
    const options = { session: NAME, WebSocket: Socket };
    const store = (more = {}) => sharedStore("ws://x/", { ...options, ...more });
    const live = async () => { await turn(); Socket.last.welcome({ latest: 1 }); await turn(); };
    const said = (seq, text = "") => ({ seq, type: "user_message", ts: 0, data: { text } });
    const send = (...events) => Socket.last.receive({ type: "events", events });
    const list = () => { const seen = []; return [seen, (snapshot) => void seen.push(snapshot)]; };
    """
)

NUMBERS = count(1)  # each test has a session of its own: a connection that it has left open is nobody else's


@pytest.fixture
def run(page: Node) -> Callable[[str], Any]:
    """Return a function that runs JavaScript with stores over scripted sockets."""
    page.restart("ws://x/")
    begin = BEGIN.replace("NAME", f"'session-{next(NUMBERS)}'")

    def run(js: str) -> Any:
        """Run this JavaScript, and return its result."""
        return page.run(f"{begin} {{ {js} }}")

    return run


def test_subscribers_share_a_connection(run: Callable[[str], Any]) -> None:
    """Two stores of a session have one socket, and their subscribers get the same snapshots."""
    got = run("""
        const [first, hear] = list(), [second, listen] = list();
        const stops = [store().subscribe(hear), store().subscribe(listen)];
        await live(); send(said(1, "a")); advance(16);
        const same = store().getSnapshot() === first.at(-1) && first.at(-1) === second.at(-1);
        stops.forEach((stop) => stop());
        return [Socket.all.length, same, first.at(-1).timeline.map(({ text }) => text)];
    """)
    assert got == [1, True, ["a"]]


OTHERS = ["session: 's2'", "user: 'ann'", "token: 'other'", "from: 'latest'", "name: 'second'", "strict: true"]


@pytest.mark.parametrize("other", OTHERS)
def test_other_options_are_another_connection(run: Callable[[str], Any], other: str) -> None:
    """A store of another session, user or token has a connection of its own."""
    got = run(f"""
        const stops = [store(), store({{ {other} }})].map((each) => each.subscribe(() => {{}}));
        await turn(); const sockets = Socket.all.length; stops.forEach((stop) => stop());
        return sockets;
    """)
    assert got == 2


def test_connection_lingers(run: Callable[[str], Any]) -> None:
    """The connection closes ``linger`` ms after the last subscriber has left. The next subscriber begins anew."""
    got = run("""
        const one = store({ linger: 50 });
        const stop = one.subscribe(() => {}); await live(); send(said(1)); advance(16); stop(); stop();
        advance(49); const stays = [Socket.last.closed, one.getSnapshot().seq];
        const again = one.subscribe(() => {}); advance(5000); again();
        advance(49); const still = Socket.last.closed; advance(1);
        const over = [Socket.last.closed, one.getSnapshot() === EMPTY, one.client];
        one.subscribe(() => {})(); await turn();
        return [stays, still, over, Socket.all.length];
    """)
    assert got == [[False, 1], False, [True, True, None], 2]


def test_default_linger(run: Callable[[str], Any]) -> None:
    """Without the option, the connection stays for a second."""
    got = run("""
        store().subscribe(() => {})(); await live(); const { last } = Socket;
        advance(999); const before = last.closed; advance(1);
        return [before, last.closed];
    """)
    assert got == [False, True]


def test_nothing_is_opened_before_it_is_needed(run: Callable[[str], Any]) -> None:
    """A store without subscribers and calls has no socket, and its snapshot is empty."""
    got = run("""
        const one = store(); one.typing(true);
        return [one.getSnapshot() === EMPTY, one.reconnect(), one.client, Socket.all.length];
    """)
    assert got == [True, False, None, 0]


def test_call_without_a_subscriber(run: Callable[[str], Any]) -> None:
    """A call opens the connection, and keeps it until its reply comes."""
    got = run("""
        const { start } = store({ linger: 50 });
        const id = start("a", "hello"); await live(); advance(5000);
        const open = !Socket.last.closed; const [command] = Socket.last.of("command");
        Socket.last.receive({ type: "reply", id: command.id, ok: true, result: { run_id: "r9" } });
        const runId = await id; await turn(); advance(50);
        return [open, runId, Socket.last.closed];
    """)
    assert got == [True, "r9", True]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("cancel('r1')", "run.cancel"),
        ("answer('r1', 'c1', 2)", "input.answer"),
        ("send('hello')", "message.send"),
        ("start('a', 1)", "run.start"),
    ],
)
def test_every_call(run: Callable[[str], Any], call: str, name: str) -> None:
    """Each call is the client's, and rejects as the client's does."""
    got = run(f"""
        const one = store(); const end = one.{call}.catch((error) => error.code); await live();
        const [command] = Socket.last.of("command");
        const error = {{ code: "unknown_run", message: "" }};
        Socket.last.receive({{ type: "reply", id: command.id, ok: false, error }});
        return [command.name, await end];
    """)
    assert got == [name, "unknown_run"]


def test_options_of_a_start(run: Callable[[str], Any]) -> None:
    """All options of a start reach the client."""
    got = run("""
        const one = store(); one.start("a", 1, { commandId: "k", traceparent: "t" }).catch(() => {}); await live();
        const [{ id, args }] = Socket.last.of("command"); advance(16);
        return [id, args.traceparent, store().getSnapshot().starts[0].command_id];
    """)
    assert got == ["k", "t", "k"]


def test_history(run: Callable[[str], Any]) -> None:
    """Older events are read without a change of the snapshot."""
    got = run("""
        const one = store(); const answer = one.history({ after: 3, limit: 2 }); await live();
        const [{ id, after, limit }] = Socket.last.of("history");
        Socket.last.receive({ type: "history", id, events: [said(4), said(5)], more: true });
        const { events, more } = await answer;
        return [after, limit, events.map(({ seq }) => seq), more, one.getSnapshot().seq];
    """)
    assert got == [3, 2, [4, 5], True, 0]


def test_newest_token_function(run: Callable[[str], Any]) -> None:
    """The token function of the newest store counts: that of an earlier render may be out of date."""
    got = run("""
        const one = store({ token: () => "old" }); const stop = one.subscribe(() => {}); await live();
        const two = store({ token: () => "new" }).subscribe(() => {});
        Socket.last.lose(); one.reconnect(); await live();
        one.renew({ token: () => "newest" }); Socket.last.lose(); one.reconnect(); await live();
        const tokens = Socket.all.map((socket) => socket.of("hello")[0].token); stop(); two();
        return tokens;
    """)
    assert got == ["old", "new", "newest"]


def test_reconnect_after_the_end(run: Callable[[str], Any]) -> None:
    """After the client has ended, for example since the user was not logged in, ``reconnect`` begins anew for all."""
    got = run("""
        const [seen, hear] = list(); const one = store(); const stop = one.subscribe(hear); await live();
        send(said(1, "a")); advance(16); one.client.addEventListener("closed", () => {});
        Socket.last.lose(4501); advance(16); const ended = seen.at(-1).connection.state;
        const begun = one.reconnect(); await live(); send(said(1, "b")); advance(16); stop();
        const { timeline, connection } = seen.at(-1);
        return [ended, begun, Socket.all.length, timeline.map(({ text }) => text), connection.state];
    """)
    assert got == ["closed", True, 2, ["b"], "live"]


def test_reconnect_before_the_frame(run: Callable[[str], Any]) -> None:
    """If ``reconnect`` is called at once, no snapshot of the ended client comes after those of the new one."""
    got = run("""
        const [seen, hear] = list(); const one = store(); const stop = one.subscribe(hear); await live();
        send(said(1, "old")); one.client.addEventListener("closed", () => one.reconnect());
        Socket.last.lose(4501); await turn(); advance(16); stop();
        return [Socket.all.length, one.getSnapshot().timeline.length, seen.at(-1).connection.state];
    """)
    assert got == [2, 0, "connecting"]


def test_newcomer_after_the_end(run: Callable[[str], Any]) -> None:
    """A component that comes after the end of the client opens a new connection, for the earlier ones too."""
    got = run("""
        const [seen, hear] = list(); const stop = store().subscribe(hear); await live();
        store().client.addEventListener("closed", () => {}); Socket.last.lose(4501); advance(16);
        const other = store().subscribe(() => {}); await live(); advance(16); stop(); other();
        return [Socket.all.length, seen.at(-1).connection.state];
    """)
    assert got == [2, "live"]


def test_lazy_store(run: Callable[[str], Any]) -> None:
    """A lazy store calls its subscriber at once, and opens nothing for one that leaves at once."""
    got = run("""
        const lazy = new SharedStore("ws://x/", options, true);
        const [seen, hear] = list(); lazy.subscribe(hear)(); await turn(); const none = Socket.all.length;
        const stop = lazy.subscribe(hear); await live(); stop();
        return [seen[0] === EMPTY, none, Socket.all.length];
    """)
    assert got == [True, 0, 1]


@pytest.mark.parametrize(("linger", "usable"), [("0", True), ("2 ** 31 - 1", True), ("-1", False), ("2 ** 31", False)])
def test_bounds_of_linger(run: Callable[[str], Any], linger: str, usable: bool) -> None:
    """``linger`` is a time that a timer can wait: a longer one would close the connection at once."""
    got = run(
        f"try {{ store({{ linger: {linger} }}).subscribe(() => {{}})(); }} catch (error) {{ return error.name; }}"
    )
    assert got == (None if usable else "TypeError")


def test_wrong_arguments(run: Callable[[str], Any]) -> None:
    """A wrong argument is a TypeError at the first subscriber, and leaves nothing behind."""
    got = run("""
        const wrong = store({ session: "no spaces" }); const errors = [];
        for (let i = 0; i < 2; i++) try { wrong.subscribe(() => {}); } catch (error) { errors.push(error.name); }
        return [errors, wrong.getSnapshot() === EMPTY, Socket.all.length];
    """)
    assert got == [["TypeError", "TypeError"], True, 0]


def test_listener_that_throws(run: Callable[[str], Any]) -> None:
    """An exception of one subscriber is reported, and the others get the snapshot."""
    got = run("""
        const stop = store().subscribe(() => { throw new Error("mine"); }); const [seen, hear] = list();
        const other = store().subscribe(hear); await live(); send(said(1)); advance(16); stop(); other();
        return [seen.at(-1).seq, noted.some(([type]) => type === "reported")];
    """)
    assert got == [1, True]


def test_renders_are_bounded(run: Callable[[str], Any]) -> None:
    """150 events, of which each comes alone and 1 ms after the one before, are at most one snapshot for each 16 ms."""
    got = run("""
        const [seen, hear] = list(); const stop = store().subscribe(hear); await live(); advance(16); seen.length = 0;
        for (let seq = 1; seq <= 150; seq++) { send(said(seq)); advance(1); }
        advance(16); stop();
        return [seen.length, seen.at(-1).seq];
    """)
    assert got == [10, 150]


def test_frame_that_never_comes(run: Callable[[str], Any]) -> None:
    """Where the browser asks for frames, snapshots come with them; if the page was hidden meanwhile, after a second."""
    got = run("""
        const frames = []; globalThis.requestAnimationFrame = (act) => frames.push(act);
        const [seen, hear] = list(); const stop = store().subscribe(hear); await live();
        frames.splice(0).forEach((act) => act()); seen.length = 0;
        send(said(1)); advance(999); const before = seen.length; frames.splice(0).forEach((act) => act());
        const drawn = seen.length; advance(5000); const once = seen.length;
        send(said(2)); advance(999); const waiting = seen.length; advance(1); const late = seen.length;
        frames.splice(0).forEach((act) => act()); document.visibilityState = "hidden";
        send(said(3)); advance(16); stop();
        document.visibilityState = "visible"; delete globalThis.requestAnimationFrame;
        return [before, drawn, once, waiting, late, seen.length, frames.length];
    """)
    assert got == [0, 1, 1, 1, 2, 3, 0]


SAME = [
    ("1, 1", True),
    ("NaN, NaN", True),
    ("[], []", True),
    ("[1, 'a'], [1, 'a']", True),
    ("[1], [1, 2]", False),
    ("[{}], [{}]", False),
    ("{ a: 1 }, { a: 1 }", True),
    ("{ a: undefined }, { b: 1 }", False),
    ("{ a: 1 }, { a: 1, b: 2 }", False),
    ("{}, []", False),
    ("new Map([[1, 2]]), new Map([[1, 2]])", False),
    ("null, {}", False),
    ("null, null", True),
]


@pytest.mark.parametrize(("values", "expected"), SAME)
def test_same(run: Callable[[str], Any], values: str, expected: bool) -> None:
    """Selections with the same elements are the same. An object of a class is only the same as itself."""
    assert run(f"return same({values})") is expected
