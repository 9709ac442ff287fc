"""The librarian over a real socket, as a client sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from demo.asking import ask, events_of_kind

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
from transport.demo.answer import NOT_SURE
from transport.demo.library import Library
from transport.demo.sandbox import run_example
from transport.demo.serving import build_app

if TYPE_CHECKING:
    from pathlib import Path

    from transport.demo.index import Index

CSV = "how do I parse a csv file with a header?"


def server_with_demo(demo: Demo) -> Greenroom:
    """Return a server with the agents of this demo."""
    app = Greenroom(log="memory:")
    register(app, demo)
    return app


@pytest.fixture
def app(cache: Path) -> Greenroom:
    """Return the demo's own server, without pauses and without a model."""
    return build_app(pace=0, cache=cache, log="memory:")


async def test_answer_is_complete(app: Greenroom) -> None:
    """The demo's answer has the name of the best hit, its source code, and the output of an example that ran."""
    events = await ask(app, CSV)
    done = events_of_kind(AgentCompleted, events)[-1]
    assert done.status == "ok"
    assert done.result["symbol"] == "csv.DictReader"
    answer: str = done.result["answer"]
    assert "## `csv.DictReader`" in answer
    assert "class DictReader:" in answer
    assert "[{'name': 'Ada', 'age': '36'}, {'name': 'Alan', 'age': '41'}]" in answer
    assert "`csv.py:" in answer
    assert "csv" in done.result["modules"]


async def test_answer_is_streamed(app: Greenroom) -> None:
    """An answer is streamed in many small pieces. All pieces joined are the whole answer."""
    events = await ask(app, CSV)
    pieces = [event.text for event in events_of_kind(AgentOutput, events)]
    assert "".join(pieces) == events_of_kind(AgentCompleted, events)[-1].result["answer"]
    assert len(pieces) > 50


async def test_one_sub_agent_per_module(app: Greenroom) -> None:
    """Each of the three best modules gets a sub-agent, which searches once and reads source twice."""
    events = await ask(app, CSV)
    main, *children = events_of_kind(AgentStarted, events)
    assert [child.agent for child in children] == ["investigate"] * 3
    assert {child.parent_run_id for child in children} == {main.run_id}
    for child in children:
        tools = [event.tool for event in events_of_kind(ToolExecuting, events) if event.run_id == child.run_id]
        assert tools == ["search", "read_source", "read_source"]


async def test_sub_agents_are_concurrent(app: Greenroom) -> None:
    """All three sub-agents start before the first one ends."""
    events = await ask(app, CSV)
    children = {event.run_id for event in events_of_kind(AgentStarted, events)[1:]}
    last_start = max(number for number, event in enumerate(events) if isinstance(event, AgentStarted))
    first_end = next(number for number, event in enumerate(events) if isinstance(event, AgentCompleted))
    assert len(children) == 3
    assert last_start < first_end


async def test_question_without_hits(app: Greenroom) -> None:
    """A question without hits gets an apology, and no sub-agent starts."""
    events = await ask(app, "what is the weather in Paris?")
    done = events_of_kind(AgentCompleted, events)[-1]
    assert (done.status, done.result["symbol"]) == ("ok", None)
    assert done.result["answer"].startswith("I am sorry")
    assert events_of_kind(AgentStarted, events)[1:] == []


async def test_first_question_waits_for_the_index(library: Library) -> None:
    """If the index is not loaded yet, the first question tells the user to wait. The second question does not."""
    first = await ask(server_with_demo(Demo(library, pace=0)), CSV)
    second = await ask(server_with_demo(Demo(library, pace=0)), CSV)
    assert "still reading" in events_of_kind(AgentThinking, first)[0].text
    assert "still reading" not in events_of_kind(AgentThinking, second)[0].text


class FaultyLibrary(Library):
    """A library with failing tools: the tools that ``failing`` names."""

    failing: frozenset[str] = frozenset()

    async def search(self, query: str, limit: int = 8, module: str | None = None) -> dict[str, JSON]:
        """Search, or fail."""
        if module in self.failing or (module is None and "search" in self.failing):
            raise OSError("the shelf fell over")
        return await super().search(query, limit, module)

    async def read_source(self, module: str, name: str = "") -> dict[str, JSON]:
        """Read source, or fail."""
        if "read_source" in self.failing:
            raise OSError("the page is torn")
        return await super().read_source(module, name)


async def ask_with_failing(cache: Path, *failing: str) -> list[Event]:
    """Ask a question while these tools or modules fail."""
    library = FaultyLibrary(cache)
    library.failing = frozenset(failing)
    return await ask(server_with_demo(Demo(library, pace=0)), CSV)


async def test_failing_tool(cache: Path) -> None:
    """A failing tool is shown as failed, and the question still gets its answer."""
    events = await ask_with_failing(cache, "read_source")
    failed = [event for event in events_of_kind(ToolCompleted, events) if event.status == "error"]
    assert {event.tool for event in failed} == {"read_source"}
    assert any("the page is torn" in event.text for event in events_of_kind(AgentThinking, events))
    done = events_of_kind(AgentCompleted, events)[-1]
    assert (done.status, done.result["symbol"]) == ("ok", "csv.DictReader")


async def test_failing_module(cache: Path) -> None:
    """If the search of a module fails, the answer leaves this module out."""
    events = await ask_with_failing(cache, "csv")
    done = events_of_kind(AgentCompleted, events)[-1]
    assert done.status == "ok"
    assert "csv" not in done.result["modules"]
    assert done.result["modules"]


async def test_failing_search(cache: Path) -> None:
    """If the first search fails, the run ends with status ok, and its answer says that the search failed."""
    done = events_of_kind(AgentCompleted, await ask_with_failing(cache, "search"))[-1]
    assert (done.status, done.result["answer"]) == ("ok", SEARCH_FAILED)


class DemoWithFailingSubAgent(Demo):
    """A demo in which the sub-agent for the module ``csv`` fails."""

    async def investigate(self, run: Any, lead: Any) -> list[JSON]:
        """Investigate a module, or fail."""
        if lead.module == "csv":
            raise RuntimeError("lost between the shelves")
        return await super().investigate(run, lead)


async def test_failing_sub_agent(library: Library) -> None:
    """A failing sub-agent is shown as failed, and the question still gets an answer."""
    events = await ask(server_with_demo(DemoWithFailingSubAgent(library, pace=0)), CSV)
    assert [event.status for event in events_of_kind(AgentCompleted, events)].count("error") == 1
    assert any("Nothing came back from csv" in event.text for event in events_of_kind(AgentThinking, events))
    assert events_of_kind(AgentCompleted, events)[-1].status == "ok"


async def test_failing_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that cannot be built ends the run with the error ``IndexFailed``."""
    monkeypatch.setattr("transport.demo.library.BUILD_SECONDS", 0.01)
    done = events_of_kind(AgentCompleted, await ask(server_with_demo(Demo(Library(tmp_path), pace=0)), CSV))[-1]
    assert (done.status, done.error["code"]) == ("error", "IndexFailed")


async def test_sure_answer(app: Greenroom) -> None:
    """If the best hit fits the question well, the answer does not begin with "I am not sure"."""
    done = events_of_kind(AgentCompleted, await ask(app, CSV))[-1]
    assert NOT_SURE not in done.result["answer"]


async def test_answer_that_is_not_sure(app: Greenroom) -> None:
    """If the best hit has only few words of the question, the answer begins with "I am not sure"."""
    done = events_of_kind(AgentCompleted, await ask(app, "train a neural network"))[-1]
    assert done.result["answer"].startswith(f"{NOT_SURE} `{done.result['symbol']}`.")


async def test_environment_changes_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ``--model`` the demo ignores a key and a server in the environment, and answers from its index."""
    monkeypatch.setenv("OPENAI_API_KEY", "k1")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    done = events_of_kind(AgentCompleted, await ask(build_app(pace=0, cache=cache, log="memory:"), CSV))[-1]
    assert (done.status, done.result["symbol"]) == ("ok", "csv.DictReader")


async def test_example_output_is_real(app: Greenroom, index: Index) -> None:
    """The example in an answer has the output that its code gives when it runs again."""
    events = await ask(app, "median of a list of numbers")
    (call,) = [event for event in events_of_kind(ToolExecuting, events) if event.tool == "run_example"]
    again = await run_example(call.arguments["code"])
    assert f"```pycon\n{again['output']}\n```" in events_of_kind(AgentCompleted, events)[-1].result["answer"]
    assert index.find("statistics.median") is not None
