"""Fixtures: the programs ``python`` and ``greenroom`` that the commands of the documents call."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from _scale import SOAK
from docs.fork_server import forked_programs
from docs.shell import OWN_PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The folders of the programs: those of this environment. In the small run two of them are forks."""
    if SOAK:
        yield str(OWN_PROGRAMS)
        return
    with forked_programs(tmp_path_factory.mktemp("programs")) as folder:
        yield f"{folder}{os.pathsep}{OWN_PROGRAMS}"
