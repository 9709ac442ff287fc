"""The library: its index is built once and kept, and its tools describe names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from transport.demo.library import IndexFailed, Library, cache_folder

if TYPE_CHECKING:
    from pathlib import Path


async def test_index_is_kept(cache: Path) -> None:
    """An index file that exists is loaded and not built again."""
    first = Library(cache)
    before = first.path.stat().st_mtime_ns
    assert (await first.index()).size > 5_000
    assert first.ready
    assert first.path.stat().st_mtime_ns == before


async def test_broken_index(tmp_path: Path) -> None:
    """A broken index file is built again, and no temporary file is left."""
    library = Library(tmp_path)
    library.path.write_bytes(b"not an index")
    library.start()
    library.start()
    assert (await library.index()).find("csv", "DictReader") is not None
    assert [entry.name for entry in await trio.Path(tmp_path).iterdir()] == [library.path.name]


async def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """If the cache folder cannot be written, ``IndexFailed`` names it."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(IndexFailed, match="file"):
        await Library(tmp_path / "file").index()


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache folder is in ``XDG_CACHE_HOME`` on Linux."""
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder().as_posix() == "/somewhere/greenroom"


async def test_search_tool(library: Library) -> None:
    """The search tool returns hits up to its limit, and the modules of the hits."""
    found = await library.search("parse a csv file with a header", limit=2)
    assert isinstance(found["hits"], list)
    assert len(found["hits"]) == 2
    assert isinstance(found["modules"], list)
    assert found["modules"][0] == "csv"


async def test_source_tool(library: Library) -> None:
    """The source tool returns the code of a name and where it is in the file."""
    found = await library.read_source("csv", "DictReader")
    assert str(found["source"]).startswith("class DictReader:\n")
    assert found["at"] == f"csv.py:{found['line']}"


async def test_no_source_in_c(library: Library) -> None:
    """A name written in C has no source and no file."""
    found = await library.read_source("math", "sqrt")
    assert (found["source"], found["file"]) == ("", "")


@pytest.mark.parametrize(
    ("module", "name", "message"),
    [
        ("csv", "DictReder", "did you mean DictReader"),
        ("cvs", "", "has no cvs"),
        ("../etc", "passwd", r"has no \.\./etc\.passwd"),
    ],
)
async def test_unknown_name(library: Library, module: str, name: str, message: str) -> None:
    """An unknown name raises ``LookupError``, which suggests a similar name if there is one."""
    with pytest.raises(LookupError, match=message):
        await library.read_source(module, name)


async def test_unknown_name_has_no_examples(library: Library) -> None:
    """An unknown name has no examples."""
    assert await library.examples("csv", "Nothing") == []
