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
FEW = (
    "tests/protocol/test_below_web_servers.py",
    "tests/protocol/test_spec_conversation.py",
    "tests/protocol/test_signals.py",
    "tests/suites/test_tool_retries.py",
)
ALL = (
    "tests/protocol",
    "tests/delivery",
    "tests/suites",
    "tests/client/test_client_against_server.py",
    "tests/client/test_client_over_sockets.py",
    "tests/client/test_fresh_tokens.py",
    "tests/client/test_asyncio_kill_9.py",
    "tests/client/test_asyncio_peers.py",
)
UPGRADE = "tests/protocol/test_upgrade.py::"
RULES_OF_A_PORT = (
    "tests/protocol/test_tls.py",
    "tests/client/test_asyncio_peers.py::test_tls_with_an_own_authority",
    "tests/delivery/test_shutdown.py::test_each_client_gets_a_goodbye[TLS]",
    "tests/protocol/test_proxy_protocol.py",
    "tests/protocol/test_trusted_proxies.py",
    f"{UPGRADE}test_other_paths_get_404[chat",
    f"{UPGRADE}test_other_paths_get_404[greenroom",
    f"{UPGRADE}test_other_paths_get_404[%2f",
    f"{UPGRADE}test_other_paths_get_404[/",
    "tests/client/test_client_against_server.py::test_wrong_path_ends_the_client",
    f"{UPGRADE}test_own_pages_are_always_allowed",
    f"{UPGRADE}test_pages_of_a_server_at_every_address",
    f"{UPGRADE}test_plain_request_gets_an_http_error[lines0",
    f"{UPGRADE}test_plain_request_gets_an_http_error[lines1",
    f"{UPGRADE}test_plain_request_gets_an_http_error[lines3",
    f"{UPGRADE}test_wrong_request_gets_a_reason[byte above 127",
    f"{UPGRADE}test_wrong_request_gets_a_reason[HTTP 1.0",
    f"{UPGRADE}test_wrong_request_gets_a_reason[wrong key",
    f"{UPGRADE}test_silent_connections_make_room",
    f"{UPGRADE}test_connections_that_come_too_fast",
    "tests/protocol/test_draining.py::test_drain_closes_the_port",
    "tests/delivery/test_forked_workers.py::test_sockets_in_a_forked_child",
    # Uvicorn goes on with a drain after a second SIGTERM. See test_server_signals.py.
    "tests/delivery/test_shutdown.py::test_second_signal_in_a_drain",
)
"""Tests of rules that belong to a web server, if there is one below.

The README of ``transport/hosting`` lists the rules, and ``tests/protocol/test_below_web_servers.py`` shows what the web
servers do instead.
"""
RULES_BEYOND_ASGI = (
    "tests/protocol/test_no_websocket.py::test_bytes_that_are_no_websocket",
    f"{UPGRADE}test_wrong_request_gets_a_reason[two hosts",
    f"{UPGRADE}test_wrong_request_gets_a_reason[second request",
)
RULES_BEYOND_HYPERCORN = (
    f"{UPGRADE}test_plain_request_gets_an_http_error[lines2",
    "tests/delivery/test_forked_workers.py::test_started_program_inherits_nothing",
)
# Peers that never read hold up Hypercorn on trio.
RULES_BEYOND_HYPERCORN_ON_TRIO = ("tests/delivery/test_shutdown.py",)

pytestmark = pytest.mark.left_out_if(HOST != NATIVE, "this run is below a web server already")


def left_out(host: str) -> tuple[str, ...]:
    """Return the tests of rules that do not hold below a web server."""
    rules: tuple[str, ...] = RULES_OF_A_PORT
    if not host.startswith("handover"):
        rules += RULES_BEYOND_ASGI
    if host.startswith("hypercorn"):
        rules += RULES_BEYOND_HYPERCORN
    if host == "hypercorn-trio":
        rules += RULES_BEYOND_HYPERCORN_ON_TRIO
    return rules


@pytest.mark.timeout(scaled(200, 3600))
@pytest.mark.parametrize("host", WEB_SERVERS if SOAK else ("handover-uvloop", "uvicorn"))
def test_wire_below_web_server(host: str) -> None:
    """The tests of the protocol pass through a web server: as they are, over its own port."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(ALL if SOAK else FEW)]
    for each in left_out(host):
        command += ["--deselect", each]
    # With small numbers in any case: the full numbers are for a port of the endpoint's own.
    environment = {**os.environ, "GREENROOM_TEST_HOST": host, "GREENROOM_SOAK": ""}
    done = subprocess.run(command, cwd=TREE, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
