"""Protocols, so that the recorder and the tools need not import runs, and runs need not import sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from actors.runs._tracing import Traced

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.events.types import Status
    from actors.runs._context import RunContext
    from actors.runs._outcome import Outcome

T = TypeVar("T")


class RunSettings(Protocol):
    """The settings that limit runs. :class:`~actors.SessionSettings` has all of them."""

    @property
    def max_event_bytes(self) -> int:
        """Maximum size of the data of one event, in bytes."""
        ...

    @property
    def max_run_depth(self) -> int:
        """Maximum depth of nested sub-agents. The same limit holds for sync tools that call other sync tools."""
        ...

    @property
    def max_subruns(self) -> int:
        """Maximum number of open sub-agents below one run, on all levels together."""
        ...

    @property
    def open_questions_per_user(self) -> int:
        """Maximum number of open questions to one user, over all runs of the user."""
        ...


class Cancellable(Protocol):
    """A cancel scope: trio's own, or one of a block of asyncio code."""

    @property
    def cancel_called(self) -> bool:
        """Whether the code in the scope was cancelled."""
        ...

    def cancel(self) -> None:
        """Cancel the code in the scope. Never waits."""
        ...


class Closable(Protocol):
    """The attributes and methods of an open run that the recorder and the session use."""

    @property
    def id(self) -> str:
        """Id of the run."""
        ...

    @property
    def parent(self) -> Closable | None:
        """The run that started this run as a sub-agent. None if this run is not a sub-agent."""
        ...

    @property
    def context(self) -> RunContext:
        """The names, ids and deadline of the run, as plain values."""
        ...

    @property
    def scope(self) -> Cancellable:
        """The cancel scope in which the code of the run is executed."""
        ...

    def stop(self, status: str = "cancelled") -> None:
        """Ask the run to stop. The run is cancelled, and ends with ``status``."""
        ...

    def abandon(self, outcome: Outcome) -> None:
        """Mark the run as closed, because the recorder has emitted its closing event.

        Cancel the code that still runs in the run.
        """
        ...


class Caller(Traced, Protocol):
    """The attributes and methods of a run that a tool call uses."""

    @property
    def user(self) -> str:
        """Name of the user that the run works for."""
        ...

    @property
    def closed(self) -> bool:
        """Whether the run has ended."""
        ...

    @property
    def waits(self) -> set[Cancellable]:
        """Cancel scopes around the tool calls and questions of the run that are open."""
        ...

    @property
    def cancelled_as(self) -> Status:
        """The status that a tool call of the run gets if it is cancelled now."""
        ...

    async def ready(self) -> None:
        """Wait until the session can take the event that opens a tool call.

        A session takes no opening event while too many of its events are not yet committed to the log.

        Raise :class:`~actors.RunClosed` if the run has ended.
        """
        ...

    def require_ready(self) -> None:
        """Raise the errors of :meth:`ready`, without waiting."""
        ...

    def in_loop(self, name: str, function: Callable[..., T], *args: object) -> T:
        """Call ``function`` in the session's event loop: directly, or from another thread, which waits for the result.

        ``name`` names the caller in the error. Raise RuntimeError in a thread from which the loop cannot be reached.
        """
        ...

    async def pause(self) -> None:
        """Wait while too many events of the session are not yet committed to the log. Always a checkpoint."""
        ...
