"""One index of the standard library for all tests of the demo, built in the same way as the server builds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from _shared import library_cache

from transport.demo.library import Library

if TYPE_CHECKING:
    from pathlib import Path

    from transport.demo.index import Index


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache folder that has the index."""
    return library_cache(tmp_path_factory) / "greenroom"


@pytest.fixture
def quick_build(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process that builds an index copy the index of the tests, which takes no time."""
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nfor last; do :; done\ncp "{Library(cache).path}" "$last"\n')
    script.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(script))


@pytest.fixture
def library(cache: Path) -> Library:
    """Return a library with an index that is already built."""
    return Library(cache)


@pytest.fixture(scope="session")
def index(cache: Path) -> Index:
    """Return the index."""
    return Library(cache).load()
