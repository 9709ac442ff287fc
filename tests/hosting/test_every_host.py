"""The tests of the wire below web servers: every rule that a port of the endpoint's own keeps, but those of a port.

``make soak`` runs all of them below each web server, ``make test`` a few. ``tests/_below.py`` is the switch.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from _below import HOST, NATIVE, WEB_SERVERS
from _scale import SOAK, scaled

TREE = Path(__file__).parents[2]
FEW = ("tests/protocol/test_spec_conversation.py", "tests/protocol/test_signals.py")
ALL = ("tests/protocol", "tests/client/test_client_over_sockets.py", "tests/delivery/test_commands.py")
RULES_OF_A_PORT = (
    "tests/protocol/test_tls.py",
    "tests/protocol/test_proxy_protocol.py",
    "tests/protocol/test_trusted_proxies.py",
    "tests/protocol/test_upgrade.py",
    "tests/protocol/test_no_websocket.py",
    "tests/protocol/test_forged_lines.py",
    "tests/protocol/test_draining.py::test_drain_closes_the_port",
    "tests/protocol/test_draining.py::test_drain_refuses_everything_new",
)
"""Tests of rules that belong to the web server, if there is one. The README of ``transport/hosting`` lists them."""

pytestmark = pytest.mark.skipif(HOST != NATIVE, reason="this run is below a web server already")


@pytest.mark.timeout(scaled(120, 1800))
@pytest.mark.parametrize("host", WEB_SERVERS if SOAK else ("handover-uvloop", "uvicorn"))
def test_wire_below_web_server(host: str) -> None:
    """The tests of the protocol pass through a web server: as they are, over its own port."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(ALL if SOAK else FEW)]
    for each in RULES_OF_A_PORT:
        command += ["--deselect", each]
    # With small numbers in any case: the full numbers are for a port of the endpoint's own.
    environment = {**os.environ, "GREENROOM_TEST_HOST": host, "GREENROOM_SOAK": ""}
    done = subprocess.run(command, cwd=TREE, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
