"""The indexed standard library, and the two tools that read it."""

from __future__ import annotations

import difflib
import hashlib
import os
import platform
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from transport.demo.examples import from_docstring, from_signature
from transport.demo.extract import stdlib, without_docstring
from transport.demo.index import FORMAT, Index
from transport.demo.samples import USAGES

if TYPE_CHECKING:
    from actors import JSON
    from transport.demo.entry import Entry

MAX_LINES = 40
MAX_LIMIT = 30
DEPTH = 40
"""Number of hits that are used to rank the modules."""
BUILD_SECONDS = 120


class IndexFailed(Exception):
    """The standard library could not be indexed. The message says why."""


class Library:
    """The standard library of this Python, indexed once into the user's cache folder.

    :meth:`start` begins to load or build the index in a thread, and :meth:`index` waits for it. Nothing has to be
    closed: the thread ends by itself, and does not keep the process alive.
    """

    def __init__(self, folder: Path | None = None) -> None:
        # One index for each Python, each folder of its library, and each format.
        identity = hashlib.sha256(f"{FORMAT} {sys.version} {stdlib()}".encode()).hexdigest()[:10]
        self.path = (folder or cache_folder()) / f"stdlib-{platform.python_version()}-{identity}.sqlite"
        """The file of the index. If its folder cannot be written, :meth:`index` raises :class:`IndexFailed`."""
        self._index: Future[Index] = Future()
        self._started = False

    @property
    def ready(self) -> bool:
        """Whether the index is loaded, so that a question does not have to wait."""
        return self._index.done()

    def start(self) -> None:
        """Begin to load or build the index in a thread, if that has not begun. Does not wait."""
        if not self._started:
            self._started = True
            threading.Thread(target=self._load, name="index of the standard library", daemon=True).start()

    async def index(self) -> Index:
        """Wait for the index and return it.

        Raises:
            IndexFailed: The index cannot be built.

        Cancellation:
            The thread continues to build the index.
        """
        self.start()
        if self._index.done():
            return self._index.result()
        return await trio.to_thread.run_sync(self._index.result, abandon_on_cancel=True)

    def _load(self) -> None:
        try:
            self._index.set_result(_load_or_build(self.path))
        except BaseException as error:  # noqa: BLE001 - the waiting tasks raise it
            self._index.set_exception(error)

    async def search(self, query: str, limit: int = 8, module: str | None = None) -> dict[str, JSON]:
        """Return the entries that fit ``query`` best and their modules. With ``module``, search only that module."""
        index = await self.index()
        hits = await trio.to_thread.run_sync(index.search, query, DEPTH, module)
        shown: list[JSON] = [
            {**_described(hit.entry), "score": round(hit.score, 2), "matched": list(hit.matched)}
            for hit in hits[: max(1, min(limit, MAX_LIMIT))]
        ]
        return {"hits": shown, "modules": [*index.modules(hits)[:5]]}

    async def read_source(self, module: str, name: str = "") -> dict[str, JSON]:
        """Return signature, docstring and source of ``name`` in ``module``. Raises LookupError if there is none."""
        index = await self.index()
        return await trio.to_thread.run_sync(_read_source, index, module, name)

    async def examples(self, module: str, name: str) -> list[str]:
        """Return example sessions for ``name``, the one most likely to work first. None of them was run."""
        index = await self.index()
        return await trio.to_thread.run_sync(_examples, index, module, name)


def cache_folder() -> Path:
    """Return the user's cache folder on this system: the folder for files that a program can make again."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "greenroom"


def _described(entry: Entry) -> dict[str, JSON]:
    return {
        "symbol": entry.symbol,
        "module": entry.module,
        "name": entry.name,
        "kind": entry.kind,
        "signature": entry.signature,
        "summary": entry.summary[:400],
        "at": entry.place,
    }


def _load_or_build(path: Path) -> Index:
    """Return the index from the cache, built first if it is missing, broken or of an older format."""
    try:
        return Index(path)
    except sqlite3.Error:
        pass
    failure = _build(path)
    if failure:
        raise IndexFailed(f"the standard library cannot be indexed into {path.parent}: {failure}")
    return Index(path)


def _build(path: Path) -> str:
    """Build the index in a process of its own. Return an empty string, or the reason of its failure."""
    here = str(Path(__file__).parents[2])
    python_path = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-m", "transport.demo.build", str(path)],
            env={**os.environ, "PYTHONPATH": python_path},
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (done.stderr.strip().splitlines() or ["it failed"])[-1] if done.returncode else ""


def _read_source(index: Index, module: str, name: str) -> dict[str, JSON]:
    entry = index.find(module, name)
    if entry is None:
        near = difflib.get_close_matches(name, index.names(module), n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise LookupError(f"the standard library has no {f'{module}.{name}' if name else module}{hint}")
    place: dict[str, JSON] = {"file": entry.file, "line": entry.line, "end_line": entry.end_line}
    return {**_described(entry), "doc": entry.doc[:4_000], **place, "source": _source_of(entry)}


def _source_of(entry: Entry) -> str:
    """Return the installed source without its docstring, cut after ``MAX_LINES``; "" for a name in C."""
    if not entry.file:
        return ""
    text = (stdlib() / entry.file).read_text(encoding="utf-8").splitlines()
    lines = without_docstring(text[entry.line - 1 : entry.end_line]) if entry.name else text
    cut = [f"    # … {len(lines) - MAX_LINES} more lines"] if len(lines) > MAX_LINES else []
    return "\n".join([*lines[:MAX_LINES], *cut])


def _examples(index: Index, module: str, name: str) -> list[str]:
    entry = index.find(module, name)
    if entry is None:
        return []
    owner = index.find(module, name.rpartition(".")[0])
    usages = [USAGES[symbol] for symbol in (entry.symbol, owner.symbol if owner else "") if symbol in USAGES]
    written = from_docstring(module, name, entry.doc, index.names(module))
    made = from_signature(module, name, entry.kind, entry.signature, owner.signature if owner else "")
    return list(dict.fromkeys([*usages, *([written] if written else []), *made]))
