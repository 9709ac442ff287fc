"""The beats of the node of this process, and all that follows from their answers."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio

from actors.cluster._life import NodeLife, Turn
from actors.cluster._times import boot_time
from actors.cluster.interfaces import Incarnation, NodeState
from actors.errors import LogUnavailable
from actors.failures import log_line
from actors.loop.boundary import contained
from actors.streams._stream import now_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from actors.cluster._times import NodeTimes
    from actors.cluster.interfaces import BeatAnswer, Bus, Members, NodeInfo

logger = logging.getLogger("greenroom.cluster")

MOST_BEATS = 16
"""Maximum time for a new connection of a deaf channel, in beats: four leases."""


@attrs.define
class HeartCounters:
    """The counters of burials and of a deaf channel since the start of the process."""

    buried: int = 0
    burials: int = 0
    deaf: int = 0


class Heart:
    """The task that beats, observes the other nodes, and buries dead ones.

    Callbacks must not wait. An error in one is logged.
    """

    def __init__(  # noqa: PLR0913 - made in one place, by name
        self,
        name: str,
        members: Members,
        bus: Bus,
        times: NodeTimes,
        *,
        info: Callable[[], str] = str,
        clock: Callable[[], float] = boot_time,
    ) -> None:
        """Describe the node.

        Args:
            name: Name of the node.
            members: The registered nodes.
            bus: The messages to this node, which show whether it can be reached.
            times: The times, from the lease.
            info: Function that returns the text that each beat carries.
            clock: The clock of this node, in seconds.
        """
        self._members = members
        self._bus = bus
        self._times = times
        self._info = info
        self._beating = trio.Lock()
        self._moved = trio.Event()
        self._name = name
        self._waiting_since: float | None = None
        self._life = self._new_life()
        self.clock = clock
        self.counters = HeartCounters()
        self.on_state: list[Callable[[NodeState], None]] = []
        """Functions that are called after the state has changed, with the new one."""
        self.on_buried: list[Callable[[], None]] = []
        """Functions that are called when this node was buried, before it takes part again: it owns no user now."""
        self.on_nodes: list[Callable[[], None]] = []
        """Functions that are called when a node has come or gone."""
        self.on_restart: list[Callable[[], None]] = []
        """Functions that are called when the engine was restarted, perhaps with older data."""
        self.on_time: list[Callable[[int], None]] = []
        """Functions that are called with the engine's time of day (ms since 1970), once for each answered beat."""

    @property
    def incarnation(self) -> Incarnation:
        """The present incarnation of the node."""
        return self._life.incarnation

    @property
    def state(self) -> NodeState:
        """The state of the node at this moment, by its clock: also right in the first step after a pause."""
        return self._life.state(self.clock())

    @property
    def until(self) -> float:
        """Time until which the node is live, in seconds of its clock."""
        return self._life.until

    @property
    def nodes(self) -> Mapping[str, NodeInfo]:
        """The registered nodes by name, as the newest look showed them."""
        return self._life.nodes

    @property
    def deaf(self) -> bool:
        """Whether the node hears no messages, though a beat was answered that it should have heard on its channel."""
        heard = self._bus.heard_at()
        return self.clock() - heard >= self._times.deaf and self._life.looked_at > heard

    def is_registered(self, incarnation: Incarnation) -> bool:
        """Return whether an incarnation was registered at the newest look, and was never seen to go before."""
        found = self._life.nodes.get(incarnation.node)
        return found is not None and found.incarnation == incarnation and incarnation not in self._life.risen

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Beat until cancelled. Report the start when the node has joined. At the end remove the node.

        Raise ConfigError if another process uses the name of this node. Can be called again after it has ended.
        """
        if self.state is NodeState.STOPPED:
            self._life = self._new_life()
            _call(self.on_buried)
        self._bus.open()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._report_state)
                nursery.start_soon(self._listen_to_itself)
                await self._beat_on(task_status)
        finally:
            await self._leave()

    async def look(self) -> bool:
        """Beat now. Return whether a beat that was sent after this call was answered, and the node is registered.

        Concurrent callers share a beat.
        """
        asked = self.clock()
        async with self._beating:
            return self._life.looked_at > asked or await self._beat()

    async def until_live(self) -> bool:
        """Wait until the node is live, and return True. Return False if the node has stopped."""
        while (state := self.state) is not NodeState.LIVE:
            if state is NodeState.STOPPED:
                await trio.lowlevel.checkpoint()
                return False
            await self._moved.wait()
        return True

    def _new_life(self) -> NodeLife:
        return NodeLife(self._times, lambda: Incarnation.new(self._name, now_ms()))

    async def _beat_on(self, task_status: trio.TaskStatus[None]) -> None:
        due, reported = self.clock(), False
        while True:
            await self.look()
            if self._life.joined and not reported:
                reported = True
                task_status.started()
            # At a fixed rate. After a pause the missed beats are not made up.
            due = max(due + self._times.beat, self.clock())
            await trio.sleep(max(0.0, due - self.clock()))

    async def _beat(self) -> bool:
        life, sent, answer = self._life, self.clock(), None
        # An answer that comes later than the next beat is due says too little: other tasks wait for this beat.
        with trio.move_on_after(self._times.beat):
            answer = await self._answer(life)
        if answer is None:
            life.missed()
            return False
        known, generation = {node.incarnation for node in life.nodes.values()}, life.generation
        if answer.time_ms is not None:  # first: the beat that makes the node live also lets it delete old events
            _call([partial(call, answer.time_ms) for call in self.on_time])
        turn, dead = life.answered(answer, sent, self.clock())
        self._report_blocker(sent)
        self._follow(turn)
        if turn is Turn.FORGOTTEN:  # at once: until then other nodes can claim the users of this one
            return await self._beat()
        for node in dead:
            await self._bury(node)
        if known != {node.incarnation for node in life.nodes.values()}:
            _call(self.on_nodes)
        if generation not in ("", life.generation):
            _call(self.on_restart)
        return answer.registered

    async def _answer(self, life: NodeLife) -> BeatAnswer | None:
        try:
            for incarnation in tuple(life.risen):
                await self._members.leave(incarnation)
                life.buried(incarnation)
                text = "removed %s again: the server of the log came back with data from before its end"
                log_line(logger, logging.WARNING, text, incarnation)
            return await self._members.beat(life.incarnation, self._info(), join=life.must_register)
        except LogUnavailable:
            return None

    def _report_blocker(self, now: float) -> None:
        """Tell the operator that this node waits for an earlier life of its name, and for how long."""
        blocker = self._life.blocker
        if blocker is not None and self._waiting_since is None:
            self._waiting_since = now
            text = "waiting for %s, which has the name of this node: it is removed after %g to %g s of silence"
            lease = self._times.lease
            log_line(logger, logging.WARNING, text, blocker.incarnation, lease, 1.5 * lease)
        elif self._life.joined and self._waiting_since is not None:
            text = "the name %s was free after %.1f s"
            log_line(logger, logging.INFO, text, self._name, now - self._waiting_since)
            self._waiting_since = None

    def _follow(self, turn: Turn) -> None:
        if turn is Turn.BURIED:
            self.counters.burials += 1
            text = "this node was removed from the cluster: its users are claimed anew, and it joins again as %s"
            log_line(logger, logging.WARNING, text, self.incarnation)
            _call(self.on_buried)
        elif turn is Turn.JOINED:
            log_line(logger, logging.INFO, "joined the cluster as %s", self.incarnation)
        elif turn is Turn.FORGOTTEN:
            text = "the server of the log came back without this node: it registers again, and keeps its users"
            log_line(logger, logging.WARNING, text)
        self._moved.set()

    async def _bury(self, node: NodeInfo) -> None:
        # If that fails, the node is judged anew with the next looks.
        with suppress(LogUnavailable), trio.move_on_after(self._times.beat):
            if await self._members.bury(node):
                self.counters.buried += 1
                self._life.buried(node.incarnation)
                text = "removed node %s from the cluster: it was silent for %g s"
                log_line(logger, logging.WARNING, text, node.incarnation, self._times.lease)

    async def _report_state(self) -> None:
        """Call the functions for each change of the state that is noticed. The clock alone can suspend the node."""
        reported = NodeState.JOINING
        while True:
            now = self.clock()
            state = self._life.state(now)
            if state is not reported:
                reported = state
                log_line(logger, logging.INFO if state is NodeState.LIVE else logging.WARNING, "the node is %s", state)
                _call([partial(call, state) for call in self.on_state])
                continue
            with trio.move_on_after(self._life.until - now if state is NodeState.LIVE else float("inf")):
                await self._moved.wait()
            if self._moved.is_set():
                self._moved = trio.Event()

    async def _listen_to_itself(self) -> None:
        """Connect to the channel of the node anew whenever it has been silent for half a lease.

        The engine sends each beat back on this channel, so a channel that works is never silent for longer than a beat.
        A connection that is slow gets twice the time of the one before. *If each got one beat, a node that needs longer
        to connect, over a slow network or on a busy machine, was deaf for ever.*
        """
        times = self._times
        pause = times.beat
        while True:
            await trio.sleep(max(0.0, self._bus.heard_at() + times.deaf - self.clock()))
            # If the whole process stood still, the messages are there but were not read yet.
            await trio.sleep(times.beat / 8)
            if not self.deaf:
                pause = times.beat
                await trio.sleep(times.beat / 8)
                continue
            self.counters.deaf += 1
            log_line(logger, logging.WARNING, "no message for %g s: connecting to the channel anew", times.deaf)
            self._bus.reconnect()
            await trio.sleep(pause)
            pause = min(2 * pause, MOST_BEATS * times.beat)

    async def _leave(self) -> None:
        """Remove the node, so that the others need not wait until it counts as dead."""
        self._life.stop()
        self._moved.set()
        with trio.move_on_after(self._times.beat, shield=True):
            with suppress(LogUnavailable):  # then the others bury it
                await self._members.leave(self.incarnation)


def _call(callbacks: list[Callable[[], None]]) -> None:
    for callback in tuple(callbacks):
        contained("a function that is told about the life of the node", callback)
