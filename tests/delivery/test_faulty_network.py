"""Over a bad network every client receives the events of the log, and every run ends."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _scale import scaled
from delivery.agents import check_grammar, count_starts
from delivery.scenario import Outcome, run_in_memory, run_on_sockets

from actors import MemoryLog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

BLOCK = scaled(5, 10)
EACH_HARM = {"refuse", "cut", "delay", "stall", "half-close", "zombie", "mirror"}


def run_scenario(main: Callable[[], Awaitable[Outcome]]) -> Outcome:
    """Run a scenario on a clock that jumps, with a fixed order of tasks, so that a seed always does the same."""
    random.seed(0)  # the server spreads its retry_ms with it
    trio._core._run._r.seed(0)  # noqa: SLF001 - the order of tasks; trio has no other way
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@cache
def bad_network(seed: int) -> Outcome:
    """Return the outcome of a scenario in memory. Several tests look at it, so each seed is played once."""
    return run_scenario(lambda: run_in_memory(seed, MemoryLog(), harms=12))


def check_runs(outcome: Outcome) -> None:
    """Check that every start command began one run, and that every run ended."""
    check_grammar(outcome.committed)
    done = count_starts(outcome.committed)
    assert outcome.commands <= set(done)
    assert set(done.values()) <= {1}


@pytest.mark.parametrize("block", range(scaled(4, 200)))
def test_bad_network(block: int) -> None:
    """Over a bad network each client receives all committed events once, in order, without a reset."""
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        outcome = bad_network(seed)
        check_runs(outcome)
        for reader in outcome.readers:
            assert reader.seen == outcome.committed, seed
            assert not reader.parts, seed


@pytest.mark.parametrize("block", range(scaled(1, 20)))
def test_bad_network_with_retention(block: int) -> None:
    """If retention drops events that a client needs, the client gets a reset.

    Between two resets no event is missing, and in the end every client has the newest event.
    """
    resets = 0
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        outcome = run_scenario(lambda seed=seed: run_in_memory(seed, MemoryLog(), 12, retain_events=20))  # type: ignore[misc]  # a lambda's default
        check_runs(outcome)
        for reader in outcome.readers:
            resets += len(reader.parts)
            for part in (*reader.parts, reader.seen):
                first = part[0].seq if part else 1
                assert part == outcome.committed[first - 1 : first - 1 + len(part)], seed
            assert reader.seen[-1] == outcome.committed[-1], seed
    assert resets


@pytest.mark.parametrize("seed", range(scaled(2, 60)))
def test_bad_network_on_sockets(seed: int, tmp_path: Path) -> None:
    """Over a bad network on real sockets each client receives all committed events once, in order."""
    outcome = trio.run(lambda: run_on_sockets(seed, tmp_path / "log.db", harms=12))
    check_runs(outcome)
    for reader in outcome.readers:
        assert reader.seen == outcome.committed
        assert not reader.parts


def test_scenarios_are_complete() -> None:
    """The scenarios of some seeds together contain every kind of network fault and more than 100 connections."""
    harms: Counter[str] = Counter()
    connections = 0
    for seed in range(4 * BLOCK):
        outcome = bad_network(seed)
        harms += outcome.harms
        connections += sum(reader.connections for reader in outcome.readers)
    assert set(harms) == EACH_HARM
    assert connections > 100


def test_scenarios_are_reproducible() -> None:
    """Two scenarios with the same seed have the same event types, network faults and numbers of connections."""

    def summary(outcome: Outcome) -> object:
        """Return the results that must be equal in two scenarios with the same seed."""
        types = [type(event) for event in outcome.committed]
        return types, outcome.harms, [reader.connections for reader in outcome.readers]

    for seed in range(4):
        assert summary(bad_network(seed)) == summary(bad_network.__wrapped__(seed))
