"""The interface of a tracer, which records each run and each tool call as a span. :mod:`transport` has one.

Without a tracer, a run or a tool call costs one comparison more. An event costs nothing in any case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from actors.runs._outcome import Outcome


class Span(Protocol):
    """One traced run or tool call. The methods never wait or raise."""

    def enter(self) -> object:
        """Make this span the current one of the calling task. Return the value that :meth:`leave` takes."""
        ...

    def leave(self, before: object) -> None:
        """Make the span that was current before the current one again. Do nothing if this span is not current."""
        ...

    def end(self, outcome: Outcome, usage: bytes | None = None) -> None:
        """End the span. Only the first call counts. ``usage`` is the usage of a run as JSON text, if there is one."""
        ...


class Traced(Protocol):
    """The attributes of a run that a tracer reads."""

    span: Span | None
    """The span of the run. None before it begins, and without a tracer."""

    @property
    def id(self) -> str:
        """Id of the run."""
        ...

    @property
    def agent(self) -> str:
        """Name of the agent that the run executes."""
        ...

    @property
    def session(self) -> str:
        """Name of the session that the run belongs to."""
        ...


class Tracer(Protocol):
    """Makes spans. The methods never wait or raise."""

    def begin_run(self, run: Traced, parent: Traced | None, text: bytes, origin: object) -> Span:
        """Begin the span of a run.

        Args:
            run: The run.
            parent: The run above a sub-agent.
            text: The input of the run as JSON text.
            origin: The ``traceparent`` of the request that started the run, as a client has sent it.
        """
        ...

    def begin_tool(self, run: Traced, call_id: str, name: str, data: bytes) -> Span:
        """Begin the span of a tool call. ``data`` is that of its event ``tool_executing``, without secrets."""
        ...

    def origin(self) -> str | None:
        """Return the ``traceparent`` of the caller's current span. Return None if there is none."""
        ...
