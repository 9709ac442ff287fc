"""The judge of the chaos tests finds a breach of each rule, and nothing in a story without one."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import attrs
import orjson
import pytest
from chaos.histories import ClientHistory, Entry, Part, Record, Stored, Story, fingerprint, read_record
from chaos.judge import judge

from actors import StreamKey, decode_event

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ANN = StreamKey("ann", "s1")
OLD, NEW = "1 a/0/0000000000000001", "2 b/0/0000000000000002"
"""Two tokens of one user."""

EVENTS: list[dict[str, Any]] = [
    {"type": "user_message", "data": {"text": "ann 1"}},
    {"type": "agent_started", "run_id": "r1", "data": {"agent": "a", "input": None, "command_id": "c1"}},
    {"type": "agent_output", "run_id": "r1", "data": {"text": "ann works"}},
    {"type": "agent_completed", "run_id": "r1", "data": {"agent": "a", "status": "ok", "duration_ms": 1}},
    {"type": "user_message", "data": {"text": "ann 2"}},
]
LINES = [orjson.dumps({"seq": seq, "ts": seq, **event}) for seq, event in enumerate(EVENTS, 1)]
SEEN = [decode_event(orjson.loads(line)) for line in LINES]


def appends(token: str, first: int, last: int) -> list[Entry]:
    """Return the entries of an append with the events from ``first`` to ``last``, which was acknowledged."""
    lines = tuple(fingerprint(line) for line in LINES[first - 1 : last])
    return [Entry(kind, "ann", token, first, lines) for kind in ("append", "stored")]


def good() -> Story:
    """Return a story without a fault: the session of one user moves from one node to another after four events."""
    client = ClientHistory("ann-1", "ann", [Part("e", "", [*SEEN])], {"c1": "ok"}, {"ann 1": "ok", "ann 2": "ok"})
    first = [Entry("claim", "ann", OLD), Entry("open", "ann", OLD, 0), *appends(OLD, 1, 4)]
    first.append(Entry("call", "ann", run_id="r1"))
    second = [Entry("claim", "ann", NEW), Entry("open", "ann", NEW, 4), *appends(NEW, 5, 5)]
    return Story([client], {ANN: Stored("e", LINES)}, [first, second])


def seen(*parts: Part) -> Story:
    """Return the good story, but the client saw these parts."""
    story = good()
    return attrs.evolve(story, clients=[attrs.evolve(story.clients[0], parts=[*parts])])


def stored(*numbers: int, changes: dict[int, dict[str, Any]] | None = None) -> Story:
    """Return a story whose log has these of the events, renumbered and perhaps changed, and whose client saw them."""
    changed = {number: {**EVENTS[number - 1], **(changes or {}).get(number, {})} for number in numbers}
    lines = [orjson.dumps({"ts": seq, **changed[number], "seq": seq}) for seq, number in enumerate(numbers, 1)]
    events = [decode_event(orjson.loads(line)) for line in lines]
    story = seen(Part("e", "", events))
    return attrs.evolve(story, stored={ANN: Stored("e", lines)}, records=[])


def written(*records: list[Entry]) -> Story:
    """Return the good story with other records of the nodes."""
    return attrs.evolve(good(), records=records)


def renumbered() -> Story:
    """Return the good story, but the client got another text as event 5."""
    return seen(Part("e", "", [*SEEN[:4], decode_event({"seq": 5, "ts": 5, **EVENTS[0]})]))


def test_story_without_fault() -> None:
    """The judge finds nothing in a good story."""
    assert judge(good()) == []


FAULTS: dict[str, tuple[str, Callable[[], Story]]] = {
    "gap": ("order", lambda: seen(Part("e", "", [*SEEN[:2], *SEEN[3:]]))),
    "twice": ("order", lambda: seen(Part("e", "", [*SEEN[:2], SEEN[1], *SEEN[2:]]))),
    "late": ("order", lambda: seen(Part("e", "", SEEN[1:]))),
    "another event": ("same", renumbered),
    "rolled back": ("gone", lambda: attrs.evolve(good(), stored={ANN: Stored("e", LINES[:4])}, records=[])),
    "ahead": ("reset", lambda: seen(Part("e", "", SEEN[:4]), Part("e", "ahead", SEEN))),
    "new epoch": ("reset", lambda: seen(Part("d", "", SEEN[:4]), Part("e", "epoch_changed", SEEN))),
    "behind": ("end", lambda: seen(Part("e", "", SEEN[:4]))),
    "clock": ("times", lambda: stored(1, 2, 3, 4, 5, changes={4: {"ts": 2}})),
    "open run": ("grammar", lambda: stored(1, 2, 3, 5)),
    "completed twice": ("grammar", lambda: stored(1, 2, 3, 4, 4, 5)),
    "another user": ("stranger", lambda: stored(1, 2, 3, 4, 5, changes={5: {"data": {"text": "bob 2"}}})),
    "another's output": ("stranger", lambda: stored(1, 2, 3, 4, 5, changes={3: {"data": {"text": "bob works"}}})),
    "message twice": ("once", lambda: stored(1, 2, 3, 4, 5, 5)),
    "run twice": ("once", lambda: stored(1, 2, 3, 4, 2, 4, 5, changes={})),
    "not done": ("once", lambda: stored(1, 2, 3, 4)),
    "called twice": ("once", lambda: written([Entry("call", "ann", run_id="r1")] * 2)),
    "called without start": ("once", lambda: written([Entry("call", "ann", run_id="r2")])),
    "equal tokens": ("owner", lambda: written([Entry("claim", "ann", OLD)] * 2)),
    "equal terms": ("owner", lambda: written([Entry("claim", "ann", OLD)], [Entry("claim", "ann", f"1{NEW[1:]}")])),
    "old owner": ("fence", lambda: written([Entry("open", "ann", NEW, 3), *appends(OLD, 1, 4)])),
    "lost append": ("stored", lambda: written([Entry("stored", "ann", OLD, 5, (fingerprint(b"other"),))])),
}


@pytest.mark.parametrize(("rule", "story"), FAULTS.values(), ids=FAULTS)
def test_each_fault_is_found(rule: str, story: Callable[[], Story]) -> None:
    """The judge finds a breach of each rule."""
    assert rule in {fault.rule for fault in judge(story())}


def test_new_epoch_after_a_restart() -> None:
    """After a restart of the engine a new epoch is right, but no event may be missing."""
    story = attrs.evolve(seen(Part("d", "", SEEN[:4]), Part("e", "epoch_changed", [*SEEN])), restarted=True)
    assert judge(story) == []
    lost = attrs.evolve(stored(1, 2, 3, 4), restarted=True)
    before = attrs.evolve(lost.clients[0], parts=[Part("d", "", SEEN), Part("e", "epoch_changed", SEEN[:4])])
    assert {fault.rule for fault in judge(attrs.evolve(lost, clients=[before]))} == {"gone", "once"}


def test_new_epoch_after_a_loss() -> None:
    """After a loss of data other events may have the old numbers, but only in a new epoch."""
    lost = attrs.evolve(stored(1), restarted=True, lost=True)
    client = attrs.evolve(lost.clients[0], parts=[Part("d", "", SEEN), Part("e", "epoch_changed", SEEN[:1])])
    assert judge(attrs.evolve(lost, clients=[client])) == []
    client = attrs.evolve(client, parts=[Part("e", "", SEEN), Part("e", "ahead", SEEN[:1])])
    assert {fault.rule for fault in judge(attrs.evolve(lost, clients=[client]))} == {"gone", "reset"}


def test_clients_agree_on_a_lost_epoch() -> None:
    """Two clients that saw one epoch saw the same events in it, even if the log has lost them."""
    lost = attrs.evolve(stored(1), restarted=True, lost=True)
    end = Part("e", "epoch_changed", SEEN[:1])
    clients = [
        ClientHistory(name, "ann", [Part("d", "", events), end])
        for name, events in (("ann-1", SEEN), ("ann-2", renumbered().clients[0].parts[0].events))
    ]
    assert {fault.rule for fault in judge(attrs.evolve(lost, clients=clients))} == {"same"}


def test_record_of_a_killed_process(tmp_path: Path) -> None:
    """The record of a killed process has all complete entries."""
    with closing(Record(tmp_path / "record")) as record:
        record.note("append", "ann", OLD, first=3, lines=["f"])
        record.note("call", "ann", run_id="r1")
    assert read_record(tmp_path / "record") == [
        Entry("append", "ann", OLD, 3, ("f",)),
        Entry("call", "ann", run_id="r1"),
    ]
    with (tmp_path / "record").open("ab") as file:
        file.write(b'{"kind": "cla')
    assert len(read_record(tmp_path / "record")) == 2
