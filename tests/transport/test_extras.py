"""Optional dependencies: a missing one is named, with the command that installs it."""

from __future__ import annotations

import json
from importlib import metadata
from typing import TYPE_CHECKING

import pytest

from transport._extras import ExtraMissing, import_extra

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("module", ["no_such_module", "no_such_module.inner", "json.no_such_module"])
def test_missing_module_names_its_extra(module: str) -> None:
    """If a module or its package is missing, the error names the extra and the command that installs the extra."""
    with pytest.raises(ExtraMissing) as caught:
        import_extra("The clock", "time", "json", module)
    wheel = f"greenroom-{metadata.version('greenroom')}-py3-none-any.whl"
    needs = f"needs the extra time: install the wheel with it: pip install '{wheel}[time]'"
    assert str(caught.value) == f"The clock {needs}"


def test_modules_are_returned() -> None:
    """Modules that are installed are imported and returned."""
    assert import_extra("The clock", "time", "json") == [json]


def test_broken_module_raises_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If an installed module itself imports a missing module, the ModuleNotFoundError is raised unchanged.

    The error names no extra, since no extra would help.
    """
    (tmp_path / "broken_clock.py").write_text("import no_such_module")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        import_extra("The clock", "time", "broken_clock")
