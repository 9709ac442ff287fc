"""The life of a node and its observation of others: each rule by itself, with times from the test."""

from __future__ import annotations

from itertools import count

import attrs
import pytest

from actors.cluster import _life
from actors.cluster._life import NodeLife, Turn
from actors.cluster._times import NodeTimes, boot_time
from actors.cluster._watcher import Watcher
from actors.cluster.interfaces import BeatAnswer, Incarnation, NodeInfo, NodeState
from actors.errors import ConfigError

TIMES = NodeTimes(8.0)
A, B = Incarnation("a", 0, 1), Incarnation("b", 0, 2)
REFUSED = BeatAnswer(registered=False, nodes=())


def life() -> NodeLife:
    """Return the life of the node ``a``, which joins."""
    numbers = count(1)
    return NodeLife(TIMES, lambda: Incarnation("a", 0, next(numbers)))


def yes(*others: NodeInfo, generation: str = "") -> BeatAnswer:
    """Return the answer that the node ``a`` is registered, beside others."""
    return BeatAnswer(registered=True, nodes=(NodeInfo(A, 1), *others), generation=generation)


def looks(watcher: Watcher, times: list[float], beat: int = 7) -> list[bool]:
    """Return for each time at which the unmoved node ``b`` was looked at, whether it is to be buried."""
    return [bool(watcher.look([NodeInfo(B, beat)], at, at)) for at in times]


def test_times_come_from_the_lease() -> None:
    """A node beats every quarter of the lease, is deaf after half of it and suspended after three quarters."""
    assert (TIMES.beat, TIMES.deaf, TIMES.sure, TIMES.between_looks) == (2, 4, 6, 4)


def test_boot_time_goes_on() -> None:
    """The clock of a node never goes back."""
    assert boot_time() <= boot_time()


def test_live_counts_from_the_sending() -> None:
    """A node is live for three quarters of the lease after the sending of an answered beat, not after its answer."""
    node = life()
    assert node.state(0) is NodeState.JOINING
    assert node.answered(yes(), 10, 13) == (Turn.JOINED, ())
    assert [node.state(now) for now in (15.9, 16)] == [NodeState.LIVE, NodeState.SUSPENDED]


def test_suspended_becomes_live_again() -> None:
    """A suspended node goes on with its incarnation when a beat is answered."""
    node = life()
    node.answered(yes(), 0, 0)
    assert node.answered(yes(), 20, 20.5) == (Turn.RESUMED, ())
    assert node.incarnation == A
    assert node.state(25.9) is NodeState.LIVE


def test_late_answer_resumes_nothing() -> None:
    """An answer that comes after its own three quarters leaves the node suspended."""
    node = life()
    node.answered(yes(), 0, 0)
    assert node.answered(yes(), 20, 26) == (Turn.NONE, ())
    assert node.state(26) is NodeState.SUSPENDED


def test_buried_node_takes_a_new_incarnation() -> None:
    """A node that was buried joins with a new incarnation."""
    node = life()
    node.answered(yes(), 0, 0)
    assert node.answered(REFUSED, 2, 2) == (Turn.BURIED, ())
    assert node.incarnation != A
    assert node.state(2) is NodeState.JOINING
    assert node.nodes == {}


def test_name_of_a_living_node_is_refused() -> None:
    """A name that another process uses is an error at the start."""
    node = life()
    for beat in (4, 5):
        node.answered(BeatAnswer(registered=False, nodes=(NodeInfo(B, beat),)), 2 * beat, 2 * beat)
    with pytest.raises(ConfigError, match="in use by another process"):
        node.answered(BeatAnswer(registered=False, nodes=(NodeInfo(B, 6),)), 12, 12)


def test_name_of_a_dead_node_is_freed() -> None:
    """A node waits for the burial of an earlier process of its name, and helps with it."""
    node, blocked = life(), BeatAnswer(registered=False, nodes=(NodeInfo(B, 4),))
    turns = [node.answered(blocked, at, at)[1] for at in (0, 2, 4, 6, 8)]
    assert turns == [(), (), (), (), (NodeInfo(B, 4),)]


def test_stopped_node_is_not_live() -> None:
    """A node that has stopped does nothing, though its last beat was answered just now."""
    node = life()
    node.answered(yes(), 0, 0)
    node.stop()
    assert node.state(0) is NodeState.STOPPED


def test_silent_node_is_buried_after_a_lease() -> None:
    """A node that does not move for a lease is buried, not earlier."""
    assert looks(Watcher(TIMES), [0, 2, 4, 6, 7.9, 8]) == [False, False, False, False, False, True]


def test_silence_counts_between_the_looks() -> None:
    """The silence lasts from the end of the first look to the begin of the last one."""
    watcher = Watcher(TIMES)
    assert watcher.look([NodeInfo(B, 7)], 0, 1) == ()
    assert looks(watcher, [4, 8]) == [False, False]
    assert looks(watcher, [9]) == [True]


def test_three_looks_are_needed() -> None:
    """Two looks bury no node, however far apart."""
    assert looks(Watcher(NodeTimes(2.0)), [0, 1]) == [False, False]
    wide = NodeTimes(2.0)
    watcher = Watcher(wide)
    assert watcher.look([NodeInfo(B, 7)], 0, 0) == ()
    assert watcher.look([NodeInfo(B, 7)], 2, 1) == ()  # a clock that a virtual machine steps
    assert watcher.look([NodeInfo(B, 7)], 2, 2) == (NodeInfo(B, 7),)


def test_paused_observer_buries_nobody() -> None:
    """An observation with more than two beats between its looks starts anew."""
    assert looks(Watcher(TIMES), [0, 2, 4, 8.1, 10, 12, 14, 16, 16.1]) == [False] * 8 + [True]
    assert looks(Watcher(TIMES), [0, 4, 8]) == [False, False, True]


def test_failed_look_starts_anew() -> None:
    """After a look that failed, the silence before it does not count."""
    watcher = Watcher(TIMES)
    assert looks(watcher, [0, 2, 4, 6]) == [False] * 4
    watcher.missed()
    assert looks(watcher, [8, 10, 12, 14, 16]) == [False] * 4 + [True]


def test_moved_node_is_not_buried() -> None:
    """A beat of the node, or a new incarnation of it, starts the observation anew."""
    watcher = Watcher(TIMES)
    looks(watcher, [0, 2, 4, 6])
    assert looks(watcher, [8, 10], beat=8) == [False, False]
    assert watcher.look([NodeInfo(A, 8)], 12, 12) == ()


def test_missed_beat_forgets_a_blocker() -> None:
    """After an outage, another beat of a node with the same name shows nothing."""
    node = life()
    for beat in (4, 5, 6, 7):
        node.missed()
        turn = node.answered(BeatAnswer(registered=False, nodes=(NodeInfo(B, beat),)), beat, beat)
        assert turn == (Turn.NONE, ())


def test_live_node_registers_again_after_a_loss_of_data() -> None:
    """A live node that a restarted engine does not know was not buried: it registers again, and keeps its users."""
    node = life()
    node.answered(yes(generation="1"), 0, 0)
    assert node.answered(attrs.evolve(REFUSED, generation="2"), 2, 5.9) == (Turn.FORGOTTEN, ())
    assert (node.incarnation, node.state(5.9), node.must_register) == (A, NodeState.LIVE, True)
    assert node.answered(yes(generation="2"), 5.9, 5.9) == (Turn.NONE, ())
    assert (node.state(11.8), node.must_register) == (NodeState.LIVE, False)


@pytest.mark.parametrize(
    ("generation", "received", "nodes"),
    [("1", 2, ()), ("2", 6, ()), ("2", 2, (NodeInfo(Incarnation("a", 0, 9), 4),))],
    ids=["not restarted", "suspended", "another process has the name"],
)
def test_other_nodes_do_not_register_again(generation: str, received: float, nodes: tuple[NodeInfo, ...]) -> None:
    """A node that may have been buried gives up its users. So does one whose name another process has now."""
    node = life()
    node.answered(yes(generation="1"), 0, 0)
    refused = BeatAnswer(registered=False, nodes=nodes, generation=generation)
    assert node.answered(refused, 2, received) == (Turn.BURIED, ())
    assert node.incarnation != A


def test_suspended_node_of_a_restarted_engine_waits_for_the_others() -> None:
    """It may have been buried before the copy that the engine came back with. Two beats of each other node clear it."""
    node = life()
    node.answered(yes(NodeInfo(B, 7), generation="1"), 0, 0)
    for at, beat in ((20, 7), (22, 8)):
        assert node.answered(yes(NodeInfo(B, beat), generation="2"), at, at)[0] is Turn.NONE
        assert node.state(at) is NodeState.SUSPENDED
    assert node.answered(yes(NodeInfo(B, 9), generation="2"), 24, 24) == (Turn.RESUMED, ())
    assert node.state(29.9) is NodeState.LIVE
    node.answered(yes(NodeInfo(B, 9), generation="3"), 40, 40)
    assert node.state(40) is NodeState.SUSPENDED
    assert node.answered(yes(generation="3"), 42, 42) == (Turn.RESUMED, ())


def test_node_that_has_gone_cannot_come_back() -> None:
    """An incarnation that was seen to go is removed if a restarted engine shows it again. Others are left alone."""
    node, other = life(), Incarnation("c", 0, 3)
    node.answered(yes(NodeInfo(B, 7), generation="1"), 0, 0)
    node.answered(yes(generation="1"), 2, 2)
    node.answered(yes(NodeInfo(B, 7), NodeInfo(other, 1), generation="2"), 4, 4)
    assert list(node.risen) == [B]
    node.buried(B)
    assert (list(node.risen), list(node.nodes)) == ([], ["a", "c"])
    node.answered(yes(generation="3"), 6, 6)
    node.answered(yes(NodeInfo(other, 2), generation="3"), 8, 8)
    assert list(node.risen) == []


def test_earlier_life_that_comes_back_is_removed() -> None:
    """A node that was buried and joins anew removes its own earlier incarnation if the engine shows it again."""
    node = life()
    node.answered(yes(generation="1"), 0, 0)
    node.answered(attrs.evolve(REFUSED, generation="1"), 2, 2)
    node.answered(BeatAnswer(registered=False, nodes=(NodeInfo(A, 4),), generation="2"), 4, 4)
    assert list(node.risen) == [A]


def test_gone_nodes_are_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not more than ``MOST_GONE`` incarnations are remembered. The oldest are forgotten."""
    monkeypatch.setattr(_life, "MOST_GONE", 1)
    node, other = life(), Incarnation("c", 0, 3)
    node.answered(yes(NodeInfo(B, 7), NodeInfo(other, 1), generation="1"), 0, 0)
    for gone in (B, other):
        node.buried(gone)
    node.answered(yes(NodeInfo(B, 7), NodeInfo(other, 1), generation="2"), 2, 2)
    assert list(node.risen) == [other]
