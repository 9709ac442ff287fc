"""The index is built once and kept; its tools say what they find, and what they do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from transport.demo.library import IndexFailed, Library, cache_folder

if TYPE_CHECKING:
    from pathlib import Path


async def test_an_index_that_is_there_is_not_built_again(cache: Path) -> None:
    first = Library(cache)
    before = first.path.stat().st_mtime_ns
    assert (await first.index()).size > 5_000
    assert first.ready
    assert first.path.stat().st_mtime_ns == before


async def test_a_broken_index_is_built_again(tmp_path: Path) -> None:
    library = Library(tmp_path)
    library.path.write_bytes(b"not an index")
    library.start()
    library.start()
    assert (await library.index()).find("csv", "DictReader") is not None
    assert [entry.name for entry in await trio.Path(tmp_path).iterdir()] == [library.path.name]


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(IndexFailed, match="file"):
        await Library(tmp_path / "file").index()


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder().as_posix() == "/somewhere/greenroom"


async def test_search_gives_hits_and_their_modules(library: Library) -> None:
    found = await library.search("parse a csv file with a header", limit=2)
    assert isinstance(found["hits"], list)
    assert len(found["hits"]) == 2
    assert isinstance(found["modules"], list)
    assert found["modules"][0] == "csv"


async def test_the_source_is_that_of_the_installed_file(library: Library) -> None:
    found = await library.read_source("csv", "DictReader")
    assert str(found["source"]).startswith("class DictReader:\n")
    assert found["at"] == f"csv.py:{found['line']}"


async def test_what_is_written_in_c_has_no_source(library: Library) -> None:
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
async def test_a_name_that_is_not_there_is_an_error_that_helps(
    library: Library, module: str, name: str, message: str
) -> None:
    with pytest.raises(LookupError, match=message):
        await library.read_source(module, name)


async def test_a_name_that_is_not_there_has_no_examples(library: Library) -> None:
    assert await library.examples("csv", "Nothing") == []
