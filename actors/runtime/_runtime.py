"""The services that all actors of one system share: the base class of the system itself."""

from __future__ import annotations

import itertools
import weakref
from typing import TYPE_CHECKING

import trio

from actors.runtime._crashes import Crashes
from actors.runtime._dead_letters import DeadLetterOffice
from actors.runtime._deadlines import DeadlineEnforcer
from actors.runtime._home import Home
from actors.runtime.topics._bus import EventBus
from actors.runtime.topics._supervision import SupervisionEvent

if TYPE_CHECKING:
    from actors.errors import RestartLimit

FAIR_SPAWNS = 64
"""Number of spawned actors after which a task that only spawns lets other tasks run once."""


class Runtime:
    """The services that the actors of one system share. ``ActorSystem`` is its subclass; actors use only this part."""

    def __init__(self) -> None:
        self.limits: weakref.WeakSet[RestartLimit] = weakref.WeakSet()
        """Every RestartLimit that supervisors of this system raised. By this set the system recognises these errors.

        A RestartLimit of another system is a failure like any other, even if it has the path of a supervisor of this
        system.
        """
        self.raised: list[BaseException] = []
        """Exceptions that actors raised while the whole system was cancelled. The ``open_system`` block raises them."""
        self.home = Home()
        self._events = EventBus(self.home)
        self.office = DeadLetterOffice(self._events)
        self.supervision = self._events.demand(SupervisionEvent)
        """Whether some subscriber wants events of supervision."""
        self.token = trio.lowlevel.current_trio_token()
        """Token for calls from outside of any trio task, such as the ``__del__`` of an object that Python frees."""
        self.enforcer = DeadlineEnforcer()
        self.living = 0
        """Number of actors that have not ended permanently."""
        self.restarts = 0
        """Number of restarts of actors since the system was opened."""
        self.crashes = Crashes()
        self.numbers = itertools.count(1)
        """Numbers for the names of actors that are started without a name."""
        self.spawn_turns = itertools.cycle([*[False] * (FAIR_SPAWNS - 1), True])
        """Iterator of flags: ``next`` counts a start of an actor, and returns whether other tasks must run before."""

    @property
    def events(self) -> EventBus:
        """Events between actors. The events of supervision and the dead letters are among them."""
        return self._events
