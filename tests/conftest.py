"""What holds for every test: the same examples each time, and none of the developer's own settings."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from _ports import held_port, number_of
from _requires import MANDATORY
from _scale import SOAK
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

MOST_WORKERS = 8
"""A worker and what its tests start take up to 0.5 GB; the longest file bounds what more of them would gain."""

settings.register_profile("test", derandomize=True, deadline=None, database=None)
settings.register_profile("soak", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile("soak" if SOAK else "test")

# A shell starts what it runs in the background with SIGINT ignored, and every process below inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    """Say in which of its forms this run is."""
    programs = "must be there" if MANDATORY else "skip their tests when missing"
    return f"greenroom: {'full' if SOAK else 'small'} numbers; programs {programs}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return the workers of ``-n auto``: one for each core, and at least two, as tests wait half their time."""
    return min(max(len(os.sched_getaffinity(0)), 2), MOST_WORKERS)


def _printable(value: Any) -> Any:
    """Return ``value``, whose strings no longer hold lone surrogates: a worker can only send what UTF-8 can say."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_printable(key): _printable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_printable, value))
    return value


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Make the report of a test that fails on odd text, or logs it, one that its worker can send."""
    return _printable((yield))


@pytest.fixture(autouse=True)
def only_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are read from the environment: a test that sets none gets the documented defaults."""
    for name in [name for name in os.environ if name.startswith("GREENROOM_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def own_port() -> Iterator[int]:
    """A port of 127.0.0.1 that nothing listens on, and that only this test is given."""
    with held_port() as holder:
        yield number_of(holder)
