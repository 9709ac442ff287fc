"""The goals of Greenroom beside its peers, as lines of a table. No process, no clock, no file.

Each repetition measures every server once. A ratio is the median of the ratios within each repetition: other work of
the machine then weighs on both sides alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from _verdicts import Goal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Figures = Mapping[str, float]
    """The figures of one server in one repetition, by their names."""
    Measured = Mapping[str, Sequence[Figures]]
    """The figures of each server, one a repetition and in their order; none for a server that was not measured."""


@attrs.frozen
class Aim:
    """A goal for ``figure`` of ``server``: its ratio to ``peer`` in the same repetition, or the figure itself.

    The figure itself is judged by its median over all repetitions, with ``always`` by its worst.
    """

    goal: Goal
    figure: str
    server: str
    peer: str | None = None
    always: bool = False

    def line(self, measured: Measured) -> list[str]:
        """Return the line of the table: both sides, the ratio, and whether the goal is met."""
        if self.peer is not None:
            pairs = paired(measured, self.figure, self.server, self.peer)
            ours, theirs = [our for our, _ in pairs], [their for _, their in pairs]
            return self.goal.beside(ours, theirs) if pairs else self.goal.undecided("not measured")
        found = [one[self.figure] for one in measured.get(self.server, ()) if self.figure in one]
        if not found:
            return self.goal.undecided("not measured", by_itself=True)
        return self.goal.by_itself(found, always=self.always)


def paired(measured: Measured, figure: str, server: str, peer: str) -> list[tuple[float, float]]:
    """Return the values of both sides from the repetitions that have both."""
    sides = zip(measured.get(server, ()), measured.get(peer, ()), strict=False)
    return [(ours[figure], theirs[figure]) for ours, theirs in sides if figure in ours and figure in theirs]


MEMORY, SQLITE, HOSTED = "greenroom-memory", "greenroom-sqlite", "greenroom-hosted"
INLINE = "greenroom-sqlite-inline"
_LOGS = {MEMORY: "memory", SQLITE: "sqlite", INLINE: "sqlite inline"}


def _burst(server: str, peer: str, bound: float) -> Aim:
    goal = Goal(f"burst, {_LOGS[server]}, beside {peer}", bound, "events/s", 0, at_least=True)
    return Aim(goal, "burst rate", server, peer)


def _paced(server: str, peer: str, bound: float) -> Aim:
    goal = Goal(f"500 users at 20/s, CPU, {_LOGS[server]}, beside {peer}", bound, "s per 100k")
    return Aim(goal, "paced cpu", server, peer)


def _tail(server: str, bound: float) -> Aim:
    return Aim(Goal(f"1,000 users at 20/s, p99, {_LOGS[server]}", bound, "ms"), "tail p99", server)


def _longest(server: str) -> Aim:
    goal = Goal(f"1,000 users at 20/s, the longest of all, {_LOGS[server]}", 50, "ms")
    return Aim(goal, "tail longest", server, always=True)


AIMS = (
    _burst(MEMORY, "picows", 2),
    _burst(MEMORY, "ws", 3.5),
    _burst(MEMORY, "socket.io", 4),
    _burst(MEMORY, "websockets", 4),
    _burst(MEMORY, "python-socketio", 20),
    _burst(SQLITE, "picows", 1.5),
    _burst(SQLITE, "ws", 2.5),
    _paced(MEMORY, "socket.io", 1.35),
    _paced(SQLITE, "socket.io", 1.9),
    Aim(Goal("the same net of pacing, memory, beside websockets", 1, "s per 100k"), "paced net", MEMORY, "websockets"),
    Aim(Goal("500 users at 20/s, p99, memory", 0.3, "ms"), "paced p99", MEMORY),
    _tail(MEMORY, 2),
    _tail(SQLITE, 30),
    _tail(INLINE, 15),
    _longest(MEMORY),
    _longest(SQLITE),
)
