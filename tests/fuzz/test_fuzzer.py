"""The coverage-guided fuzzer finds no broken contract, and it does find one that is there."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest
from _requires import missing
from _scale import SOAK, scaled
from fuzz.fuzzer import fuzz
from fuzz.planted import PLANTED
from fuzz.targets import TARGETS

if TYPE_CHECKING:
    from fuzz.target import Target

if importlib.util.find_spec("atheris") is None:
    missing("needs atheris, which has no wheel for this machine")

SECONDS = 600
"""Time for all targets together in ``make soak``."""
SHARE = SECONDS / sum(target.weight for target in TARGETS.values())
CHOSEN = tuple(TARGETS.values()) if SOAK else (TARGETS["client_frames"],)


@pytest.mark.parametrize("target", CHOSEN, ids=lambda target: target.name)
def test_no_contract_is_broken(target: Target) -> None:
    """No input that the fuzzer makes breaks a contract. In ``make soak`` it makes inputs for ten minutes."""
    figures = fuzz(target, seconds=scaled(0, int(SHARE * target.weight)), runs=scaled(500, -1), seed=scaled(1, 0))
    assert not figures.crashes, f"{figures.crashes!r}\n{figures.output}"
    assert figures.executions >= scaled(500, 100)
    assert figures.edges > 0


def test_fault_is_found() -> None:
    """The fuzzer finds the input for which a function fails, although no seed has it, and reports the exception."""
    figures = fuzz(PLANTED, runs=200_000, seed=1)
    (crash,) = figures.crashes
    assert crash.startswith(b"bad")
    assert "AssertionError" in figures.output
    assert figures.executions < 200_000
