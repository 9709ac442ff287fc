"""A start on its way from its command to the end of its run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from actors.sessions._messages import Queued

if TYPE_CHECKING:
    import trio

    from actors.errors import LogError
    from actors.runs._agents import Agent
    from actors.runs._run import Run, RunScope
    from actors.sessions._run_limiter import Place


@attrs.define(eq=False)
class Start:
    """A start that was accepted. Its run's task owns it: waits for the place, performs, and leaves the place."""

    command_id: str
    agent: Agent
    value: object
    """The input, as the agent's parameter wants it."""
    run: Run
    """The run, which has its id from the beginning."""
    scope: RunScope
    place: Place
    since: int
    """When it was accepted, in ms since 1970."""
    recorded: trio.Event | None
    """Set once ``agent_started`` is committed or never will be. None where no client could start the run once more."""
    begun: bool = False
    """Whether ``agent_started`` was emitted."""

    @property
    def queued(self) -> Queued:
        """How it is shown while it waits for its turn."""
        return Queued(self.command_id, self.agent.name, self.since)

    @property
    def in_doubt(self) -> bool:
        """Whether the death of the process now would take ``agent_started``: sent again, the start would be done."""
        return self.begun and self.recorded is not None and not self.recorded.is_set()

    async def may_call(self) -> None:
        """Wait until the agent may be called: until the log knows of the start where it could be sent again.

        Nothing is waited for, and no checkpoint passed, elsewhere. Raises Cancelled where the run is to stop meanwhile,
        and where its start will never be in the log.
        """
        if self.recorded is not None:
            await self.recorded.wait()

    def note_commit(self, error: LogError | None) -> None:
        """Let the agent be called; with an error, which also ends the session, stop the run instead."""
        if error is not None:
            self.run.stop("interrupted")
        if self.recorded is not None:
            self.recorded.set()
