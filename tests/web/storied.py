"""Sessions as lists of events, for the tests of store.js, together with the expected contents of their snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import hypothesis.strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

Event = dict[str, Any]

ENDINGS = ("ok", "error", "timeout", "cancelled", "interrupted")


@attrs.define
class Telling:
    """A session that is built event by event, by the grammar of the protocol, and the expected state of its runs."""

    events: list[Event] = attrs.Factory(list)
    open_runs: list[str] = attrs.Factory(list)
    children: dict[str, list[str]] = attrs.Factory(dict)
    calls: dict[str, list[tuple[str, str]]] = attrs.Factory(dict)
    """The open calls of each run: the call's id, and ``tool`` or ``question``."""
    texts: dict[str, str] = attrs.Factory(dict)
    statuses: dict[str, str] = attrs.Factory(dict)
    ends: dict[str, str] = attrs.Factory(dict)
    """The latest status of each tool call and each question, by its id."""

    def put(self, type_: str, run: str | None = None, call: str | None = None, **data: Any) -> None:
        """Append an event to the session."""
        event: Event = {"seq": len(self.events) + 1, "type": type_, "ts": 1_000 * len(self.events), "data": data}
        event |= {"run_id": run} if run else {}
        event |= {"call_id": call} if call else {}
        parent = next((each for each, below in self.children.items() if run in below), None)
        self.events.append(event | ({"parent_run_id": parent} if parent else {}))

    def start(self, parent: str | None, number: int) -> None:
        """Start a run. If ``parent`` is given, the new run is a sub-agent of this run."""
        run = f"r{len(self.statuses)}"
        if parent:
            self.children[parent].append(run)
        self.open_runs.append(run)
        self.children[run] = []
        self.calls[run] = []
        self.texts[run] = ""
        self.statuses[run] = "running"
        self.put("agent_started", run, agent=f"a{number}", input=number)

    def call(self, run: str, kind: str) -> None:
        """Open a tool call or a question in the run."""
        call = f"c{len(self.events)}"
        self.calls[run].append((call, kind))
        self.ends[call] = "running" if kind == "tool" else "open"
        if kind == "tool":
            self.put("tool_executing", run, call, tool="t", arguments={"x": [1]})
        else:
            self.put("input_requested", run, call, prompt="?")

    def close_call(self, run: str, number: int) -> None:
        """Close one open tool call or question of the run, if there is one."""
        if not self.calls[run]:
            return
        call, kind = self.calls[run].pop(number % len(self.calls[run]))
        status = ENDINGS[number % len(ENDINGS)]
        if kind == "tool":
            self.ends[call] = status
            self.put("tool_completed", run, call, tool="t", status=status, result=number, duration_ms=number)
        elif number % 2:
            self.ends[call] = "answered"
            self.put("input_received", run, call, value=number, by="k")
        else:
            self.ends[call] = "withdrawn"
            self.put("input_withdrawn", run, call, reason="timeout")

    def end(self, run: str, number: int) -> None:
        """End a run. Its sub-agents and its tool calls are ended first, as the grammar demands."""
        for child in self.children[run]:
            if child in self.open_runs:
                self.end(child, number)
        for call, kind in self.calls.pop(run):
            if kind == "tool":
                self.ends[call] = "cancelled"
                self.put("tool_completed", run, call, tool="t", status="cancelled", duration_ms=1)
            else:
                self.ends[call] = "withdrawn"
        self.statuses[run] = ENDINGS[number % len(ENDINGS)]
        self.put("agent_completed", run, agent="a", status=self.statuses[run], usage={"tokens": number})
        self.open_runs.remove(run)

    def say(self, run: str, number: int) -> None:
        """Append a piece of the run's output."""
        self.texts[run] += f"{number},"
        self.put("agent_output", run, text=f"{number},")

    def step(self, act: int, which: int, number: int) -> None:
        """Append one event that is allowed now. The arguments choose the kind of event and its run."""
        if not self.open_runs:
            return self.start(None, number)
        run = self.open_runs[which % len(self.open_runs)]
        steps: tuple[Callable[[], None], ...] = (
            lambda: self.start(None, number),
            lambda: self.start(run, number),
            lambda: self.say(run, number),
            lambda: self.say(run, number),
            lambda: self.put("agent_thinking", run, text=f"{number}"),
            lambda: self.call(run, "tool"),
            lambda: self.call(run, "question"),
            lambda: self.close_call(run, number),
            lambda: self.end(run, number),
            lambda: self.put("custom", run, name="n", value=number),
            lambda: self.put("custom", name="n", value=number),
            lambda: self.put("user_message", text=f"{number}"),
            lambda: self.put("of_a_newer_server", run, text="x"),
        )
        return steps[act % len(steps)]()


@st.composite
def sessions(draw: st.DrawFn) -> Telling:
    """Draw a session that follows the grammar of the protocol (a Hypothesis strategy)."""
    telling = Telling()
    small = st.integers(0, 99)
    for act, which, number in draw(st.lists(st.tuples(small, small, small), max_size=60)):
        telling.step(act, which, number)
    return telling
