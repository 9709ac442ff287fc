"""The events of a session, written down for tests of formats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.events.decoding import decode_event

if TYPE_CHECKING:
    from actors import Event


class Told:
    """The events of a session, numbered from 1. Each method adds one and returns it."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def tell(
        self, kind: str, run: str | None = None, call: str | None = None, parent: str | None = None, **data: Any
    ) -> Event:
        """Add an event of the type ``kind``."""
        seq = len(self.events) + 1
        ids = {"run_id": run, "parent_run_id": parent, "call_id": call}
        raw = {"seq": seq, "ts": 1000 + seq, "type": kind, "data": data}
        event = decode_event({**raw, **{name: value for name, value in ids.items() if value is not None}})
        self.events.append(event)
        return event

    def start(self, run: str = "r", parent: str | None = None, **data: Any) -> Event:
        """Start a run."""
        return self.tell("agent_started", run, parent=parent, **{"agent": f"agent {run}", "input": None, **data})

    def complete(self, run: str = "r", status: str = "ok", parent: str | None = None, **data: Any) -> Event:
        """End a run."""
        return self.tell("agent_completed", run, parent=parent, agent=f"agent {run}", status=status, **data)

    def output(self, text: str, run: str = "r") -> Event:
        """Add a piece of a run's answer."""
        return self.tell("agent_output", run, text=text)

    def think(self, text: str, run: str = "r") -> Event:
        """Add a thought of a run."""
        return self.tell("agent_thinking", run, text=text)

    def ask(self, call: str, run: str = "r", **data: Any) -> Event:
        """Ask the user."""
        return self.tell("input_requested", run, call, **{"prompt": "Sure?", **data})

    def answer(self, call: str, run: str = "r", **data: Any) -> Event:
        """Answer a question."""
        return self.tell("input_received", run, call, **{"value": True, **data})
