"""A start on its way from its command to the end of its run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from actors.sessions._messages import Queued

if TYPE_CHECKING:
    from actors.sessions._agents import Agent
    from actors.sessions._run import Run, RunScope
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
    begun: bool = False
    """Whether ``agent_started`` was emitted."""

    @property
    def queued(self) -> Queued:
        """How it is shown while it waits for its turn."""
        return Queued(self.command_id, self.agent.name, self.since)
