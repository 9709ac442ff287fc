"""The librarian over a real socket: what a client sees of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from demo.asking import asked, the

from actors import (
    JSON,
    AgentCompleted,
    AgentOutput,
    AgentStarted,
    AgentThinking,
    Event,
    ToolCompleted,
    ToolExecuting,
)
from transport import Greenroom
from transport.demo.agents import SEARCH_FAILED, Demo, register
from transport.demo.app import build_app
from transport.demo.library import Library
from transport.demo.sandbox import run_example

if TYPE_CHECKING:
    from pathlib import Path

    from transport.demo.index import Index

CSV = "how do I parse a csv file with a header?"


def offering(demo: Demo) -> Greenroom:
    app = Greenroom(log="memory:")
    register(app, demo)
    return app


@pytest.fixture
def app(cache: Path) -> Greenroom:
    return build_app(pace=0, cache=cache, environment={}, log="memory:")


async def test_an_answer_has_the_name_its_source_and_an_example_that_ran(app: Greenroom) -> None:
    events = await asked(app, CSV)
    done = the(AgentCompleted, events)[-1]
    assert done.status == "ok"
    assert done.result["symbol"] == "csv.DictReader"
    answer: str = done.result["answer"]
    assert "## `csv.DictReader`" in answer
    assert "class DictReader:" in answer
    assert "[{'name': 'Ada', 'age': '36'}, {'name': 'Alan', 'age': '41'}]" in answer
    assert "`csv.py:" in answer
    assert "csv" in done.result["modules"]


async def test_the_answer_is_streamed_in_pieces_that_make_it_up(app: Greenroom) -> None:
    events = await asked(app, CSV)
    pieces = [event.text for event in the(AgentOutput, events)]
    assert "".join(pieces) == the(AgentCompleted, events)[-1].result["answer"]
    assert len(pieces) > 50


async def test_each_likely_module_gets_a_sub_agent_that_searches_and_reads(app: Greenroom) -> None:
    events = await asked(app, CSV)
    main, *children = the(AgentStarted, events)
    assert [child.agent for child in children] == ["investigate"] * 3
    assert {child.parent_run_id for child in children} == {main.run_id}
    for child in children:
        tools = [event.tool for event in the(ToolExecuting, events) if event.run_id == child.run_id]
        assert tools == ["search", "read_source", "read_source"]


async def test_the_sub_agents_work_at_the_same_time(app: Greenroom) -> None:
    events = await asked(app, CSV)
    children = {event.run_id for event in the(AgentStarted, events)[1:]}
    last_start = max(number for number, event in enumerate(events) if isinstance(event, AgentStarted))
    first_end = next(number for number, event in enumerate(events) if isinstance(event, AgentCompleted))
    assert len(children) == 3
    assert last_start < first_end


async def test_a_question_with_no_hit_is_answered_politely(app: Greenroom) -> None:
    events = await asked(app, "what is the weather in Paris?")
    done = the(AgentCompleted, events)[-1]
    assert (done.status, done.result["symbol"]) == ("ok", None)
    assert done.result["answer"].startswith("I am sorry")
    assert the(AgentStarted, events)[1:] == []


async def test_the_first_question_says_that_it_waits_for_the_index(library: Library) -> None:
    first = await asked(offering(Demo(library, pace=0)), CSV)
    second = await asked(offering(Demo(library, pace=0)), CSV)
    assert "still reading" in the(AgentThinking, first)[0].text
    assert "still reading" not in the(AgentThinking, second)[0].text


class Faulty(Library):
    """A library with tools that fail where ``failing`` says so."""

    failing: frozenset[str] = frozenset()

    async def search(self, query: str, limit: int = 8, module: str | None = None) -> dict[str, JSON]:
        if module in self.failing or (module is None and "search" in self.failing):
            raise OSError("the shelf fell over")
        return await super().search(query, limit, module)

    async def read_source(self, module: str, name: str = "") -> dict[str, JSON]:
        if "read_source" in self.failing:
            raise OSError("the page is torn")
        return await super().read_source(module, name)


async def with_failing(cache: Path, *failing: str) -> list[Event]:
    library = Faulty(cache)
    library.failing = frozenset(failing)
    return await asked(offering(Demo(library, pace=0)), CSV)


async def test_a_tool_that_fails_is_shown_and_survived(cache: Path) -> None:
    events = await with_failing(cache, "read_source")
    failed = [event for event in the(ToolCompleted, events) if event.status == "error"]
    assert {event.tool for event in failed} == {"read_source"}
    assert any("the page is torn" in event.text for event in the(AgentThinking, events))
    done = the(AgentCompleted, events)[-1]
    assert (done.status, done.result["symbol"]) == ("ok", "csv.DictReader")


async def test_a_module_that_cannot_be_searched_is_done_without(cache: Path) -> None:
    events = await with_failing(cache, "csv")
    done = the(AgentCompleted, events)[-1]
    assert done.status == "ok"
    assert "csv" not in done.result["modules"]
    assert done.result["modules"]


async def test_when_nothing_can_be_searched_it_says_so(cache: Path) -> None:
    done = the(AgentCompleted, await with_failing(cache, "search"))[-1]
    assert (done.status, done.result["answer"]) == ("ok", SEARCH_FAILED)


class Lost(Demo):
    """A demo whose sub-agent is lost in ``csv``."""

    async def investigate(self, run: Any, lead: Any) -> list[JSON]:
        if lead.module == "csv":
            raise RuntimeError("lost between the shelves")
        return await super().investigate(run, lead)


async def test_a_sub_agent_that_fails_is_shown_and_survived(library: Library) -> None:
    events = await asked(offering(Lost(library, pace=0)), CSV)
    assert [event.status for event in the(AgentCompleted, events)].count("error") == 1
    assert any("Nobody came back from csv" in event.text for event in the(AgentThinking, events))
    assert the(AgentCompleted, events)[-1].status == "ok"


async def test_an_index_that_cannot_be_built_ends_the_run_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = the(AgentCompleted, await asked(offering(Demo(Library(tmp_path / "file"), pace=0)), CSV))[-1]
    assert (done.status, done.error["code"]) == ("error", "IndexFailed")


async def test_the_examples_in_answers_are_what_running_them_gives(app: Greenroom, index: Index) -> None:
    events = await asked(app, "median of a list of numbers")
    (call,) = [event for event in the(ToolExecuting, events) if event.tool == "run_example"]
    again = await run_example(call.arguments["code"])
    assert f"```pycon\n{again['output']}\n```" in the(AgentCompleted, events)[-1].result["answer"]
    assert index.find("statistics", "median") is not None
