"""A switch for the log below the tests: ``GREENROOM_TEST_ENGINE=valkey pytest tests/protocol`` puts Valkey there.

With ``valkey``, each log of a test is in a Valkey server: logs in memory and in files of SQLite, too. With ``nodes``,
each server of a test is three nodes, besides: one owns all users, and each client is served by any of the three. The
tests are the same. ``tests/engines`` does it.
"""

from __future__ import annotations

import os

OWN = "own"
"""Each test has the log that it asks for."""
VALKEY = "valkey"
NODES = "nodes"
ENGINES = (VALKEY, NODES)
ENGINE = os.environ.get("GREENROOM_TEST_ENGINE", os.environ.get("TEST_ENGINE", OWN))
"""The engine of this run. It is read once, because each test removes Greenroom's variables from the environment."""
os.environ["TEST_ENGINE"] = ENGINE  # for the processes that a test starts: no variable of Greenroom
assert ENGINE in {OWN, *ENGINES}, f"GREENROOM_TEST_ENGINE must be one of {', '.join((OWN, *ENGINES))}"
