"""Programs that some tests need. If one is missing, the test is skipped, or fails where every program is mandatory."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

MANDATORY = os.environ.get("CI", "").lower() in {"1", "true"} or os.environ.get("GREENROOM_REQUIRE_ALL") == "1"
"""Whether a missing program is a failure: in CI, and if GREENROOM_REQUIRE_ALL=1 is set."""

_PROGRAMS: dict[str, tuple[str, ...]] = {
    "node": ("node", "nodejs"),
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
}
"""Programs with several names: the name that tests use, and the possible file names in PATH.

Any other program has only one name.
"""


def missing(reason: str) -> NoReturn:
    """Skip the test or module with this reason. Where every program is mandatory, make it fail instead."""
    if MANDATORY:
        pytest.fail(f"{reason}, and everything is mandatory here", pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def require(program: str) -> str:
    """Return the path of ``program``. If it is not in PATH, skip the test or make it fail; see :func:`missing`."""
    for name in _PROGRAMS.get(program, (program,)):
        if path := shutil.which(name):
            return path
    missing(f"needs {program}, which is not in PATH")
