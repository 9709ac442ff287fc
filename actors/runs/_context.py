"""The context of a run as plain values, for logging and for tools that must know their user.

A logging filter on a handler can read the context for each line, also in tasks and threads of the run::

    class RunFields(logging.Filter):
        def filter(self, record):
            run = current_run()
            record.run = run.log_fields() if run is not None else {}
            return True
"""

from __future__ import annotations

from contextvars import ContextVar

import attrs


@attrs.frozen(kw_only=True)
class RunContext:
    """A run's names, ids and deadline, as values that never change. Any thread can use this object."""

    user: str
    """Name of the user that the run works for."""
    session: str
    """Name of the session that the run belongs to. The name is unique among the sessions of the user."""
    run_id: str
    """Id of the run that this context describes."""
    agent: str
    """Name of the agent that this run executes."""
    parent_run_id: str | None = None
    """Id of the run that started this run as a sub-agent. None if this run is not a sub-agent."""
    depth: int = 0
    """Number of runs above this run in the tree of runs. The depth of a run that is not a sub-agent is 0."""
    deadline: float = float("inf")
    """The earliest time at which this run or a run above it times out, in seconds on trio's clock."""

    def log_fields(self) -> dict[str, str | int | None]:
        """Return all values except the deadline, as a dict for log lines."""
        return attrs.asdict(self, filter=lambda field, _: field.name != "deadline")


RUN_CONTEXT: ContextVar[RunContext | None] = ContextVar("greenroom_run", default=None)
"""The context of the current run. A run sets it in its own task. Tasks and threads started by this task inherit it."""


def current_run() -> RunContext | None:
    """Return the context of the run that the calling task or thread works for. Return None outside of runs.

    A thread in which a run calls a tool works for that run. A task that the run's code starts in a nursery works for
    that run too.
    """
    return RUN_CONTEXT.get()
