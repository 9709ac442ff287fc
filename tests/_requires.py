"""Programs that some tests need: where one is missing the test skips, or fails if everything is mandatory."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

MANDATORY = os.environ.get("CI", "").lower() in {"1", "true"} or os.environ.get("GREENROOM_REQUIRE_ALL") == "1"
"""Whether a missing program is a failure: in CI, and where GREENROOM_REQUIRE_ALL=1 says so."""

_PROGRAMS: dict[str, tuple[str, ...]] = {
    "node": ("node", "nodejs"),
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
}
"""What a test asks for, and the names it goes by in PATH; any other program goes by its own name only."""


def missing(reason: str) -> NoReturn:
    """Skip the test or module with this reason, or fail it where every program is mandatory."""
    if MANDATORY:
        pytest.fail(f"{reason}, and everything is mandatory here", pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def require(program: str) -> str:
    """Return the path of ``program``; without it the test or module ends as in :func:`missing`."""
    for name in _PROGRAMS.get(program, (program,)):
        if path := shutil.which(name):
            return path
    missing(f"needs {program}, which is not in PATH")
