"""Where code runs: the run that it works for, for logging and for tools that must know their user.

A logging filter on a handler gets at it wherever a line is written, in tasks and threads of the run too::

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
    """What a run is, as values that nothing changes: safe to keep, and to hand to any thread."""

    user: str
    """Whose run it is."""
    session: str
    """The session's name, unique within its user."""
    run_id: str
    """The run's id."""
    agent: str
    """The agent's name."""
    parent_run_id: str | None = None
    """The run that it is a sub-agent of, None for one that a user started."""
    depth: int = 0
    """How many runs are above it."""
    deadline: float = float("inf")
    """When its time is over, or that of a run above it if that is sooner; on trio's clock, in seconds."""

    def log_fields(self) -> dict[str, str | int | None]:
        """Give what a line of a log should carry: who and what, no times."""
        return attrs.asdict(self, filter=lambda field, _: field.name != "deadline")


RUN_CONTEXT: ContextVar[RunContext | None] = ContextVar("greenroom_run", default=None)
"""Set by each run in its own task; tasks and threads that are started in the run inherit it."""


def current_run() -> RunContext | None:
    """Give the context of the run that the calling task or thread works for; None outside of runs.

    A tool called in a thread is inside its run. So is a task that the run started in a nursery.
    """
    return RUN_CONTEXT.get()
