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
from _engine import ENGINE, ENGINES, NODES, OWN, VALKEY
from _scale import SOAK, scaled

TREE = Path(__file__).parents[2]
FEW = (
    "tests/delivery/test_resume_table.py::test_resume_table",
    "tests/protocol/test_spec_conversation.py",
    "-k",
    "(memory and 2] and (trimmed or position)) or conversation",
)
CONTRACT = ("tests/eventlog/test_contract.py", "tests/streams/test_resume.py", "tests/delivery/test_resume_table.py")
ALL = {
    VALKEY: (*CONTRACT, "tests/delivery", "tests/protocol", "tests/suites"),
    NODES: (
        *CONTRACT,
        "tests/delivery/test_commands.py",
        "tests/delivery/test_old_sessions.py",
        "tests/protocol/test_authentication.py",
        "tests/protocol/test_compression.py",
        "tests/protocol/test_connection_rules.py",
        "tests/protocol/test_delivery.py",
        "tests/protocol/test_each_command.py",
        "tests/protocol/test_early_frames.py",
        "tests/protocol/test_ended_connections.py",
        "tests/protocol/test_forged_lines.py",
        "tests/protocol/test_giving_way.py",
        "tests/protocol/test_hello.py",
        "tests/protocol/test_internal_errors.py",
        "tests/protocol/test_last_words.py",
        "tests/protocol/test_questions.py",
        "tests/protocol/test_revocation.py",
        "tests/protocol/test_signals.py",
        "tests/protocol/test_small_frames.py",
        "tests/protocol/test_spec_conversation.py",
        "tests/protocol/test_start_queue.py",
        "tests/protocol/test_typed_questions.py",
    ),
}
"""The tests of ``make soak`` on each engine. Those that nodes have not run yet are missing."""

pytestmark = pytest.mark.left_out_if((HOST, ENGINE) != (NATIVE, OWN), "this run has another engine already")


@pytest.mark.timeout(scaled(120, 3600))
@pytest.mark.parametrize("engine", ENGINES)
def test_suites_on_engine(engine: str) -> None:
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
        *(ALL[engine] if SOAK else FEW),
    ]
    done = subprocess.run(command, cwd=TREE, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
