"""The tests of delivery and of the wire with all their logs in Valkey: the same tests, alone and behind three nodes.

``make soak`` runs all of them on each engine, ``make test`` a few. ``tests/_engine.py`` is the switch.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from _below import HOST, NATIVE
from _engine import ENGINE, ENGINES, OWN
from _scale import SOAK, scaled

TREE = Path(__file__).parents[2]
FEW = (
    "tests/delivery/test_resume_table.py::test_resume_table",
    "tests/protocol/test_spec_conversation.py",
    "-k",
    "(memory and 2] and (trimmed or position)) or conversation",
)
SETS: dict[str, tuple[str, ...]] = {
    "contract": ("tests/eventlog/test_contract.py", "tests/streams/test_resume.py"),
    **{name: (f"tests/{name}",) for name in ("delivery", "protocol", "suites", "client", "foreign")},
}
"""The tests of ``make soak``, each set in a process of its own.

Tests that make sessions without an app are not among them: on Valkey, a node must own the user.
"""

pytestmark = pytest.mark.left_out_if((HOST, ENGINE) != (NATIVE, OWN), "this run has another engine already")


@pytest.mark.timeout(scaled(120, 3600))
@pytest.mark.parametrize("name", SETS if SOAK else ["few"])
@pytest.mark.parametrize("engine", ENGINES)
def test_suites_on_engine(engine: str, name: str) -> None:
    """The tests pass as they are, but for the list in ``exceptions.py``, of which none passes."""
    # With small numbers in any case: the full numbers are for the logs that the tests ask for.
    environment = {**os.environ, "GREENROOM_TEST_ENGINE": engine, "GREENROOM_SOAK": ""}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--timeout",
        "300",
        *(SETS[name] if SOAK else FEW),
    ]
    done = subprocess.run(command, cwd=TREE, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
