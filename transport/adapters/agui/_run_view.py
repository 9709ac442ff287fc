"""One run with its sub-agents, from its start to its end, as one AG-UI run after another. Pure.

A question to the user ends an AG-UI run (outcome ``interrupt``), while the run itself waits. The answer begins the next
AG-UI run, which goes on with the same run. Between the two, AG-UI has no place for events. What other sub-agents do in
this time is held, and follows the answer. The call of a frontend tool is such a question: it ends the AG-UI run as a
success that leaves this call open (``pendingToolCallIds``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from actors import (
    AgentCompleted,
    AgentOutput,
    AgentStarted,
    AgentThinking,
    Custom,
    InputReceived,
    InputRequested,
    InputWithdrawn,
    ToolCompleted,
    ToolExecuting,
    UserMessage,
)
from transport.adapters.agui import _build as build
from transport.adapters.agui.frontend import content_of, frontend_call

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import JSON, Event
    from transport.adapters.agui._build import AguiEvent

BY = "agui:"
"""The beginning of the ids of commands, and of senders of answers, that came by AG-UI. The AG-UI run's id follows."""
WITHDRAWN = "greenroom.input_withdrawn"


@attrs.frozen
class _Subagent:
    name: str
    parent: str | None
    """The sub-agent that has started it. None if the run itself has."""


class RunView:
    """The AG-UI runs of one run. It is the first run without a parent that is fed; events of other runs are ignored.

    Args:
        thread: The id of the AG-UI thread.
        run_id: The id of the first AG-UI run.
        next_id: Returns the id of the AG-UI run that goes on when a question is closed. It gets the question's id, and
            the event that closed it. By default it is the sender of the answer, if it came by AG-UI.
        shows_input: Whether RUN_STARTED has what a client gave the run, for clients that have not seen it: the input,
            if it is a text, as a message of the user, and the result of a frontend tool as its message.
    """

    def __init__(
        self,
        thread: str,
        run_id: str,
        next_id: Callable[[str, Event], str] | None = None,
        *,
        shows_input: bool = False,
    ) -> None:
        self.thread, self.run_id = thread, run_id
        self._shows_input = shows_input
        self._next_id = next_id or self._sender
        self.root: str | None = None
        """Id of the run. None until its ``agent_started`` was fed."""
        self.waits_for: str | None = None
        """Id of the question that ended the last AG-UI run. None while an AG-UI run is open."""
        self._asked: InputRequested | None = None
        """That question."""
        self.over = False
        """Whether the run has ended, and all of its events were returned."""
        self._texts: dict[str, tuple[str, str]] = {}  # run -> kind, id of the open message
        self._subagents: dict[str, _Subagent] = {}  # in the order of their starts
        self._family: set[str | None] = set()  # the run and its open sub-agents, held ones too
        self._held: list[Event] = []

    def feed(self, event: Event) -> list[AguiEvent]:
        """Return the AG-UI events for the next event of the session. At most one AG-UI run begins and ends in them."""
        if self.over:
            return []
        if event.run_id is None:
            is_open = self.root is not None and self.waits_for is None
            return noted(event, session_event(event)) if is_open else []
        if self.root is None:
            return self._begin(event) if isinstance(event, AgentStarted) and event.parent_run_id is None else []
        if not self._is_own(event):
            return []
        question = self.waits_for
        if question is None:
            return self._encode(event)
        self._held.append(event)
        is_end = isinstance(event, AgentCompleted) and event.run_id == self.root
        is_closed = self._asked is not None and _ends(event, self._asked)
        return self._go_on(question, event) if is_end or is_closed else []

    def _is_own(self, event: Event) -> bool:
        """Return whether an event belongs to this run or to a sub-agent of it. Every event is asked about once."""
        if isinstance(event, AgentStarted) and event.parent_run_id in self._family:
            self._family.add(event.run_id)
        elif event.run_id not in self._family:
            return False
        if isinstance(event, AgentCompleted):
            self._family.discard(event.run_id)
        return True

    def _begin(self, event: AgentStarted) -> list[AguiEvent]:
        self.root = event.run_id
        self._family.add(event.run_id)
        started = build.run_started(self.thread, self.run_id)
        if self._shows_input and isinstance(event.input, str):
            asked = {"id": f"{event.run_id}:input", "role": "user", "content": event.input}
            started["input"] = self._input(asked)
        return noted(event, [started])

    def _input(self, message: dict[str, Any]) -> dict[str, Any]:
        return {"threadId": self.thread, "runId": self.run_id, "messages": [message]}

    def _go_on(self, question: str, event: Event) -> list[AguiEvent]:
        """Begin the next AG-UI run: its sub-agents again, then everything that was held."""
        self.run_id, self.waits_for = self._next_id(question, event), None
        started = build.run_started(self.thread, self.run_id)
        out = [started, *(self._started(each, subagent) for each, subagent in self._subagents.items())]
        asked, self._asked = self._asked, None
        if asked is not None and frontend_call(asked) is not None:
            # The client that has executed the tool has the result as a message of its own.
            if not isinstance(event, InputReceived):
                out.append(build.tool_failed(question, _reason(event), self._tag(str(asked.run_id))))
            elif self._shows_input:
                started["input"] = self._input(build.tool_message(question, *content_of(event.value)))
        out, held, self._held = noted(event, out), self._held, []
        for number, each in enumerate(held):
            if self.waits_for is not None:
                self._held.append(each)
            elif isinstance(each, InputRequested) and any(_ends(later, each) for later in held[number + 1 :]):
                continue  # it was closed before a client could be asked
            else:
                out += self._encode(each)
        return out

    def _encode(self, event: Event) -> list[AguiEvent]:
        """Return the AG-UI events for an event of this run while an AG-UI run is open."""
        run, out = str(event.run_id), list["AguiEvent"]()
        match event:
            case AgentOutput() | AgentThinking():
                out = self._piece(event)
            case AgentStarted():
                out = self._start_subagent(event)
            case ToolExecuting():
                called = build.tool_called(str(event.call_id), event.tool, event.arguments, self._tag(run))
                out = [*self._close(run), *called]
            case ToolCompleted():
                out = [*self._close(run), build.tool_result(event, self._tag(run))]
            case Custom():
                out = [*self._close(run), build.custom(event.name, event.value, self._tag(run))]
            case InputWithdrawn():
                value: JSON = {"id": event.call_id, "reason": event.reason}
                out = [*self._close(run), build.custom(WITHDRAWN, value, self._tag(run))]
            case InputReceived():
                out = self._close(run)
            case InputRequested():
                out = self._interrupt(event)
            case AgentCompleted():
                out = self._complete(event)
            case _:  # of a newer version
                pass
        return noted(event, out)

    def _tag(self, run: str) -> dict[str, str]:
        return {} if run == self.root else {"subagentRunId": run}

    def _sender(self, question: str, event: Event) -> str:
        """Return the id of the AG-UI run that sent the answer. For another sender, make an id from the event."""
        del question
        return id_behind(str(self.root), event)

    def _close(self, run: str) -> list[AguiEvent]:
        """Return the end of the text that is open in a run."""
        kind, message = self._texts.pop(run, ("", ""))
        return build.text_closed(kind, message, self._tag(run)) if kind else []

    def _piece(self, event: AgentOutput | AgentThinking) -> list[AguiEvent]:
        if not event.text:
            return []
        run, kind = str(event.run_id), "text" if isinstance(event, AgentOutput) else "reasoning"
        open_kind, message = self._texts.get(run, ("", ""))
        out: list[AguiEvent] = []
        if open_kind != kind:
            out, message = self._close(run), f"{run}:{event.seq}"
            self._texts[run] = kind, message
            out += build.text_opened(kind, message, self._tag(run))
        return [*out, build.text_piece(kind, message, event.text, self._tag(run))]

    def _start_subagent(self, event: AgentStarted) -> list[AguiEvent]:
        parent = str(event.parent_run_id)
        subagent = _Subagent(event.agent, None if parent == self.root else parent)
        self._subagents[str(event.run_id)] = subagent
        # What the parent says behind it is a new message: else it would be shown above what the sub-agent says.
        return [*self._close(parent), self._started(str(event.run_id), subagent)]

    def _started(self, run: str, subagent: _Subagent) -> AguiEvent:
        more = {} if subagent.parent is None else {"parentSubagentRunId": subagent.parent}
        return {"type": "SUBAGENT_STARTED", "subagentRunId": run, "name": subagent.name, **more}

    def _interrupt(self, event: InputRequested) -> list[AguiEvent]:
        """End the AG-UI run at a question. All of its texts end, and its sub-agents are suspended, innermost first."""
        question, run, call = str(event.call_id), str(event.run_id), frontend_call(event)
        out = [each for open_run in list(self._texts) for each in self._close(open_run)]
        if call is not None:
            out += build.tool_called(question, call.name, call.arguments, self._tag(run))
        for subagent in reversed(self._subagents):
            asks = {"interruptIds": [question]} if subagent == run and call is None else {}
            suspended = {"type": "suspended", **asks}
            out.append({"type": "SUBAGENT_FINISHED", "subagentRunId": subagent, "outcome": suspended})
        self.waits_for, self._asked = question, event
        if call is not None:
            pending = {"type": "success", "pendingToolCallIds": [question]}
            return [*out, build.run_finished(self.thread, self.run_id, pending)]
        schema = {"responseSchema": event.schema} if isinstance(event.schema, dict) else {}
        asked = {"id": question, "reason": "input_requested", "message": event.prompt, **self._tag(run), **schema}
        interrupt = {"type": "interrupt", "interrupts": [asked]}
        return [*out, build.run_finished(self.thread, self.run_id, interrupt)]

    def _complete(self, event: AgentCompleted) -> list[AguiEvent]:
        run, out = str(event.run_id), self._close(str(event.run_id))
        error = event.error or {}
        code = str(error.get("code") or event.status) if event.status == "error" else event.status
        message = str(error.get("message") or event.status)
        if run != self.root:
            del self._subagents[run]
            about = {"subagentRunId": run}
            if event.status != "ok":
                return [*out, {"type": "SUBAGENT_ERROR", **about, "message": message, "code": code}]
            result = {} if event.result is None else {"result": event.result}
            return [*out, {"type": "SUBAGENT_FINISHED", **about, **result, "outcome": {"type": "success"}}]
        self.over = True
        usage = build.usage_of(event.usage)
        if event.status == "ok":
            result = {} if event.result is None else {"result": event.result}
            return [*out, build.run_finished(self.thread, self.run_id, {"type": "success"}, **result, **usage)]
        if event.status == "cancelled":
            return [*out, build.run_finished(self.thread, self.run_id, {"type": "cancelled"}, **usage)]
        return [*out, build.run_error(code, message, **usage)]


def first_id(event: AgentStarted) -> str:
    """Return the id of the first AG-UI run of a run: chosen by its client, or the id of the run itself."""
    id_ = event.command_id or ""
    return id_.removeprefix(BY) if id_.startswith(BY) else str(event.run_id)


def id_behind(root: str, event: Event) -> str:
    """Return the id of the AG-UI run that goes on behind a question of the topmost run ``root``.

    It is the sender of the answer, if that came by AG-UI. Otherwise it is made from the event that closed the question.
    """
    by = event.by if isinstance(event, InputReceived) else None
    return by.removeprefix(BY) if by is not None and by.startswith(BY) else f"{root}:{event.seq}"


def session_event(event: Event) -> list[AguiEvent]:
    """Return the AG-UI events for an event that belongs to no run: the user's message, or one of the application."""
    if isinstance(event, UserMessage):
        return build.user_text(f"message:{event.seq}", event.text)
    return [build.custom(event.name, event.value, {})] if isinstance(event, Custom) else []


def noted(event: Event, out: list[AguiEvent]) -> list[AguiEvent]:
    """Return AG-UI events with the time and the seq of the event that they come from."""
    for each in out:
        each["timestamp"], each["metadata"] = event.ts, {"greenroom": {"seq": event.seq}}
    return out


def _reason(event: Event) -> str:
    """Return the reason for which a question got no answer: of its withdrawal, or the status of the run's end."""
    return event.reason if isinstance(event, InputWithdrawn) else getattr(event, "status", "cancelled")


def _ends(event: Event, question: InputRequested) -> bool:
    """Return whether an event closes a question: its answer, its withdrawal, or the end of the run that asks."""
    if isinstance(event, AgentCompleted):
        return event.run_id == question.run_id
    return isinstance(event, (InputReceived, InputWithdrawn)) and event.call_id == question.call_id
