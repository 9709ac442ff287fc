"""Protocols, so that the recorder and the tools need not import runs, and runs need not import sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import trio

    from actors.events.types import Status
    from actors.runs._context import RunContext
    from actors.runs._outcome import Outcome


class RunSettings(Protocol):
    """The settings that limit runs. :class:`~actors.SessionSettings` contains them."""

    @property
    def max_event_bytes(self) -> int:
        """Maximum size of the payload of one event, in bytes."""
        ...

    @property
    def max_run_depth(self) -> int:
        """Maximum number of runs above a sub-agent. Also the maximum nesting of sync tools that call each other."""
        ...

    @property
    def max_subruns(self) -> int:
        """Maximum number of open sub-agents below one run, at all depths together."""
        ...


class Closable(Protocol):
    """The part of an open run that the recorder and the session use."""

    @property
    def id(self) -> str:
        """Id of the run."""
        ...

    @property
    def parent(self) -> Closable | None:
        """The run that this one is a sub-agent of; None for a run that a user started."""
        ...

    @property
    def context(self) -> RunContext:
        """The names, ids and deadline of the run, as plain values."""
        ...

    @property
    def scope(self) -> trio.CancelScope:
        """The cancel scope around the run."""
        ...

    def stop(self, status: str = "cancelled") -> None:
        """Ask the run to stop. It completes with ``status``."""
        ...

    def abandon(self, outcome: Outcome) -> None:
        """Mark the run as closed by the recorder, and cancel the code that still runs in it."""
        ...


class Caller(Protocol):
    """The part of a run that a tool call uses."""

    @property
    def id(self) -> str:
        """Id of the run."""
        ...

    @property
    def agent(self) -> str:
        """Name of the run's agent."""
        ...

    @property
    def user(self) -> str:
        """Name of the run's user."""
        ...

    @property
    def closed(self) -> bool:
        """Whether the run has ended."""
        ...

    @property
    def waits(self) -> set[trio.CancelScope]:
        """Cancel scopes of the calls and questions that are open."""
        ...

    @property
    def cancelled_as(self) -> Status:
        """Status with which a call of the run completes if it is cancelled now."""
        ...

    async def ready(self) -> None:
        """Wait until the session has room for the event that opens a call.

        Raise :class:`~actors.RunClosed` after the run's end.
        """
        ...
