"""The gate before a user's runs: so many go on, so many wait in order, the next is refused."""

from __future__ import annotations

from collections import defaultdict
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import CommandRefused
from actors.sessions._gate import GateStatistics, RunGate, Ticket


class Model:
    """The rules, said with lists. A number in ``quitters`` leaves as soon as it is started."""

    def __init__(self, running: int, queued: int, quitters: set[int]) -> None:
        self.limits, self.quitters = (running, queued), quitters
        self.running, self.queues = defaultdict[str, list[int]](list), defaultdict[str, list[int]](list)
        self.started: list[int] = []

    def enter(self, user: str, number: int) -> bool:
        if len(self.running[user]) < self.limits[0]:
            self.start(user, number)
        elif len(self.queues[user]) < self.limits[1]:
            self.queues[user].append(number)
        else:
            return False
        return True

    def leave(self, user: str, number: int) -> None:
        if number in self.queues[user]:
            self.queues[user].remove(number)
        elif number in self.running[user]:
            self.running[user].remove(number)
            while self.queues[user] and len(self.running[user]) < self.limits[0]:
                self.start(user, self.queues[user].pop(0))

    def start(self, user: str, number: int) -> None:
        self.started.append(number)
        if number not in self.quitters:
            self.running[user].append(number)

    def statistics(self) -> GateStatistics:
        running, queues = ({user: n for user, n in d.items() if n} for d in (self.running, self.queues))
        return GateStatistics(
            users=len({*running, *queues}),
            running=sum(map(len, running.values())),
            queued=sum(map(len, queues.values())),
        )


@given(
    st.integers(1, 3),
    st.integers(0, 3),
    st.sets(st.integers(0, 40), max_size=8),
    st.lists(st.tuples(st.sampled_from(["enter", "enter", "leave"]), st.integers(0, 40)), max_size=40),
)
def test_runs_start_wait_and_are_refused_as_the_limits_say(
    running: int, queued: int, quitters: set[int], steps: list[tuple[str, int]]
) -> None:
    gate, model = RunGate(running, queued), Model(running, queued, quitters)
    tickets: list[Ticket] = []
    started: list[int] = []

    def start(number: int) -> None:
        started.append(number)
        if number in quitters:
            gate.leave(tickets[number])

    for step, choice in steps:
        if step == "enter":
            number = len(tickets)
            ticket = Ticket("aab"[choice % 3], partial(start, number))
            tickets.append(ticket)
            if model.enter(ticket.user, number):
                gate.enter(ticket)
            else:
                with pytest.raises(CommandRefused, match="try again later") as caught:
                    gate.enter(ticket)
                assert caught.value.code == "overloaded"
        elif tickets:
            number = choice % len(tickets)  # also one that is over, was refused, or left before: then nothing happens
            gate.leave(tickets[number])
            model.leave(tickets[number].user, number)
        assert started == model.started
        assert gate.statistics() == model.statistics()


def test_a_crowded_user_holds_up_nobody_else() -> None:
    gate, started = RunGate(1, 1), list[str]()
    for name in ("a1", "a2", "b1"):
        gate.enter(Ticket(name[0], partial(started.append, name)))
    assert started == ["a1", "b1"]


def test_those_that_wait_start_in_the_order_they_came() -> None:
    gate, started = RunGate(1, 3), list[int]()
    tickets = [Ticket("a", partial(started.append, number)) for number in range(4)]
    for ticket in tickets:
        gate.enter(ticket)
    for ticket in tickets:
        gate.leave(ticket)
    assert started == [0, 1, 2, 3]


def test_a_queued_run_that_was_cancelled_makes_room_in_the_queue_and_never_starts() -> None:
    gate, started = RunGate(1, 1), list[str]()
    first, cancelled, last = (Ticket("a", partial(started.append, name)) for name in ("1", "2", "3"))
    gate.enter(first)
    gate.enter(cancelled)
    with pytest.raises(CommandRefused):
        gate.enter(last)
    gate.leave(cancelled)
    gate.enter(last)
    gate.leave(first)
    assert started == ["1", "3"]


def test_when_all_have_left_nothing_is_remembered_of_a_user() -> None:
    gate = RunGate(2, 1)
    tickets = [Ticket("a", lambda: None) for _ in range(3)]
    for ticket in tickets:
        gate.enter(ticket)
    for ticket in tickets * 2:
        gate.leave(ticket)
    assert gate.statistics() == GateStatistics(users=0, running=0, queued=0)
