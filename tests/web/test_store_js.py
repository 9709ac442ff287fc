"""store.js, which makes the snapshot (present state) of a session from its events by one pure function."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from _scale import scaled
from hypothesis import HealthCheck, given, settings
from web.storied import Telling, sessions

if TYPE_CHECKING:
    from web.node import Node

Change = dict[str, Any]
often = settings(
    max_examples=scaled(30, 2_000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
STARTED = {"seq": 1, "type": "agent_started", "ts": 10, "run_id": "r1", "data": {"agent": "a", "input": "hello"}}


def event(seq: int, type_: str, run: str | None = "r1", call: str | None = None, **data: Any) -> Change:
    """Return an event of a session, as JSON."""
    ids = ({"run_id": run} if run else {}) | ({"call_id": call} if call else {})
    return {"seq": seq, "type": type_, "ts": 10 * seq, "data": data} | ids


def reduced(page: Node, changes: list[Any], cuts: list[int] | None = None, *, stored: bool = False) -> Any:
    """Return the snapshot (state) after these changes, which are applied in batches that end at ``cuts``."""
    arguments = f"{json.dumps(changes)}, {json.dumps(cuts or [])}, {{ stored: {json.dumps(stored)} }}"
    return page.run(f"return inBatches({{ EMPTY, reduceAll }}, {arguments})")


# --- any session ------------------------------------------------------------------------------------------------------


@often
@given(sessions(), st.lists(st.integers(0, 80), max_size=8))
def test_batches_do_not_matter(page: Node, telling: Telling, cuts: list[int]) -> None:
    """The same events give the same snapshot in one batch, in several, one by one, and with refreshes in between."""
    changes = telling.events
    whole = reduced(page, changes)
    assert reduced(page, changes, cuts) == whole
    assert reduced(page, changes, cuts, stored=True) == whole
    assert reduced(page, changes, [*range(len(changes))]) == whole
    one_by_one = f"{json.dumps(changes)}.reduce(reduce, EMPTY)"
    assert page.run(f"return {one_by_one}") == whole


@often
@given(sessions())
def test_snapshot_of_any_session(page: Node, telling: Telling) -> None:
    """For any session, the snapshot has the latest state of each run, tool and question, and all texts."""
    snapshot = reduced(page, telling.events)
    runs = {run["id"]: run for run in snapshot["runs"]}
    assert {id_: run["status"] for id_, run in runs.items()} == telling.statuses
    assert {id_: run["text"] for id_, run in runs.items()} == telling.texts
    items = [item for run in runs.values() for item in run["items"]]
    assert {item["id"]: item["status"] for item in items if item["kind"] in {"tool", "question"}} == telling.ends
    for id_, run in runs.items():
        assert [item["id"] for item in run["items"] if item["kind"] == "run"] == telling.children[id_]
        assert all(runs[child]["parent"] == id_ for child in telling.children[id_])
        outputs = [item["text"] for item in run["items"] if item["kind"] == "output"]
        assert "".join(outputs) == run["text"]
        assert (run["ended"] is None) == (run["status"] == "running")
    roots = [id_ for id_, run in runs.items() if run["parent"] is None]
    assert [item["id"] for item in snapshot["timeline"] if item["kind"] == "run"] == roots
    kinds = [item["kind"] for item in snapshot["timeline"]]
    assert kinds.count("message") == [each["type"] for each in telling.events].count("user_message")
    assert snapshot["seq"] == len(telling.events)


@often
@given(sessions(), st.lists(st.integers(0, 59), max_size=10))
def test_duplicates_change_nothing(page: Node, telling: Telling, again: list[int]) -> None:
    """If an event comes that was applied before, the same snapshot object is returned."""
    events = json.dumps(telling.events)
    same = page.run(
        f"""
        const events = {events}, before = reduceAll(EMPTY, events);
        return {again}.every((i) => !events[i] || reduce(before, events[i]) === before);
        """
    )
    assert same is True


@often
@given(sessions(), st.integers(0, 59))
def test_parts_that_did_not_change_are_shared(page: Node, telling: Telling, at: int) -> None:
    """After an event of one run, all other runs and items in the snapshot are the same objects as before."""
    shared = page.run(
        f"""
        const events = {json.dumps(telling.events)}, at = Math.min({at}, events.length - 1);
        if (at < 0) return true;
        const before = reduceAll(EMPTY, events.slice(0, at)), after = reduce(before, events[at]);
        const mine = new Set([events[at].run_id, events[at].parent_run_id]);
        const others = before.runs.every((run, i) => mine.has(run.id) || after.runs[i] === run);
        const lists = ["starts", "typing", "connection"].every((key) => after[key] === before[key]);
        const changed = before.runs.flatMap((run, i) => run.items.filter((item, j) => after.runs[i].items[j] !== item));
        return others && lists && (changed.length <= 1 || events[at].type === "agent_completed");
        """
    )
    assert shared is True


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["code", "__proto__", "id"]), inner),
    max_leaves=4,
)
FIELDS = (
    "ts run_id parent_run_id call_id name connection epoch typing queued state retryAt code reason command_id "
    "agent input"
)
DATA = (
    "agent input command_id text tool arguments status result error duration_ms usage prompt schema value by reason id "
    "name active waiting"
)
TYPES = (
    "agent_started agent_completed agent_output agent_thinking tool_executing tool_completed input_requested "
    "input_received input_withdrawn user_message custom reset state welcome signal start start_failed toString"
)
NAMES = "r1 r2 __proto__ constructor queued typing live waiting"
names = st.sampled_from(NAMES.split()) | json_values
hostile_changes = st.lists(
    json_values
    | st.fixed_dictionaries(
        {"type": st.sampled_from(TYPES.split())},
        optional=dict.fromkeys(FIELDS.split(), names)
        | {
            "seq": st.integers(-1, 30) | json_values,
            "data": json_values | st.fixed_dictionaries({}, optional=dict.fromkeys(DATA.split(), names)),
        },
    ),
    max_size=30,
)


@often
@given(hostile_changes)
def test_hostile_values(page: Node, changes: list[Any]) -> None:
    """Changes with values of any type in any field raise nothing, and modify no prototype and no earlier snapshot."""
    one_by_one = [*range(len(changes))]
    whole = reduced(page, changes)
    assert reduced(page, changes, one_by_one) == whole
    assert page.run("return [Object.keys(Object.prototype), ({}).status ?? null]") == [[], None]
    runs = [run["id"] for run in whole["runs"]]
    assert len(runs) == len(set(runs))
    for run in whole["runs"]:
        assert isinstance(run["text"], str)
        assert isinstance(run["agent"], str)


# --- one rule each ----------------------------------------------------------------------------------------------------


def test_unknown_types(page: Node) -> None:
    """An event of an unknown type changes only the snapshot's position."""
    before = reduced(page, [STARTED])
    assert reduced(page, [STARTED, event(2, "of_a_newer_server", text="x")]) == before | {"seq": 2}


@pytest.mark.parametrize(
    "wrong",
    [
        event(2, "agent_output", text=7),
        event(2, "agent_output") | {"data": None},
        event(2, "agent_output", run="") | {"data": {"text": "x"}},
        event(2, "tool_executing", tool="t"),
        event(2, "tool_completed", call="unknown", status="ok"),
        event(2, "input_received", call="unknown", value=1),
        event(2, "agent_started", agent="again", input=None),
        event(2, "agent_completed", status=None),
    ],
)
def test_events_that_do_not_fit(page: Node, wrong: Change) -> None:
    """An event with a missing or wrong value, or with an unknown call, changes only the snapshot's position."""
    after = reduced(page, [STARTED, wrong])
    (run,) = after["runs"]
    assert after["seq"] == 2
    assert (run["text"], run["status"], run["agent"], run["items"]) == ("", "running", "a", [])


def test_nothing_after_the_end(page: Node) -> None:
    """After a run has ended, later events of this run do not change it."""
    whole = [STARTED, event(2, "agent_output", text="x"), event(3, "agent_completed", status="ok", result=1)]
    late = [event(4, "agent_output", text="late"), event(5, "agent_completed", status="error")]
    assert reduced(page, [*whole, *late])["runs"] == reduced(page, whole)["runs"]


def test_tool_with_result_and_error(page: Node) -> None:
    """A tool call in the snapshot has its arguments, its times, its status and its error."""
    opened = event(2, "tool_executing", call="c", tool="search", arguments={"q": 1})
    ended = event(5, "tool_completed", call="c", status="error", error={"code": "oops", "message": "m"}, duration_ms=3)
    (running,) = reduced(page, [STARTED, opened])["runs"][0]["items"]
    assert (running["status"], running["started"], running["ended"]) == ("running", 20, None)
    (tool,) = reduced(page, [STARTED, opened, ended])["runs"][0]["items"]
    assert tool == running | {
        "status": "error", "ended": 50, "duration_ms": 3, "error": {"code": "oops", "message": "m"}
    }  # fmt: skip


def test_end_of_a_run_withdraws_its_question(page: Node) -> None:
    """If a run ends while its question is open, the question is withdrawn, with the run's status as the reason."""
    asked = event(2, "input_requested", call="c", prompt="?", schema={"type": "boolean"})
    (question,) = reduced(page, [STARTED, asked, event(3, "agent_completed", status="timeout")])["runs"][0]["items"]
    assert (question["status"], question["reason"]) == ("withdrawn", "timeout")


def test_run_without_its_first_events(page: Node) -> None:
    """If the first events of a run were deleted, the run is shown from its first kept event on, marked as partial.

    Its parent run is shown too, even if no event of the parent is kept.
    """
    text = event(7, "agent_output", run="child", text="end of it") | {"parent_run_id": "parent"}
    end = event(8, "agent_completed", run="child", agent="helper", status="ok") | {"parent_run_id": "parent"}
    snapshot = reduced(page, [text, end])
    parent, child = snapshot["runs"]
    assert (parent["id"], parent["partial"], parent["status"], parent["parent"]) == ("parent", True, "running", None)
    assert (child["partial"], child["text"], child["agent"], child["status"]) == (True, "end of it", "helper", "ok")
    assert [item["id"] for item in parent["items"]] == ["child"]
    assert [item["id"] for item in snapshot["timeline"]] == ["parent"]
    assert snapshot["first"] == 7


def test_reset(page: Node) -> None:
    """A reset removes everything from the snapshot and shows its reason. After it, events with any seq are accepted."""
    before = [STARTED, event(2, "user_message", run=None, text="x")]
    reset = {"type": "reset", "reason": "trimmed"}
    snapshot = reduced(page, [*before, reset])
    assert (snapshot["runs"], snapshot["timeline"], snapshot["seq"]) == ([], [], 0)
    assert snapshot["lost"] == {"reason": "trimmed", "seq": 2}
    after = reduced(page, [*before, reset, event(2, "agent_started", run="r9", agent="a", input=1)])
    assert [run["id"] for run in after["runs"]] == ["r9"]
    assert (after["seq"], after["first"], after["lost"]) == (2, 2, {"reason": "trimmed", "seq": 2})


def test_connection(page: Node) -> None:
    """The snapshot shows the connection's state, the time and number of the next attempt, and the last failure."""
    waiting = {"type": "state", "state": "waiting", "retryAt": 99, "code": 1006, "reason": "gone"}
    welcome = {"type": "welcome", "epoch": "e", "connection": "k1"}
    twice = reduced(page, [waiting, {"type": "state", "state": "connecting"}, waiting])["connection"]
    assert twice == {
        "state": "waiting", "retryAt": 99, "attempt": 2, "code": 1006, "reason": "gone", "wasLive": False, "id": ""
    }  # fmt: skip
    live = reduced(page, [waiting, {"type": "state", "state": "live"}, welcome])
    assert live["connection"] == {
        "state": "live", "retryAt": None, "attempt": 0, "code": None, "reason": "", "wasLive": True, "id": "k1"
    }  # fmt: skip
    assert live["epoch"] == "e"
    closed = reduced(page, [welcome, {"type": "state", "state": "closed", "code": 4506, "reason": "closed"}])
    assert (closed["connection"]["code"], closed["connection"]["wasLive"]) == (4506, True)


def test_typing(page: Node) -> None:
    """The snapshot shows that another tab or an agent is typing, until the typing stops or the connection is lost.

    It never shows the typing of the page's own tab.
    """
    welcome = {"type": "welcome", "connection": "me", "typing": [{"by": "user", "id": "a"}, {"by": "user", "id": "me"}]}

    def typing(id_: str, *, active: bool = True) -> Change:
        return {"type": "signal", "name": "typing", "data": {"by": "agent", "id": id_, "active": active}}

    def shown(*changes: Change) -> list[str]:
        return [each["id"] for each in reduced(page, [welcome, *changes])["typing"]]

    assert shown() == ["a"]
    assert shown(typing("b"), typing("b"), typing("me")) == ["a", "b"]
    assert shown(typing("b"), typing("a", active=False)) == ["b"]
    assert shown({"type": "state", "state": "waiting"}) == []


START: Change = {"type": "start", "command_id": "k", "agent": "a", "input": "hello"}


def queued(command_id: str, *, waiting: bool = True) -> Change:
    """Return the signal that a start waits for its turn, or that it no longer waits."""
    return {"type": "signal", "name": "queued", "data": {"command_id": command_id, "agent": "a", "waiting": waiting}}


def test_start_becomes_a_run(page: Node) -> None:
    """The snapshot shows a start until its run begins, and does not show the same command again afterwards."""
    (start,) = reduced(page, [START, START])["starts"]
    assert start == {"command_id": "k", "agent": "a", "input": "hello", "own": True, "status": "sending"}
    begun = event(1, "agent_started", agent="a", input="hello", command_id="k")
    snapshot = reduced(page, [START, begun, START, queued("k")])
    assert (snapshot["starts"], snapshot["runs"][0]["command_id"]) == ([], "k")


def test_queued_starts(page: Node) -> None:
    """While a start waits for its turn, the snapshot shows it as queued, even if it is a start of another tab."""
    changes = [START, queued("k"), queued("other")]
    own, other = reduced(page, changes)["starts"]
    assert (own["status"], own["own"], own["input"]) == ("queued", True, "hello")
    assert (other["status"], other["own"], other["input"]) == ("queued", False, None)
    ended = [*changes, queued("k", waiting=False), queued("other", waiting=False)]
    assert [(start["command_id"], start["status"]) for start in reduced(page, ended)["starts"]] == [("k", "sending")]
    welcome = {"type": "welcome", "queued": [{"command_id": "third", "agent": "a"}]}
    left = reduced(page, [*changes, welcome])["starts"]
    assert [(start["command_id"], start["status"]) for start in left] == [("k", "sending"), ("third", "queued")]


@pytest.mark.parametrize(("code", "status"), [("bad_input", "refused"), ("cancelled", "cancelled")])
def test_refused_start(page: Node, code: str, status: str) -> None:
    """If a start fails, the timeline shows it as refused, with the reason, at the place where it was.

    A reset does not remove it from the timeline.
    """
    failed = {"type": "start_failed", "command_id": "k", "code": code, "message": "m"}
    reset = {"type": "reset", "reason": "trimmed"}
    snapshot = reduced(page, [STARTED, START, failed, reset, event(2, "user_message", run=None, text="later")])
    assert [item["kind"] for item in snapshot["timeline"]] == ["refused", "message"]
    refused = snapshot["timeline"][0]
    assert (refused["status"], refused["error"], refused["input"]) == (status, {"code": code, "message": "m"}, "hello")
    assert snapshot["starts"] == []


def test_start_of_unknown_outcome(page: Node) -> None:
    """If a start counted as lost, but its run begins later, the timeline shows only the run."""
    failed = {"type": "start_failed", "command_id": "k", "code": "outcome_unknown", "message": "m"}
    begun = event(1, "agent_started", agent="a", input="hello", command_id="k")
    assert [item["kind"] for item in reduced(page, [START, failed, begun])["timeline"]] == ["run"]


# --- the store --------------------------------------------------------------------------------------------------------

STORE = """
    Socket.all = [];
    const store = sessionStore("ws://x/", { session: "s1", WebSocket: Socket });
    const shown = [];
    const stop = store.subscribe((snapshot) => shown.push(snapshot));
    await turn(); Socket.last.welcome({ latest: 0 }); await turn();
    const send = (...events) => Socket.last.receive({ type: "events", events });
    const said = (seq, text) => ({ seq, type: "user_message", ts: 0, data: { text } });
"""


def test_store_shows_events(page: Node) -> None:
    """A new listener gets the present snapshot at once.

    After that it gets at most one snapshot in each animation frame of the browser, and none after it has unsubscribed.
    """
    got = page.run(
        STORE
        + """
        advance(16); const before = shown.length;
        send(said(1, "a"), said(2, "b")); send(said(3, "c")); advance(16);
        const live = store.getSnapshot(); stop(); send(said(4, "d")); advance(16);
        return [shown[0] === EMPTY, before, shown.length, shown.at(-1) === live, live.timeline.length];
        """
    )
    assert got == [True, 2, 3, True, 3]


def test_store_is_current_between_frames(page: Node) -> None:
    """``getSnapshot`` includes every event that has arrived, even before the next animation frame."""
    got = page.run(STORE + 'advance(16); send(said(1, "a")); return [store.getSnapshot().seq, shown.at(-1).seq];')
    assert got == [1, 0]


def test_store_with_a_listener_that_throws(page: Node) -> None:
    """If one listener throws, the exception is reported, and the other listeners still get the snapshot."""
    got = page.run(
        STORE
        + """
        noted.length = 0;
        store.subscribe(() => { throw new Error("mine"); }); const late = [];
        store.subscribe((snapshot) => late.push(snapshot.seq)); send(said(1, "a")); advance(16);
        return [late.at(-1), noted.filter(([type]) => type === "reported").length];
        """
    )
    assert got == [1, 2]


def test_store_starts_a_run(page: Node) -> None:
    """A start is in the snapshot at once.

    If the server refuses it, the timeline shows the reason and the call rejects.
    """
    got = page.run(
        STORE
        + """
        const end = store.start("a", "hello").catch((error) => error.code);
        const sent = store.getSnapshot().starts[0]; await turn();
        const { id } = Socket.last.of("command")[0];
        Socket.last.receive({ type: "reply", id, ok: false, error: { code: "bad_input", message: "m" } });
        return [await end, sent.input, sent.command_id === id, store.getSnapshot().timeline[0].error.code];
        """
    )
    assert got == ["bad_input", "hello", True, "bad_input"]


def test_store_after_a_lost_position(page: Node) -> None:
    """If the client's position is lost, the snapshot is emptied before the next events are applied."""
    got = page.run(
        STORE
        + """
        send(said(1, "a")); Socket.last.lose(); store.client.reconnect(); await turn();
        Socket.last.welcome({ epoch: "e2", recovered: false, reset: "epoch_changed", latest: 1 }); send(said(1, "new"));
        const { timeline, lost, epoch } = store.getSnapshot();
        return [timeline.map(({ text }) => text), lost, epoch];
        """
    )
    assert got == [["new"], {"reason": "epoch_changed", "seq": 1}, "e2"]


def test_store_of_a_long_replay(page: Node) -> None:
    """The store can apply ten thousand events of a thousand runs in batches, before the browser draws any frame."""
    got = page.run(
        STORE
        + """
        const events = [];
        for (let i = 0; i < 1000; i++) {
          const put = (type, data) => events.push({ seq: events.length + 1, type, ts: 0, run_id: `r${i}`, data });
          put("agent_started", { agent: "a", input: i });
          for (let j = 0; j < 8; j++) put("agent_output", { text: "x" });
          put("agent_completed", { status: "ok" });
        }
        for (let i = 0; i < events.length; i += 250) send(...events.slice(i, i + 250));
        const { runs, seq } = store.getSnapshot();
        return [seq, runs.length, runs.every(({ text, status }) => text === "x".repeat(8) && status === "ok")];
        """
    )
    assert got == [10_000, 1_000, True]
