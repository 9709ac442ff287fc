"""The context of a run as plain values, for logging and for tools that must know their user.

A logging filter on a handler can read it wherever a line is written, in tasks and threads of the run too::

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
    """The names, ids and deadline of a run, as constant values. Safe to keep, and to pass to any thread."""

    user: str
    """Name of the user."""
    session: str
    """Name of the session, unique within its user."""
    run_id: str
    """Id of the run."""
    agent: str
    """Name of the agent."""
    parent_run_id: str | None = None
    """Id of the run that this one is a sub-agent of; None for a run that a user started."""
    depth: int = 0
    """Number of runs above this one in the tree; 0 for a run that a user started."""
    deadline: float = float("inf")
    """Time at which the run, or a run above it, times out first; on trio's clock, in seconds."""

    def log_fields(self) -> dict[str, str | int | None]:
        """Return the fields for a line of a log: all except the deadline."""
        return attrs.asdict(self, filter=lambda field, _: field.name != "deadline")


RUN_CONTEXT: ContextVar[RunContext | None] = ContextVar("greenroom_run", default=None)
"""The context of the current run. Each run sets it in its own task; tasks and threads started there inherit it."""


def current_run() -> RunContext | None:
    """Return the context of the run that the calling task or thread works for; None outside of runs.

    A tool that is called in a thread works for its run. So does a task that the run started in a nursery.
    """
    return RUN_CONTEXT.get()
