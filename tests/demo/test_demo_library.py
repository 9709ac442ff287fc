"""The library: its index is built once and kept, and its tools describe names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from transport.demo.index import SESSIONS, write
from transport.demo.library import IndexFailed, Library, cache_folder, without_docstring

if TYPE_CHECKING:
    from pathlib import Path


async def test_index_is_kept(cache: Path) -> None:
    """An index file that exists is loaded and not built again."""
    first = Library(cache)
    before = first.path.stat().st_mtime_ns
    assert (await first.index()).size > 5_000
    assert first.ready
    assert first.path.stat().st_mtime_ns == before


@pytest.mark.usefixtures("quick_build")
async def test_broken_index(tmp_path: Path) -> None:
    """A damaged index file is built again, and no temporary file is left."""
    library = Library(tmp_path / "cache")
    library.path.parent.mkdir()
    library.path.write_bytes(b"not an index")
    library.start()
    library.start()
    assert (await library.index()).find("csv.DictReader") is not None
    assert [entry.name for entry in await trio.Path(library.path.parent).iterdir()] == [library.path.name]


@pytest.mark.usefixtures("quick_build")
def test_folder_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If the cache folder cannot be written, a warning names it, and the index is built into a temporary folder."""
    (tmp_path / "file").write_text("in the way")
    library = Library(tmp_path / "file")
    assert library.load().find("csv.DictReader") is not None
    assert not library.path.is_relative_to(tmp_path)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("greenroom.demo", "WARNING")
    assert f"cannot write the index into {tmp_path / 'file'}" in record.getMessage()


async def test_build_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the process that builds the index fails, ``IndexFailed`` has the last line of its error."""
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text("#!/bin/sh\necho first >&2\necho out of luck >&2\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(IndexFailed, match="cannot be indexed: out of luck"):
        await Library(tmp_path / "cache").index()


async def test_build_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that builds the index for longer than ``BUILD_SECONDS`` is killed: ``IndexFailed`` says so."""
    monkeypatch.setattr("transport.demo.library.BUILD_SECONDS", 0.01)
    with pytest.raises(IndexFailed, match="timed out after"):
        await Library(tmp_path / "cache").index()


def test_index_of_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the texts about uses or the synonyms change, the index gets another file. So no outdated index is used."""
    before = Library(tmp_path).path
    assert Library(tmp_path).path == before
    monkeypatch.setattr("transport.demo.library.DATA", tmp_path)
    (tmp_path / "uses.txt").write_text("[shop.brew] make tea\n")
    assert Library(tmp_path).path != before


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache folder is in ``XDG_CACHE_HOME``, or else in the user's ``.cache``."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder().as_posix() == "/somewhere/greenroom"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/ada")
    assert cache_folder().as_posix() == "/home/ada/.cache/greenroom"


async def test_search_tool(library: Library) -> None:
    """The search tool returns hits up to its limit, and the modules of the hits."""
    found = await library.search("parse a csv file with a header", limit=2)
    assert isinstance(found["hits"], list)
    assert len(found["hits"]) == 2
    assert isinstance(found["modules"], list)
    assert found["modules"][0] == "csv"


async def test_source_tool(library: Library) -> None:
    """The source tool returns the code of a name, and the file and lines where the name is defined."""
    found = await library.read_source("csv", "DictReader")
    assert str(found["source"]).startswith("class DictReader:\n    def __init__")
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


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ('    def f(x):\n        """Two\n        lines."""\n        return x', "    def f(x):\n        return x"),
        ("def f(x):\n    return x", "def f(x):\n    return x"),
        ("class E(Exception):\n    'Only this.'", "class E(Exception):\n    'Only this.'"),
    ],
)
def test_docstring_is_removed(source: str, shown: str) -> None:
    """The docstring is removed from source lines, unless nothing else would be left."""
    assert "".join(without_docstring(source.splitlines(keepends=True))) == shown


def test_unknown_name_has_no_examples(library: Library) -> None:
    """An unknown name has no examples."""
    assert library.examples("csv", "Nothing") == []


def test_order_of_examples(library: Library) -> None:
    """The hand-written example of a name comes first, and the example of its class second."""
    sessions = [SESSIONS["zipfile.ZipFile.extractall"], SESSIONS["zipfile.ZipFile"]]
    assert library.examples("zipfile", "ZipFile.extractall") == sessions
    assert library.examples("zipfile", "ZipFile.close") == sessions[1:]


async def test_build_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the index could not be built, the next question builds it again."""
    library = Library(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("transport.demo.library.BUILD_SECONDS", 0.01)
        with pytest.raises(IndexFailed):
            await library.index()
    assert not library.ready
    write([], library.path)
    assert (await library.index()).size == 0
    assert library.ready
