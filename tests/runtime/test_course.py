"""The state machine of one actor: the effect of each event in each state. No event undoes a stop."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import Failure, Killed, Normal, Shutdown, State
from actors.runtime._course import Course, Do
from actors.runtime._lifecycle import DRAIN, HALT, KILL, STOP, Stop

if TYPE_CHECKING:
    from collections.abc import Callable

ERROR = OSError("x")
OWN = Stop(Normal(), own=True)


def starting() -> Course:
    return Course()


def running() -> Course:
    course = Course()
    course.came_up()
    return course


def stopping() -> Course:
    course = running()
    course.begins_to_end(5, 0)
    return course


def restarting() -> Course:
    course = running()
    course.pause(3)
    return course


def held() -> Course:
    course = running()
    course.pause(math.inf)
    return course


def terminated() -> Course:
    course = running()
    course.end(Shutdown())
    return course


STATES: dict[str, Callable[[], Course]] = {
    "starting": starting,
    "running": running,
    "stopping": stopping,
    "restarting": restarting,
    "held": held,
    "terminated": terminated,
}
EVENTS: dict[str, Callable[[Course], int]] = {
    "stop": lambda course: course.ask_to_stop(STOP, 5, 0),
    "brutal": lambda course: course.ask_to_stop(KILL, 0, 0),
    "halt": lambda course: course.ask_to_stop(HALT, 5, 0),
    "leave": lambda course: course.wish_to_stop(OWN),
    "fail": lambda course: course.fail(ERROR, 5, 0),
    "kill": lambda course: course.kill(),
    "resume": lambda course: course.resume(),
}
END = Do.TIME | Do.WAKE
TABLE = {
    ("starting", "stop"): (State.STARTING, Do.REFUSE | Do.CANCEL | END),
    ("starting", "brutal"): (State.STARTING, Do.REFUSE | Do.CANCEL | Do.FORCE | END),
    ("starting", "halt"): (State.STARTING, Do.CANCEL | END),
    ("starting", "leave"): (State.STARTING, Do.REFUSE | Do.WAKE),
    ("starting", "fail"): (State.STARTING, Do.CANCEL | END),
    ("starting", "kill"): (State.STARTING, Do.FORCE | Do.WAKE),
    ("running", "stop"): (State.STOPPING, Do.REFUSE | END),
    ("running", "brutal"): (State.STOPPING, Do.REFUSE | Do.FORCE | END),
    ("running", "halt"): (State.STOPPING, END),
    ("running", "leave"): (State.RUNNING, Do.REFUSE | Do.WAKE),
    ("running", "fail"): (State.RUNNING, END),
    ("running", "kill"): (State.RUNNING, Do.FORCE | Do.WAKE),
    ("stopping", "stop"): (State.STOPPING, Do.REFUSE | END),
    ("stopping", "brutal"): (State.STOPPING, Do.REFUSE | Do.FORCE | END),
    ("stopping", "halt"): (State.STOPPING, END),
    ("stopping", "fail"): (State.STOPPING, END),
    ("stopping", "kill"): (State.STOPPING, Do.FORCE | Do.WAKE),
    ("restarting", "stop"): (State.RESTARTING, Do.REFUSE | Do.GO_ON),
    ("restarting", "brutal"): (State.RESTARTING, Do.REFUSE | Do.GO_ON),
    ("restarting", "halt"): (State.RESTARTING, Do.GO_ON),
    ("held", "stop"): (State.RESTARTING, Do.REFUSE | Do.GO_ON),
    ("held", "brutal"): (State.RESTARTING, Do.REFUSE | Do.GO_ON),
    ("held", "halt"): (State.RESTARTING, Do.GO_ON),
    ("held", "resume"): (State.RESTARTING, Do.GO_ON),
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", STATES)
def test_each_event_in_each_state(state: str, event: str) -> None:
    """In each state of an actor, each event has the effect that the table of this test gives.

    An event that is not in the table changes nothing.
    """
    course = STATES[state]()
    before = course.state
    do = EVENTS[event](course)
    assert (course.state, do) == TABLE.get((state, event), (before, Do.NOTHING))


STOPS = st.sampled_from([STOP, DRAIN, KILL, HALT])
SECONDS = st.sampled_from([0.0, 1.0, 5.0, math.inf])


@given(
    st.sampled_from(list(STATES)), st.lists(st.tuples(st.sampled_from([*EVENTS, "drain", "pause", "begin"]), SECONDS))
)
def test_later_events_only_hurry_a_stop(state: str, events: list[tuple[str, float]]) -> None:
    """After a final stop, later events can only make the actor end sooner.

    The stop stays final, its deadline never becomes later, and draining never starts again.
    """
    course = STATES[state]()
    course.ask_to_stop(DRAIN, 60, 0)
    for event, seconds in events:
        at, drain = course.stop_at, course.stop_asked is not None and course.stop_asked.drain
        match event:
            case "drain":
                course.ask_to_stop(DRAIN, seconds, 0)
            case "pause":
                course.pause(seconds)
            case "begin":
                course.begin()
            case _:
                EVENTS[event](course)
        if state != "terminated":
            assert course.ends_for_good
            assert course.stop_asked is not None
            assert course.stop_asked.reason == Shutdown()
            assert course.stop_at <= at
            assert drain or not course.stop_asked.drain


@given(st.lists(STOPS, min_size=1))
def test_joined_stops_are_final_if_one_is(stops: list[Stop]) -> None:
    """If several stops of an actor are combined and one is final, the combination is final: the actor is not restarted.

    A final stop keeps no messages for a restart.
    """
    joined = stops[0]
    for stop in stops[1:]:
        joined = joined.joined(stop)
    assert joined.final == any(stop.final for stop in stops)
    assert not (joined.final and joined.hold)


def test_halt_does_not_end_a_drain() -> None:
    """If an actor is draining (it handles its mailbox before it stops), the halt of a group restart does not end this.

    A stop without draining ends it: the messages left in the mailbox are not handled. If an actor is halted and then
    stopped, it is not restarted.
    """
    assert DRAIN.joined(HALT) == DRAIN
    assert not DRAIN.joined(STOP).drain
    assert HALT.joined(DRAIN).final


def test_halt_ends_with_its_incarnation() -> None:
    """If an actor is stopped for a group restart (a halt), it continues after the restart: the halt is over.

    If it gets a final stop, it ends and is not restarted.
    """
    course = running()
    course.ask_to_stop(HALT, 5, 0)
    course.pause(math.inf)
    assert (course.stop_asked, course.stop_at, course.held) == (None, math.inf, True)
    course.ask_to_stop(STOP, 5, 0)
    course.pause(math.inf)
    assert course.ends_for_good


@pytest.mark.parametrize(
    ("events", "wish", "reason"),
    [
        ([], Normal(), Normal()),
        (["fail"], None, Failure(ERROR)),
        (["fail"], Normal(), Failure(ERROR)),
        (["kill"], None, Killed()),
        (["kill", "fail"], None, Killed()),
        (["stop"], None, Failure(ERROR)),  # the deadline of the stop is not over, so the error is a failure
        (["brutal"], None, Killed()),
    ],
)
def test_exit_reason_precedence(events: list[str], wish: Normal | None, reason: object) -> None:
    """For the exit reason of an actor, a kill has priority over a failure.

    A failure has priority over the reason that the actor itself gives.
    """
    course = running()
    for event in events:
        EVENTS[event](course)
    assert course.verdict(wish, ERROR, now=1) == reason


def test_stop_after_its_deadline_is_a_kill() -> None:
    """If an actor is cancelled because the deadline of a stop is over, its exit reason is Killed()."""
    course = running()
    course.ask_to_stop(STOP, 5, 0)
    assert course.verdict(None, ERROR, now=5) == Killed()


def test_stopped_start_has_the_reason_of_the_stop() -> None:
    """If an actor is stopped during its start, its exit reason is the reason of the stop and not a failure."""
    course = starting()
    course.ask_to_stop(STOP, 5, 0)
    assert course.verdict(None, ERROR, now=0) == Shutdown()
