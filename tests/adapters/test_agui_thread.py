"""A whole session as one AG-UI stream, for ``connect``."""

from __future__ import annotations

from typing import Any

from adapters._agui_verifier import verify
from adapters._told import Told

from transport.adapters.agui import ThreadEncoder


def streamed(told: Told) -> list[dict[str, Any]]:
    """Return the stream, which a client must accept."""
    encoder = ThreadEncoder("t")
    out = [each for event in told.events for each in encoder.feed(event)]
    verify(out)
    assert encoder.is_idle
    return out


def brief(out: list[dict[str, Any]]) -> list[str]:
    """Return the ids of AG-UI runs that begin, the texts, and the outcomes."""
    kinds = {"RUN_STARTED": "runId", "TEXT_MESSAGE_CONTENT": "delta", "CUSTOM": "name"}
    lines = [str(each[kinds[each["type"]]]) if each["type"] in kinds else each for each in out]
    ends = [each["outcome"]["type"] if isinstance(each, dict) and "outcome" in each else each for each in lines]
    return [each for each in ends if isinstance(each, str)]


def test_between_the_runs() -> None:
    """Messages of the user and events of the application between the runs are AG-UI runs of their own."""
    told = Told()
    told.tell("user_message", text="hi")
    told.start(command_id="agui:u", input="hello")
    told.tell("custom", name="inside", value=1)
    told.complete()
    told.tell("custom", name="after", value=1)
    told.tell("user_message", text="")
    expected = ["greenroom:1", "hi", "success", "u", "inside", "success", "greenroom:5", "after", "success"]
    out = streamed(told)
    assert brief(out) == expected
    starts = [each["input"]["messages"] for each in out if "input" in each]
    assert starts == [[{"id": "r:input", "role": "user", "content": "hello"}]]


def test_runs_at_the_same_time() -> None:
    """What a second run does while the first one is open follows when the first one has ended."""
    told = Told()
    told.start("r1")
    told.start("r2")
    told.output("b", "r2")
    told.output("a", "r1")
    told.start("sub", "r2")
    told.complete("sub", parent="r2")
    told.complete("r2")
    told.complete("r1")
    assert brief(streamed(told)) == ["r1", "a", "success", "r2", "b", "success", "success"]


def test_questions() -> None:
    """A run that waits lets others go on. The AG-UI run behind its answer is that of the sender, or has a new id."""
    told = Told()
    told.start("r1")
    told.ask("q1", "r1")
    told.start("r2")
    told.answer("q1", "r1", by="agui:u2")
    told.output("b", "r2")
    told.complete("r2")
    told.output("a", "r1")
    told.ask("q2", "r1")
    told.answer("q2", "r1", by="c-1")
    told.complete("r1")
    expected = ["r1", "interrupt", "r2", "b", "success", "u2", "a", "interrupt", "r1:9", "success"]
    assert brief(streamed(told)) == expected


def test_runs_without_a_start() -> None:
    """A run of which the start is not in the log any more is left out, with its sub-agents."""
    told = Told()
    told.output("x", "old")
    told.start("sub", "old")
    told.complete("sub", parent="old")
    told.complete("old")
    assert streamed(told) == []
