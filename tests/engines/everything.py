"""A pytest plugin that puts another engine below each test. See ``tests/_engine.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
from _engine import ENGINE, NODES
from engines import logs, nodes
from engines.exceptions import Row, rows

import actors
import actors.eventlog
import transport.app
from actors.cluster import assembly
from actors.cluster._settings import ClusterSettings

if TYPE_CHECKING:
    from collections.abc import Generator

    from actors import Sessions

LEASE = 3600.0
"""Lease of the nodes, in seconds. They live as long as the test, also if the machine stands still."""
FORWARD = 60.0
"""Time limit of a command to another node, in seconds. It takes a millisecond, and longer on a machine that is busy."""

own_join = assembly.join


def join(sessions: Sessions, log: Any, settings: ClusterSettings | None = None) -> assembly.Membership:
    """Do as :func:`actors.cluster.assembly.join`, with long times. Tests may write into the log of a server, too."""
    settings = attrs.evolve(settings or ClusterSettings(), lease_seconds=LEASE, forward_seconds=FORWARD)
    membership = own_join(sessions, log, settings)
    nodes.joined(sessions, log, membership)
    # A test that fills the log of a server is no session, and its user has no owner yet.
    log.innermost.no_token = ""
    return membership


def install() -> None:
    """Replace the logs of all tests, before their modules are imported. Or those of a process that a test starts."""
    changed: Any
    for changed in (actors, actors.eventlog):
        changed.MemoryLog, changed.SqliteLog = logs.InPlaceOfMemory, logs.InPlaceOfSqlite
        changed.open_log = logs.open_log
    changed = transport.app
    changed.open_log = logs.open_log
    changed = assembly
    changed.join = join
    if ENGINE == NODES:
        nodes.install()


@pytest.fixture(autouse=True)
def same_nodes(request: pytest.FixtureRequest) -> None:
    """Choose the same nodes whenever a test runs."""
    nodes.dice.seed(request.node.nodeid)


EXPECTED = pytest.StashKey[Row]()
"""The row of a test that is expected to fail."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note the tests that the engine cannot pass, and leave out those of them that would wait for ever."""
    left_out: list[pytest.Item] = []
    for row in rows(ENGINE):
        for item in items:
            if item.nodeid.startswith(row.test):
                item.stash[EXPECTED] = row
                left_out += [] if row.runs else [item]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Exchange success and failure of a test that is expected to fail."""
    report = yield
    row = item.stash.get(EXPECTED, None)
    if row is not None and call.when == "call":
        if report.failed:
            report.outcome, report.longrepr = "passed", None
        else:
            report.outcome, report.longrepr = "failed", f"it passes, but is left out because {row.reason}"
    return report
