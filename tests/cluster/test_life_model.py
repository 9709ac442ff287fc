"""Nodes under pauses, kills, outages, losses of data and clocks of their own, as a stateful test of the pure parts."""

from __future__ import annotations

from typing import Any

import attrs
from _cluster_engine import Engine
from _scale import scaled
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.cluster._life import NodeLife, Turn
from actors.cluster._times import NodeTimes
from actors.cluster.interfaces import BeatAnswer, Incarnation, NodeState, Token

TIMES = NodeTimes(16.0)
TICK = TIMES.beat / 4
NAMES = st.sampled_from(["a", "b", "c", "d"])
USERS = st.sampled_from(["u", "v"])


@attrs.define(eq=False)
class SimNode:
    """A process with a node. Its clock began at any time, and it may be paused between a beat and its answer."""

    name: str
    offset: float
    life: NodeLife
    due: float
    paused: bool = False
    owned: dict[str, Token] = attrs.field(factory=dict[str, Token])
    flying: tuple[BeatAnswer, float] | None = None
    last_beat: float = 0.0
    absent: float = 0.0
    """Time for which the node was paused or dead since its last beat."""
    idle: float = 0.0
    """Time for which the node ran, and the engine was up, since its last beat."""
    confirmed: bool = False
    """Whether a beat was answered since the engine last lost data."""


class Nodes(RuleBasedStateMachine):
    """Several nodes and one engine. The true time is ``now``; each node sees its own clock."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = Engine()
        self.now = 1000.0
        self.quiet_since = self.now
        self.nodes: dict[str, SimNode] = {}
        self.dead: dict[Incarnation, tuple[SimNode, float]] = {}
        self.saved = self.engine.snapshot()
        self.made = 0
        self.terms = self.lost_terms = 0

    # What a node does

    def beat(self, node: SimNode, *, pause: bool = False) -> None:
        sent = self.now + node.offset
        if not self.engine.up:
            node.life.missed()
            return
        for risen in tuple(node.life.risen):
            for other in self.nodes.values():
                state = other.life.state(self.now + other.offset)
                assert other.life.incarnation != risen or state is not NodeState.LIVE, "a live node counted as gone"
            self.engine.leave(risen)
            node.life.buried(risen)
        answer = self.engine.beat(node.life.incarnation, "", join=node.life.must_register)
        if answer.registered:
            node.last_beat, node.absent, node.idle = self.now, 0.0, 0.0
        node.flying = answer, sent
        node.paused = pause
        if not pause:
            self.land(node)

    def land(self, node: SimNode) -> None:
        assert node.flying is not None
        answer, sent = node.flying
        node.flying = None
        turn, dead = node.life.answered(answer, sent, self.now + node.offset)
        node.confirmed = answer.registered
        if turn is Turn.FORGOTTEN and self.engine.up:
            self.beat(node)
        if turn is Turn.JOINED:
            self.quiet_since = self.now  # it observes the others from now on
        if turn is Turn.BURIED:
            node.owned.clear()
        for other in dead:
            self.bury(other)

    def bury(self, other: Any) -> None:
        if not self.engine.up or not self.engine.bury(other):
            return
        running = [node for node in self.nodes.values() if node.life.incarnation == other.incarnation]
        gone = [node for node, _ in self.dead.values() if node.life.incarnation == other.incarnation]
        for node in running + gone:
            if node.confirmed:
                assert node.absent > 0, "an outage or an observer's pause has buried a node"
                assert node.idle <= 2 * TIMES.beat, "a node that ran was buried"
                assert node.life.until + TIMES.beat <= self.now + node.offset, (
                    "a node was buried that was sure of itself"
                )
        for node in gone:
            self.dead.pop(other.incarnation, None)
            assert self.now - node.last_beat >= TIMES.lease or not node.confirmed

    # What happens

    @initialize(offset=st.integers(-1000, 1000))
    def begin(self, offset: int) -> None:
        for name in ("a", "b", "c"):
            self.start(name, offset)
            self.pass_time(3)

    @rule(name=NAMES, offset=st.integers(-1000, 1000))
    def start(self, name: str, offset: int) -> None:
        if name in self.nodes:
            return
        life = NodeLife(TIMES, lambda: self.incarnation(name))
        self.nodes[name] = SimNode(name, float(offset), life, self.now)
        self.quiet_since = self.now

    def incarnation(self, name: str) -> Incarnation:
        self.made += 1
        return Incarnation(name, 0, self.made)

    @rule(name=NAMES)
    def kill(self, name: str) -> None:
        node = self.nodes.pop(name, None)
        if node is not None:
            self.dead[node.life.incarnation] = node, self.now
            self.quiet_since = self.now

    @rule(name=NAMES, in_flight=st.booleans())
    def pause(self, name: str, in_flight: bool) -> None:
        node = self.nodes.get(name)
        if node is None or node.paused:
            return
        self.quiet_since = self.now
        node.paused = True
        if in_flight and self.engine.up:
            self.beat(node, pause=True)

    @rule(name=NAMES)
    def resume(self, name: str) -> None:
        node = self.nodes.get(name)
        if node is None or not node.paused:
            return
        self.quiet_since = self.now
        node.paused = False
        if node.flying is not None:
            self.land(node)

    @rule(name=NAMES, in_flight=st.booleans(), ticks=st.integers(12, 40))
    def pause_for(self, name: str, in_flight: bool, ticks: int) -> None:
        self.pause(name, in_flight)
        self.pass_time(ticks)
        self.resume(name)

    @rule(in_flight=st.booleans(), ticks=st.integers(12, 40))
    def pause_all_for(self, in_flight: bool, ticks: int) -> None:
        names = sorted(self.nodes)
        for name in names:
            self.pause(name, in_flight)
        self.pass_time(ticks)
        for name in names:
            self.resume(name)
            self.pass_time(1)

    @rule(ticks=st.integers(12, 40))
    def go_down_for(self, ticks: int) -> None:
        self.go_down()
        self.pass_time(ticks)
        self.come_up("kept")

    @rule(name=NAMES)
    def kill_and_wait(self, name: str) -> None:
        self.kill(name)
        self.pass_time(30)

    @rule()
    def go_down(self) -> None:
        self.engine.up = False

    @precondition(lambda self: not self.engine.up)
    @rule(data=st.sampled_from(["kept", "kept", "restarted", "older", "empty"]))
    def come_up(self, data: str) -> None:
        self.engine.up = True
        self.quiet_since = self.now
        if data == "older":
            self.engine.restore(self.saved)
        elif data == "restarted":
            self.engine.generation += 1
        elif data == "empty":
            self.engine.restore(({}, {}))
        if data in ("older", "empty"):
            self.dead.clear()
            self.lost_terms = self.terms
            for node in self.nodes.values():
                node.confirmed = False

    @rule()
    def save(self) -> None:
        self.saved = self.engine.snapshot()

    @rule(ticks=st.sampled_from([1, 2, 4, 8, 20]))
    def pass_time(self, ticks: int) -> None:
        for _ in range(ticks):
            self.at_most_one_live_owner()
            self.live_nodes_are_registered()
            self.now += TICK
            for node in self.nodes.values():
                node.absent += TICK * node.paused
                node.idle += TICK * (not node.paused and self.engine.up)
            for node, _ in self.dead.values():
                node.absent += TICK
            for node in list(self.nodes.values()):
                if not node.paused and self.now >= node.due:
                    node.due = max(node.due + TIMES.beat, self.now)
                    self.beat(node)

    @rule(name=NAMES, user=USERS)
    def claim(self, name: str, user: str) -> None:
        node = self.nodes.get(name)
        if node is None or node.paused or not self.engine.up:
            return
        found = self.engine.tokens.get(user)
        self.beat(node)  # the look comes after the token was read
        if node.life.state(self.now + node.offset) is not NodeState.LIVE:
            return
        owner = found.incarnation if found is not None else None
        if owner is not None and owner in [other.incarnation for other in node.life.nodes.values()]:
            return
        self.terms += 1
        token = Token(self.terms, node.life.incarnation)
        if self.engine.claim(user, found, token) == token:
            node.owned[user] = token

    @rule(name=NAMES, user=USERS)
    def append(self, name: str, user: str) -> None:
        node = self.nodes.get(name)
        token = node.owned.get(user) if node is not None else None
        if node is None or token is None or node.paused or not self.engine.up:
            return
        if self.engine.append(user, token):
            others = [other for other in self.nodes.values() if other is not node and other.owned.get(user) == token]
            assert not others

    # What always holds

    @invariant()
    def at_most_one_live_owner(self) -> None:
        for user in ("u", "v"):
            owners = [
                node.name
                for node in self.nodes.values()
                if user in node.owned
                and node.owned[user].term > self.lost_terms  # after a loss of data, only the log refuses
                and node.life.state(self.now + node.offset) is NodeState.LIVE
                and not node.paused
            ]
            assert len(owners) <= 1, owners

    @invariant()
    def live_nodes_are_registered(self) -> None:
        for node in self.nodes.values():
            if node.confirmed and node.life.state(self.now + node.offset) is NodeState.LIVE:
                assert self.engine.nodes[node.name].incarnation == node.life.incarnation

    @invariant()
    def killed_nodes_are_buried(self) -> None:
        observed = any(node.life.joined and not node.paused for node in self.nodes.values())
        late = self.now - self.quiet_since > 1.5 * TIMES.lease + TICK
        if not (observed and late and self.engine.up):
            return
        registered = {node.incarnation for node in self.engine.nodes.values()}
        assert registered <= {node.life.incarnation for node in self.nodes.values()}


Nodes.TestCase.settings = settings(max_examples=scaled(40, 2000), stateful_step_count=25, deadline=None)
TestNodes = Nodes.TestCase
