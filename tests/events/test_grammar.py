"""The grammar of a session's events."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import GrammarError
from actors.events.grammar import Grammar, Kind, Open

STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["agent_started", "agent_completed", "tool_executing", "tool_completed", "input_requested", "agent_output"]
        ),
        st.sampled_from(["r1", "r2", "r3"]),
        st.sampled_from(["c1", "c2"]),
        st.sampled_from([None, "r1", "r2"]),
    ),
    max_size=30,
)


def take(grammar: Grammar, event: str, run: str, call: str | None = None, parent: str | None = None) -> None:
    """Apply one event to the grammar."""
    grammar.apply(event, run, call, parent_run_id=parent, name="n", ts=1)


@pytest.mark.parametrize(
    ("before", "event", "rule"),
    [
        ([], ("agent_output", "r1"), "G2"),
        ([], ("agent_completed", "r1"), "G2"),
        ([("agent_started", "r1")], ("agent_started", "r1"), "G2"),
        ([("agent_started", "r1")], ("tool_completed", "r1", "c1"), "G3"),
        ([("agent_started", "r1"), ("tool_executing", "r1", "c1")], ("agent_completed", "r1"), "G3"),
        ([("agent_started", "r1"), ("tool_executing", "r1", "c1")], ("tool_executing", "r1", "c1"), "G3"),
        ([("agent_started", "r1")], ("input_withdrawn", "r1", "q1"), "G2"),
        ([("agent_started", "r1"), ("input_requested", "r1", "q1")], ("input_requested", "r1", "q1"), "G2"),
        ([], ("agent_started", "r2", None, "r1"), "G4"),
        ([("agent_started", "r1"), ("agent_started", "r2", None, "r1")], ("agent_completed", "r1"), "G4"),
    ],
)
def test_event_that_breaks_a_rule_is_refused(before: list[tuple[str, ...]], event: tuple[str, ...], rule: str) -> None:
    """An event that breaks a rule of the grammar is refused with the name of the rule, and nothing is changed by it."""
    grammar = Grammar()
    for each in before:
        take(grammar, *each)
    was = grammar.open
    with pytest.raises(GrammarError) as refused:
        take(grammar, *event)
    assert (refused.value.rule, grammar.open) == (rule, was)


@pytest.mark.parametrize("closing", ["input_received", "input_withdrawn", "agent_completed"])
def test_question_is_closed_once(closing: str) -> None:
    """A question is closed by an answer, a withdrawal or the end of its run, and cannot be closed a second time."""
    grammar = Grammar()
    take(grammar, "agent_started", "r1")
    before = grammar.snapshot()
    take(grammar, "input_requested", "r1", "q1")
    take(grammar, closing, "r1", "q1")
    assert grammar.snapshot() == (before if closing != "agent_completed" else b"[]")
    for late in ("input_received", "input_withdrawn"):
        with pytest.raises(GrammarError):
            take(grammar, late, "r1", "q1")


@given(STEPS)
def test_restore_and_close(steps: list[tuple[str, str, str, str]]) -> None:
    """A grammar that is restored from a snapshot has the same open runs and calls, and its ``closings`` close all.

    This holds after any sequence of valid events.
    """
    grammar = Grammar()
    for event, run, call, parent in steps:
        try:
            take(grammar, event, run, call if event.startswith(("tool", "input")) else None, parent)
        except GrammarError:
            continue
    again = Grammar.restore(orjson.loads(grammar.snapshot()))
    assert again.open == grammar.open
    for closing in again.closings():
        item = closing.item
        take(again, closing.type, item.run_id, None if item.id == item.run_id else item.id)
    assert again.open == ()


def inside(items: tuple[Open, ...], run_id: str) -> tuple[Open, ...]:
    """Return the items inside a run, innermost first, after a look at all items."""
    runs, found = {run_id}, list[Open]()
    for item in items:  # a parent comes before its children
        if (item.parent_run_id if item.kind is Kind.RUN else item.run_id) in runs:
            runs |= {item.id} if item.kind is Kind.RUN else set()
            found.append(item)
    return tuple(reversed(found))


@given(STEPS, st.integers(0, 30))
def test_items_inside_a_run_and_runs_before(steps: list[tuple[str, str, str, str]], last: int) -> None:
    """``within`` has the items of a run in their order, and ``runs_before`` the runs of any earlier time.

    This holds after any sequence of valid events, also in a grammar that is restored from a snapshot.
    """
    grammar, changes, runs = Grammar(), list[tuple[Open, ...]](), [tuple[Open, ...]()]
    for event, run, call, parent in steps:
        try:
            items = grammar.check(
                event, run, call if event.startswith(("tool", "input")) else None, parent_run_id=parent, name="n", ts=1
            )
        except GrammarError:
            continue
        grammar.change(items)
        changes.append(items)
        runs.append(grammar.runs())
    for each in (grammar, Grammar.restore(orjson.loads(grammar.snapshot()))):
        for run in ("r1", "r2", "r3", "r4"):
            assert each.within(run) == inside(each.open, run)
    last = min(last, len(changes))
    assert grammar.runs_before(changes[len(changes) - last :]) == runs[len(runs) - 1 - last]


def test_new_item_is_the_last_after_a_restore() -> None:
    """Items that are opened after a restore are closed before the restored ones."""
    grammar = Grammar()
    take(grammar, "agent_started", "r1")
    take(grammar, "agent_started", "r2", None, "r1")
    again = Grammar.restore(orjson.loads(grammar.snapshot()))
    take(again, "tool_executing", "r1", "c1")
    assert [item.id for item in again.within("r1")] == ["c1", "r2"]
