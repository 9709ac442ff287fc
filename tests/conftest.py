"""What holds for every test: the same examples each time, and none of the developer's own settings."""

from __future__ import annotations

import os
import signal

import pytest
from _requires import MANDATORY
from _scale import SOAK
from hypothesis import settings

settings.register_profile("test", derandomize=True, deadline=None, database=None)
settings.register_profile("soak", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile("soak" if SOAK else "test")

# A shell starts what it runs in the background with SIGINT ignored, and every process below inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    """Say in which of its forms this run is."""
    programs = "must be there" if MANDATORY else "skip their tests when missing"
    return f"greenroom: {'full' if SOAK else 'small'} numbers; programs {programs}"


@pytest.fixture(autouse=True)
def only_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are read from the environment: a test that sets none gets the documented defaults."""
    for name in [name for name in os.environ if name.startswith("GREENROOM_")]:
        monkeypatch.delenv(name)
