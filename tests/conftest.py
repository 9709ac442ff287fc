"""Rules for every test: each run uses the same examples, and ignores the settings in the developer's environment."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _below import HOST, NATIVE
from _engine import ENGINE, OWN
from _ports import held_port, number_of
from _requires import MANDATORY
from _scale import SOAK
from browser.shared import SharedBrowser
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

MOST_WORKERS = 8
"""Maximum number of parallel test workers.

A worker with its tests takes up to 0.5 GB. More workers gain little, because the longest test file sets the time.
"""

MEMORY = Path("/dev/shm")  # noqa: S108 - tempfile makes the names of the files in it
"""Folder of Linux with files that are in memory. On a disk, tests wait for each commit of a log."""
ROOM = 2 << 30
"""Free bytes that the folder must have: a container often has little. The tests need 0.2 GB."""

LONGEST = (
    "browser/test_demo_page.py",
    "browser/test_demo_killed.py",
    "browser/test_every_outcome.py",
    "suites/test_websocket_events_refresh_validation.py",
    "browser/test_visitors.py",
    "browser/test_demo_workers.py",
    "docs/test_document_servers.py",
    "browser/test_page_reading.py",
    "browser/test_page_connection.py",
    "browser/test_react_page.py",
    "docs/test_document_programs.py",
    "chaos/test_chaos.py",
    "docs/test_new_users.py",
    "attacks/test_peers.py",
    "delivery/test_shutdown.py",
    "cli/test_wheel.py",
    "attacks/test_floods.py",
    "delivery/test_faulty_network.py",
    "runtime/test_runtime_fuzz.py",
    "cli/test_process.py",
    "fuzz/test_fuzzer.py",
)
"""The test files that take longest, 15 to 60 s each. They begin first, so that none is left over at the end."""

TESTS = Path(__file__).parent

settings.register_profile("test", max_examples=50, derandomize=True, deadline=None, database=None)
settings.register_profile("soak", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile("soak" if SOAK else "test")

# A shell starts background jobs with SIGINT ignored, and every process below them inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def has_room_for_tests(folder: Path) -> bool:
    """Return whether tests can write to the folder, run the programs that they write there, and have enough room."""
    return (
        os.access(folder, os.W_OK)
        and not os.statvfs(folder).f_flag & os.ST_NOEXEC
        and shutil.disk_usage(folder).free >= ROOM
    )


def pytest_configure(config: pytest.Config) -> None:
    """Keep the files of tests in memory, except in ``make soak``.

    Also serve the apps of all tests through a web server, or put Valkey below them, if the environment says so.
    """
    if not SOAK and has_room_for_tests(MEMORY):
        tempfile.tempdir = str(MEMORY)
    if HOST != NATIVE:
        from hosting import everywhere  # noqa: PLC0415 - it imports web servers

        config.pluginmanager.register(everywhere)
    if ENGINE != OWN:
        from engines import everything, instant  # noqa: PLC0415 - they need a Valkey server

        instant.install()
        everything.install()
        config.pluginmanager.register(everything)


def pytest_report_header() -> str:
    """Return a line for pytest's header that tells how large this run is."""
    programs = "must be there" if MANDATORY else "skip their tests when missing"
    return f"greenroom: {'full' if SOAK else 'small'} numbers; programs {programs}; host {HOST}; log {ENGINE}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return the number of workers for ``-n auto``: three for two cores, because tests wait a third of their time."""
    return min(max(3 * len(os.sched_getaffinity(0)) // 2, 2), MOST_WORKERS)


def _printable(value: Any) -> Any:
    """Return ``value`` with the lone surrogates in its strings escaped, because a worker can send only valid UTF-8."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_printable(key): _printable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_printable, value))
    return value


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests with a marker ``left_out_if`` whose condition is true. Put the longest files first."""
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        (left_out if any(mark.args[0] for mark in item.iter_markers("left_out_if")) else kept).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept
    first = {TESTS / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path, len(first)))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Make the run fail if a test was skipped where every program is mandatory."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if (
        MANDATORY
        and reporter is not None
        and reporter.stats.get("skipped")
        and session.exitstatus == pytest.ExitCode.OK
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_collectstart() -> None:
    """Collect no garbage while tests are imported and collected: it takes a sixth of the time, and finds little."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Exempt the modules and tests from garbage collection: tests that collect or count objects would visit them all.

    Without this, such a test takes half a second more. Only tests.attacks.arena freezes more later, and nothing thaws.
    """
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Make a report with odd text serialisable, so that a worker can send it to the main process."""
    return _printable((yield))


@pytest.fixture(autouse=True)
def default_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the GREENROOM_ variables, so that a test that sets none of them gets the documented defaults."""
    for name in [name for name in os.environ if name.startswith("GREENROOM_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def shared_browser() -> Iterator[SharedBrowser]:
    """The browser of all tests of this process. It is started when a test needs it."""
    shared = SharedBrowser()
    yield shared
    shared.close()


@pytest.fixture
def own_port() -> Iterator[int]:
    """A port of 127.0.0.1 that only this test uses, and on which no socket listens."""
    with held_port() as holder:
        yield number_of(holder)


@pytest.fixture
def second_port() -> Iterator[int]:
    """Another port, as :func:`own_port`."""
    with held_port() as holder:
        yield number_of(holder)
