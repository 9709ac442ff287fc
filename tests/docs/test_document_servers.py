"""The terminal sessions of the documents that start a server print the output that the documents show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from docs.sections import name_of, run_section, sections

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(300)  # a section starts about five processes, and the machine may be busy
@pytest.mark.parametrize(("path", "section"), sections(servers=True), ids=name_of)
def test_servers_of_a_section(path: str, section: str, tmp_path: Path, programs: str) -> None:
    """When the programs and terminal sessions of a document are run, they print the output that the document shows."""
    run_section(tmp_path, path, section, programs)
