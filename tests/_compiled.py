"""The bytecode of the test files, which several processes make together: each makes a part, and reads the others'.

*In a fresh clone each process of the suite compiled all tests, one file after another, and all the same file at the
same time. That took 20 s of each.*
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from _pytest.assertion import rewrite

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def compile_part(config: pytest.Config, tests: Path) -> None:
    """Compile each third file if there are three processes, and so on, as pytest does when it imports the file.

    Args:
        config: The configuration of a process of pytest-xdist. In any other process nothing is done.
        tests: The folder of the tests.
    """
    process = getattr(config, "workerinput", None)
    if process is None or sys.dont_write_bytecode:
        return
    number, count = int(process["workerid"].removeprefix("gw")), process["workercount"]
    for path in sorted(tests.rglob("test_*.py"))[number::count]:
        compile_test(path, config)


def compile_test(path: Path, config: pytest.Config) -> Path:
    """Compile a test file, unless its bytecode is there and newer. Return the path of the bytecode."""
    state = config.stash[rewrite.assertstate_key]
    folder = rewrite.get_cache_dir(path)
    bytecode = folder / f"{path.stem}{rewrite.PYC_TAIL}"
    if rewrite._read_pyc(path, bytecode, state.trace) is None and rewrite.try_makedirs(folder):  # noqa: SLF001 - pytest has no other way
        source, code = rewrite._rewrite_test(path, config)  # noqa: SLF001 - as above
        rewrite._write_pyc(state, code, source, bytecode)  # noqa: SLF001 - as above
    return bytecode
