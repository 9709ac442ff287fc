"""What takes long to make, made once for all tests of a run, also if several processes run them."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import pytest
from _wheel import build_wheel

from transport.demo import library

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PATIENCE = 180
"""Seconds for the index of the standard library on a machine that is busy with other work."""


def made_once(folders: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder with the files that ``make`` has put there. Tests must not change them.

    The first process that needs the folder calls ``make``, and the others wait until it has returned.
    """
    root = folders.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # the folder of the whole run
    folder, unfinished = root / name, root / f"{name}-unfinished"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished.mkdir(exist_ok=True)
            make(unfinished)
            unfinished.rename(folder)
    return folder


def library_cache(folders: pytest.TempPathFactory) -> Path:
    """Return a value for ``XDG_CACHE_HOME``: a folder with the demo's index, built as the demo itself builds it.

    The index takes seconds of pure Python. On a busy machine the first answer would take longer than a test may wait.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "BUILD_SECONDS", PATIENCE)
        return made_once(folders, "cache", lambda folder: library.Library(folder / "greenroom").load())


def shared_wheel(folders: pytest.TempPathFactory) -> Path:
    """Return the path of the project's wheel."""
    (wheel,) = made_once(folders, "wheel", build_wheel).iterdir()
    return wheel
