"""The unmodified client of AG-UI accepts the streams of all runs over real sockets: of our own port, and of uvicorn."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from adapters._agui_node import MOUNTED, NATIVE, AguiNode, post, served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NUMBERS = count(1)


@pytest.fixture(scope="module")
def node() -> Iterator[AguiNode]:
    process = AguiNode()
    yield process
    process.end()


@pytest.fixture(scope="module", params=["native", "uvicorn"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of AG-UI on each kind of server."""
    command = NATIVE if request.param == "native" else MOUNTED
    with served(command, tmp_path_factory.mktemp("site")) as (url, _):
        yield url


@pytest.fixture
def thread() -> str:
    return f"thread-{next(NUMBERS)}"


def types(told: dict[str, Any]) -> list[str]:
    return [event["type"] for event in told["events"]]


def text_of(told: dict[str, Any]) -> str:
    return "".join(event["delta"] for event in told["events"] if event["type"] == "TEXT_MESSAGE_CONTENT")


def interrupt_of(told: dict[str, Any]) -> str:
    """Return the id of the one interrupt with which an AG-UI run ended."""
    (interrupt,) = told["events"][-1]["outcome"]["interrupts"]
    assert told["pendingInterrupts"] == [interrupt]
    return str(interrupt["id"])


def resumed(told: dict[str, Any], payload: object) -> dict[str, Any]:
    """Return the parameters of the AG-UI run that answers an interrupt."""
    return {"resume": [{"interruptId": interrupt_of(told), "status": "resolved", "payload": payload}]}


def test_everything(node: AguiNode, site: str, thread: str) -> None:
    """Texts, reasoning, tools of each end, state, activities, and parallel and nested sub-agents are accepted."""
    told = node.run(f"{site}/everything", thread)
    assert told["failure"] is None
    assert told["events"][-1]["outcome"] == {"type": "success"}
    assert told["events"][-1]["usage"] == [{"inputTokens": 10, "outputTokens": 5, "model": "m"}]
    assert (told["result"], told["state"]) == ({"ok": True}, {"a": 2})
    results = [event["content"] for event in told["events"] if event["type"] == "TOOL_CALL_RESULT"]
    assert results[0] == '["tea",1]'
    assert [json.loads(each)["error"]["status"] for each in results[1:3]] == ["timeout", "error"]
    ends = [kind for kind in types(told) if kind in {"SUBAGENT_FINISHED", "SUBAGENT_ERROR"}]
    assert sorted(ends) == ["SUBAGENT_ERROR", *["SUBAGENT_FINISHED"] * 5]
    assert {each["role"] for each in told["messages"]} == {"user", "assistant", "reasoning", "tool", "activity"}


@pytest.mark.parametrize(("agent", "code"), [("fails", "ValueError"), ("slow", "timeout"), ("nobody", "unknown_agent")])
def test_errors(node: AguiNode, site: str, thread: str, agent: str, code: str) -> None:
    """A failure, a time limit and a start that is refused are RUN_ERROR with a code."""
    last = node.run(f"{site}/{agent}", thread)["events"][-1]
    assert (last["type"], last["code"]) == ("RUN_ERROR", code)


def test_cancel(node: AguiNode, site: str, thread: str) -> None:
    """The route of a run cancels it: its tool, its sub-agents, and then the run."""
    number = node.begin(f"{site}/waits", thread, params={"runId": "c1"}, tell="TOOL_CALL_END")
    node.told(number)
    assert post(f"{site}/waits/{thread}/c1/cancel") == (200, b'{"cancelled":true}')
    told = node.answer(number)
    assert types(told)[-3:] == ["TOOL_CALL_RESULT", "SUBAGENT_ERROR", "RUN_FINISHED"]
    assert told["events"][-1]["outcome"] == {"type": "cancelled"}
    assert post(f"{site}/waits/{thread}/c1/cancel") == (200, b'{"cancelled":false}')


def test_client_that_is_cut(node: AguiNode, site: str, thread: str) -> None:
    """A client that comes back with ``Last-Event-ID`` gets each piece once, however often it is cut."""
    told = node.run(f"{site}/counts", thread, cutAfter=7)
    assert text_of(told) == "".join(f"{number} " for number in range(40))
    assert told["events"][-1]["result"] == "end"
    assert told["cuts"] >= 5


def test_two_clients_on_one_run(node: AguiNode, site: str, thread: str) -> None:
    """Two clients that post the same ``runId`` get the same run, both from its beginning. A later one does, too."""
    asked = {"params": {"runId": "twice"}}
    numbers = [node.begin(f"{site}/counts", thread, agent=f"{thread}-{each}", **asked) for each in range(2)]
    first, second = (node.answer(number) for number in numbers)
    third = node.run(f"{site}/counts", thread, agent=f"{thread}-2", **asked)
    assert first["events"] == second["events"] == third["events"]


def test_two_interrupts(node: AguiNode, site: str, thread: str) -> None:
    """Each question is an interrupt, and its answer goes on with the same run; an old answer is refused."""
    first = node.run(f"{site}/asks", thread)
    second = node.run(f"{site}/asks", thread, params=resumed(first, {"yes": 1}))
    third = node.run(f"{site}/asks", thread, params=resumed(second, "sure"))
    assert [text_of(each) for each in (first, second, third)] == ["Before. ", "got {'yes': 1}", "after sure"]
    assert (third["result"], third["pendingInterrupts"]) == ("ok", [])
    late = node.run(f"{site}/asks", thread, params=resumed_again(first))
    assert [(event["type"], event.get("code")) for event in late["events"]] == [("RUN_ERROR", "not_waiting")]


def resumed_again(told: dict[str, Any]) -> dict[str, Any]:
    id_ = told["events"][-1]["outcome"]["interrupts"][0]["id"]
    return {"resume": [{"interruptId": id_, "status": "resolved", "payload": 1}]}


def test_interrupt_that_is_cancelled(node: AguiNode, site: str, thread: str) -> None:
    """An interrupt that is answered as cancelled ends the run as cancelled."""
    first = node.run(f"{site}/asks", thread)
    cancelled = {"resume": [{"interruptId": interrupt_of(first), "status": "cancelled"}]}
    told = node.run(f"{site}/asks", thread, params=cancelled)
    assert types(told) == ["RUN_STARTED", "SUBAGENT_STARTED", "SUBAGENT_ERROR", "RUN_FINISHED"]
    assert told["events"][-1]["outcome"] == {"type": "cancelled"}


def test_cancel_behind_an_interrupt(node: AguiNode, site: str, thread: str) -> None:
    """The AG-UI run that answered a question is a name of the run, too: its route cancels the run."""
    first = node.run(f"{site}/asks", thread)
    second = node.run(f"{site}/asks", thread, params={**resumed(first, {}), "runId": "behind"})
    assert post(f"{site}/asks/{thread}/behind/cancel") == (200, b'{"cancelled":true}')
    cancelled = {"resume": [{"interruptId": interrupt_of(second), "status": "cancelled"}]}
    assert node.run(f"{site}/asks", thread, params=cancelled)["events"][-1]["outcome"] == {"type": "cancelled"}


def test_frontend_tools(node: AguiNode, site: str, thread: str) -> None:
    """Tools of the page: each call ends an AG-UI run, and the page's tool message goes on with the same run."""
    told = node.run(f"{site}/paints", thread, params={"tools": [{"name": "pick", "description": "", "parameters": {}}]})
    calls: list[tuple[str, Any]] = []
    while told["pendingTools"]:
        assert (told["failure"], told["pendingInterrupts"]) == (None, [])
        (call,) = told["pendingTools"]
        (function,) = [
            tool["function"]
            for message in told["messages"]
            for tool in message.get("toolCalls", [])
            if tool["id"] == call
        ]
        calls.append((function["name"], json.loads(function["arguments"])))
        message: dict[str, Any] = {"id": f"tool-{call}", "role": "tool", "toolCallId": call, "content": "blue"}
        if calls[-1][1].get("wall") == 2:
            message["error"] = "no wall"
        told = node.run(f"{site}/paints", thread, message=message)
    assert calls[0] == ("pick", {"of": "tea"})
    expected = [("paint", {"wall": wall, "colour": "blue"}) for wall in (1, 2)]
    assert sorted(calls[1:], key=lambda each: each[1]["wall"]) == expected
    assert (told["failure"], told["result"]) == (None, "blue, failed: no wall")
    whole = node.run(f"{site}/paints/connect?live=0", thread, agent=f"{thread}-new", content="")
    assert whole["failure"] is None
    results = [message["toolCallId"] for message in whole["messages"] if message["role"] == "tool"]
    asked = [tool["id"] for message in whole["messages"] for tool in message.get("toolCalls", [])]
    assert sorted(results) == sorted(asked)
    assert len(asked) == 3


def test_client_that_leaves(node: AguiNode, site: str, thread: str) -> None:
    """A client that goes away does not end the run. ``connect`` tells the whole thread, with the user's message."""
    node.run(f"{site}/counts", thread, leaveAfter=3)
    whole = node.run(f"{site}/counts", thread, agent=f"{thread}-again", params={"runId": "later"})
    assert whole["events"][-1]["result"] == "end"
    told = node.run(f"{site}/counts/connect?live=0", thread, agent=f"{thread}-new", content="")
    assert types(told).count("RUN_FINISHED") == 2
    assert text_of(told) == 2 * "".join(f"{number} " for number in range(40))
    assert [each["content"] for each in told["messages"] if each["role"] == "user"] == ["", "tea", "tea"]


def test_kill_and_restart(node: AguiNode, tmp_path: Path) -> None:
    """After a kill and a restart, the same ``runId`` tells the run to its end: RUN_ERROR ``interrupted``."""
    log = ["--log", "sqlite:log.db"]
    asked = {"params": {"runId": "k1"}}
    with served(NATIVE, tmp_path, *log) as (url, process):
        number = node.begin(f"{url}/waits", "t", agent="before", tell="TOOL_CALL_END", **asked)
        node.told(number)
        process.kill()
        with suppress(AssertionError):
            node.answer(number)
    with served(NATIVE, tmp_path, *log) as (url, _):
        told = node.run(f"{url}/waits", "t", agent="after", **asked)
    assert types(told)[-3:] == ["TOOL_CALL_RESULT", "SUBAGENT_ERROR", "RUN_ERROR"]
    assert told["events"][-1]["code"] == "interrupted"
