"""The processes of the suite compile the test files together."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import _compiled
from _pytest.assertion import rewrite

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_bytecode_is_that_of_pytest(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """pytest finds the bytecode of a compiled file, and the file is compiled anew only if it has changed."""
    test = tmp_path / "test_one.py"
    test.write_text("def test_one():\n    assert 1 == 1\n")
    bytecode = _compiled.compile_test(test, pytestconfig)
    assert rewrite._read_pyc(test, bytecode) is not None  # noqa: SLF001 - as pytest reads it
    first = bytecode.stat().st_mtime_ns
    _compiled.compile_test(test, pytestconfig)
    assert bytecode.stat().st_mtime_ns == first
    test.write_text("def test_two():\n    assert 2 == 2\n    assert 3 == 3\n")
    assert rewrite._read_pyc(test, bytecode) is None  # noqa: SLF001 - as above
    _compiled.compile_test(test, pytestconfig)
    assert rewrite._read_pyc(test, bytecode) is not None  # noqa: SLF001 - as above


def test_each_process_has_its_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts of all processes together are all test files, each once. A lone process has no part."""
    names = [f"test_{letter}.py" for letter in "abcdefg"]
    for name in (*names, "other.py"):
        (tmp_path / name).touch()
    compiled: list[str] = []
    monkeypatch.setattr(_compiled, "compile_test", lambda path, config: compiled.append(path.name))
    monkeypatch.setattr("sys.dont_write_bytecode", False)

    class Config:
        """The configuration of a process of pytest-xdist."""

        def __init__(self, number: int) -> None:
            self.workerinput = {"workerid": f"gw{number}", "workercount": 3}

    for number in range(3):
        _compiled.compile_part(cast("pytest.Config", Config(number)), tmp_path)
    assert sorted(compiled) == names
    _compiled.compile_part(cast("pytest.Config", object()), tmp_path)
    assert sorted(compiled) == names
