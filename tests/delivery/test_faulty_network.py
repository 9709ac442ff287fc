"""Whatever the network does, every client's history is the log's, and every run has its end."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _scale import scaled
from delivery.agents import check_grammar, starts
from delivery.scenario import Outcome, in_memory, on_sockets

from actors import MemoryLog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

BLOCK = 10
EACH_HARM = {"refuse", "cut", "delay", "stall", "half-close", "zombie", "mirror"}


def run(main: Callable[[], Awaitable[Outcome]]) -> Outcome:
    """Run it in virtual time, each task in its turn: the same seed goes the same way."""
    random.seed(0)  # the server spreads its retry_ms with it
    trio._core._run._r.seed(0)  # noqa: SLF001 - the order of tasks; trio has no other way
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def check_runs(outcome: Outcome) -> None:
    """Everything that was started was started once, and ended."""
    check_grammar(outcome.committed)
    done = starts(outcome.committed)
    assert outcome.commands <= set(done)
    assert set(done.values()) <= {1}


@pytest.mark.parametrize("block", range(scaled(4, 200)))
def test_every_history_is_the_log(block: int) -> None:
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        outcome = run(lambda seed=seed: in_memory(seed, MemoryLog(), harms=12))  # type: ignore[misc]  # a lambda's default
        check_runs(outcome)
        for reader in outcome.readers:
            assert reader.seen == outcome.committed, seed
            assert not reader.parts, seed


@pytest.mark.parametrize("block", range(scaled(1, 20)))
def test_where_events_are_trimmed_a_client_is_told_and_never_given_a_part(block: int) -> None:
    resets = 0
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        outcome = run(lambda seed=seed: in_memory(seed, MemoryLog(), 12, retain_events=20))  # type: ignore[misc]  # as above
        check_runs(outcome)
        for reader in outcome.readers:
            resets += len(reader.parts)
            for part in (*reader.parts, reader.seen):
                first = part[0].seq if part else 1
                assert part == outcome.committed[first - 1 : first - 1 + len(part)], seed
            assert reader.seen[-1] == outcome.committed[-1], seed
    assert resets


@pytest.mark.parametrize("seed", range(scaled(3, 60)))
def test_every_history_is_the_log_over_real_sockets_too(seed: int, tmp_path: Path) -> None:
    outcome = trio.run(lambda: on_sockets(seed, tmp_path / "log.db", harms=12))
    check_runs(outcome)
    for reader in outcome.readers:
        assert reader.seen == outcome.committed
        assert not reader.parts


def test_the_scenarios_have_every_harm_and_clients_that_come_back() -> None:
    harms: Counter[str] = Counter()
    connections = 0
    for seed in range(40):
        outcome = run(lambda seed=seed: in_memory(seed, MemoryLog(), harms=12))  # type: ignore[misc]  # as above
        harms += outcome.harms
        connections += sum(reader.connections for reader in outcome.readers)
    assert set(harms) == EACH_HARM
    assert connections > 100


def test_the_same_seed_goes_the_same_way() -> None:
    def summary(seed: int) -> object:
        outcome = run(lambda: in_memory(seed, MemoryLog(), harms=12))
        types = [type(event) for event in outcome.committed]
        return types, outcome.harms, [reader.connections for reader in outcome.readers]

    for seed in range(4):
        assert summary(seed) == summary(seed)
