"""Any sequence of events that the grammar allows gives AG-UI streams that a client accepts, whole or cut anywhere."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from adapters._agui_verifier import Verifier
from adapters._told import Told
from hypothesis import given
from hypothesis import strategies as st

from actors import AgentOutput, GrammarError, InputRequested
from actors.events.grammar import Grammar, Kind
from transport.adapters.agui import Encoder, ThreadEncoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors import Event

KINDS = [
    *["agent_started", "agent_output", "input_requested", "input_received"] * 2,
    *["agent_completed", "agent_thinking", "tool_executing", "tool_completed"],
    *["custom", "input_withdrawn", "user_message"],
]
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 5), st.integers(0, 3)), max_size=40)
"""Steps: a type of event, and numbers that choose a run, and its parent or an open call."""
DATA: dict[str, dict[str, Any]] = {
    "agent_started": {"agent": "a", "input": None},
    "agent_completed": {"agent": "a"},
    "agent_output": {},
    "agent_thinking": {"text": "t"},
    "tool_executing": {"tool": "t", "arguments": {"a": 1}},
    "tool_completed": {"tool": "t", "status": "error"},
    "custom": {"name": "n", "value": None},
    "input_requested": {"prompt": "?"},
    "input_received": {"value": 1},
    "input_withdrawn": {"reason": "timeout"},
    "user_message": {"text": "hi"},
}
TOOL = {"prompt": "t", "schema": {"x-agui-tool": {"name": "t", "arguments": {"a": 1}}}}
"""The data of a question that is the call of a frontend tool."""
STATUSES = ("ok", "error", "cancelled", "timeout")


class Steps:
    """A session that grows by those steps that the grammar allows."""

    def __init__(self, roots: int) -> None:
        self.told = Told()
        self._roots_left = roots
        self._grammar = Grammar()
        self._parents: dict[str | None, str | None] = {}

    def take(self, kind: str, number: int, other: int) -> None:
        """Take one step, if the grammar allows it."""
        run, call = self._place(kind, number, other)
        parent = self._parent(number, other) if kind == "agent_started" else self._parents.get(run)
        try:
            self._grammar.apply(kind, run, call, parent_run_id=parent, name="n", ts=1)
        except GrammarError:
            return
        if kind == "agent_started":
            self._parents[run] = parent
            self._roots_left -= parent is None
        self.told.tell(kind, run, call, parent, **self._data(kind, other))

    def _place(self, kind: str, number: int, other: int) -> tuple[str | None, str | None]:
        """Return the run and the call of a step."""
        new, runs = len(self.told.events) + 1, self._grammar.runs()
        if kind == "agent_started":
            return f"r{new}", None
        if kind in {"tool_completed", "input_received", "input_withdrawn"}:
            wanted = Kind.CALL if kind == "tool_completed" else Kind.INPUT
            items = [item for item in self._grammar.open if item.kind is wanted]
            return (items[other % len(items)].run_id, items[other % len(items)].id) if items else ("none", "none")
        if kind == "user_message" or (kind == "custom" and other == 0):
            return None, None
        run = runs[number % len(runs)].id if runs else "none"
        return run, f"c{new}" if kind in {"tool_executing", "input_requested"} else None

    def _parent(self, number: int, other: int) -> str | None:
        """Return the parent of a new run. "none" if it would be one too many without a parent."""
        runs = self._grammar.runs()
        if runs and (number > 0 or not self._roots_left):
            return runs[other % len(runs)].id
        return None if self._roots_left else "none"

    def _data(self, kind: str, other: int) -> dict[str, Any]:
        if kind == "agent_output":
            return {"text": f"{len(self.told.events)} " if other else ""}
        if kind == "input_requested" and other > 1:
            return TOOL
        return {**DATA[kind], **({"status": STATUSES[other]} if kind == "agent_completed" else {})}


def told_of(steps: Sequence[tuple[str, int, int]], roots: int) -> Told:
    """Return a session with the steps that the grammar allows, and with at most this number of runs without parents."""
    made = Steps(roots)
    for step in steps:
        made.take(*step)
    return made.told


def texts_of(events: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return the text of the root (under "") and of each sub-agent."""
    texts: dict[str, str] = defaultdict(str)
    for event in events:
        if event["type"] == "TEXT_MESSAGE_CONTENT" and not event["messageId"].startswith("message:"):
            texts[event.get("subagentRunId", "")] += event["delta"]
    return dict(texts)


def said_in(told: Told) -> dict[str, str]:
    """Return the text of the run without a parent (under "") and of each other run, as the session has them."""
    said: dict[str, str] = defaultdict(str)
    for event in told.events:
        if isinstance(event, AgentOutput) and event.text:
            said["" if event.parent_run_id is None else str(event.run_id)] += event.text
    return dict(said)


def is_over(flat: Sequence[dict[str, Any]]) -> bool:
    """Return whether the last AG-UI run ended as the run itself did, and not by a question."""
    last: dict[str, Any] = flat[-1] if flat else {"type": "nothing"}
    return last["type"] in {"RUN_FINISHED", "RUN_ERROR"} and asked_in(last) is None


def asked_in(last: dict[str, Any]) -> str | None:
    """Return the id of the question, or of the call of a frontend tool, with which an AG-UI run ended."""
    outcome: dict[str, Any] = last.get("outcome", {})
    found = [*(each["id"] for each in outcome.get("interrupts", [])), *outcome.get("pendingToolCallIds", [])]
    return found[0] if found else None


def one_by_one(encoder: Encoder | ThreadEncoder, events: Sequence[Event]) -> list[list[dict[str, Any]]]:
    """Return what the encoder returns for each event."""
    return [encoder.feed(event) for event in events]


def agui_runs(told: Told) -> list[list[list[dict[str, Any]]]]:
    """Return the AG-UI runs of the first run: the first one, and one for each question that a client is asked."""
    made, answers, number = [], None, 0
    while True:
        made.append(one_by_one(Encoder("t", f"u{number}", answers), told.events))
        flat = [each for out in made[-1] for each in out]
        answers, number = asked_in(flat[-1]) if flat else None, number + 1
        if answers is None:
            return made


@given(STEPS)
def test_one_run(steps: list[tuple[str, int, int]]) -> None:
    """A client that answers each question accepts all AG-UI runs of a run, and gets all texts once it is over."""
    told = told_of(steps, roots=1)
    verifier, flat = Verifier(), list[dict[str, Any]]()
    for number, run in enumerate(agui_runs(told)):
        for event in (each for out in run for each in out):
            verifier.take(event)
            assert event.get("runId", f"u{number}") == f"u{number}"
            flat.append(event)
    if is_over(flat):
        assert not verifier.active
        assert texts_of(flat) == said_in(told)


@given(STEPS, st.integers(0, 40))
def test_cut_anywhere(steps: list[tuple[str, int, int]], cut: int) -> None:
    """A new encoder that is fed from the start goes on exactly where the stream was cut."""
    told = told_of(steps, roots=3)
    questions = [str(event.call_id) for event in told.events if isinstance(event, InputRequested)]
    for answers in (None, *questions[:2]):
        before = one_by_one(Encoder("t", "u", answers), told.events[:cut])
        again = one_by_one(Encoder("t", "u", answers), told.events)
        assert before == again[:cut]
        whole = one_by_one(Encoder("t", "u", answers), told.events)
        resumed = [each for out in [*before, *again[cut:]] for each in out]
        assert resumed == [each for out in whole for each in out]


@given(STEPS)
def test_whole_thread(steps: list[tuple[str, int, int]]) -> None:
    """A whole session, with several runs at once, is one stream that a client accepts, with all texts of ended runs."""
    told = told_of(steps, roots=4)
    encoder, verifier, flat = ThreadEncoder("t"), Verifier(), list[dict[str, Any]]()
    for event in told.events:
        for each in encoder.feed(event):
            verifier.take(each)
            flat.append(each)
        assert encoder.is_idle == (not verifier.active)
    ended = [event for event in told.events if event.type == "agent_completed"]
    if len(ended) == sum(event.type == "agent_started" for event in told.events):
        said = "".join(event.text for event in told.events if isinstance(event, AgentOutput))
        assert sorted("".join(texts_of(flat).values()).split()) == sorted(said.split())


@pytest.mark.parametrize("roots", [1, 4])
def test_steps_reach_everything(roots: int) -> None:
    """The examples have every type of event, and runs that end after a question. *Else the rules hold for nothing.*"""
    rng = random.Random(1)
    types, ends, tools = set[str](), 0, 0
    for _ in range(60):
        steps = [(rng.choice(KINDS), rng.randrange(6), rng.randrange(4)) for _ in range(60)]
        told = told_of(steps, roots)
        types |= {event.type for event in told.events}
        runs = agui_runs(told)
        ends += len(runs) > 1 and is_over([each for out in runs[-1] for each in out])
        tools += any(event.data.get("schema") for event in told.events)
    assert types == set(DATA)
    assert ends
    assert tools
