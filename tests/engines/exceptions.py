"""The tests that cannot pass on another engine, each with its reason. A test of this list that passes is an error."""

from __future__ import annotations

import attrs
from _engine import NODES, VALKEY


@attrs.frozen
class Row:
    """Tests that cannot pass."""

    test: str
    """The beginning of their ids."""
    reason: str
    engines: tuple[str, ...] = (VALKEY, NODES)
    runs: bool = True
    """False if the tests would wait for something that never comes, or if they pass by chance."""


_OTHER_NODE = "the test trims behind the owner's back, and only the node whose read was refused knows that"  # by chance
_LATER = "a node that ends looks every 0.1 s for runs that have ended, and the test measures the drain exactly"
_FILE = "the test changes, copies, locks or looks for the file of a SQLite log"

ROWS = (
    Row("tests/delivery/test_resume_table.py::test_rebuilt_log[sqlite", _FILE),
    Row("tests/delivery/test_resume_table.py::test_power_failure[", _FILE),
    Row("tests/delivery/test_resume_table.py::test_trim_during_the_replay[", _OTHER_NODE, (NODES,), runs=False),
    Row("tests/delivery/test_storage_faults.py", _FILE, runs=False),
    Row("tests/delivery/test_stalled_disk.py", "the test stalls the thread that writes the file of a SQLite log"),
    Row("tests/delivery/test_forked_workers.py::test_log_in_a_forked_child", _FILE),
    *(
        Row(f"tests/protocol/test_draining.py::{test}", _LATER, runs=False)
        for test in (
            "test_drain_refuses_everything_new",
            "test_drain_refuses_queued_starts",
            "test_runs_finish_until_the_deadline",
        )
    ),
    Row("tests/protocol/test_start_queue.py::test_drain_refuses_a_long_queue", _LATER, runs=False),
    Row(
        "tests/protocol/test_stalls.py::test_auth_during_stall_is_in_time",
        "the loop stands still for longer than Valkey may take to answer, and on a clock that does not pass by itself",
        runs=False,
    ),
    Row("tests/protocol/test_forgotten_users.py::test_forgotten_user", _FILE),
    Row(
        "tests/delivery/test_faulty_network.py::test_scenarios_are_reproducible",
        "chance decides when the messages of other nodes come, and so what has happened before a fault",
        (NODES,),
        runs=False,
    ),
    Row(
        "tests/protocol/test_revocation.py::test_revoked_client_gets_no_more_events",
        "the test revokes inside an append, when Valkey has sent the events to other nodes already",
        (NODES,),
        runs=False,
    ),
    Row(
        "tests/suites/test_websocket_context_refactor.py::test_no_shared_mutable_object",
        "the test looks for objects that two sessions share, and all sessions share the links to Valkey",
    ),
    Row(
        "tests/eventlog/test_contract.py::test_contract_finds_a_wrong_outlives_process",
        "the test looks into the log in memory, and forges its attribute outlives_process",
    ),
)


def rows(engine: str) -> list[Row]:
    """Return the rows of an engine."""
    return [row for row in ROWS if engine in row.engines]
