"""The indexed standard library, and the two tools that read it."""

import ast
import atexit
import difflib
import hashlib
import linecache
import logging
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path

import trio

from actors import JSON
from actors.failures import log_line
from transport.demo.entry import STDLIB, Entry
from transport.demo.examples import examples
from transport.demo.index import FORMAT, Index

logger = logging.getLogger("greenroom.demo")

MAX_LINES = 40
MAX_LIMIT = 30
SEARCHED = 40
"""Number of hits from which the tool ``search`` takes the modules."""
BUILD_SECONDS = 120
UNWRITABLE = "cannot write the index into %s (%s): building it into a temporary folder, and again at the next start"


def cache_folder() -> Path:
    """Return the user's folder for files that programs can make again: ``$XDG_CACHE_HOME``, else ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "greenroom")


class IndexFailed(Exception):
    """The standard library could not be indexed. The message says why."""


class Library:
    """The standard library of this Python, indexed once into the user's cache folder.

    :meth:`start` begins to load or build the index in a thread, and :meth:`index` waits for it. Nothing has to be
    closed: the thread ends by itself, and does not keep the process alive.
    """

    def __init__(self, folder: Path | None = None) -> None:
        # One index for each Python, each folder of its library, and each format.
        identity = hashlib.sha256(f"{FORMAT} {sys.version} {STDLIB}".encode()).hexdigest()[:10]
        name = f"stdlib-{platform.python_version()}-{identity}.sqlite"
        self.path = (folder or cache_folder()) / name
        """The file of the index. :meth:`load` changes it to a temporary file if its folder cannot be written."""
        self._index: Future[Index] = Future()
        self._thread = threading.Thread(target=self._load, name="index of the standard library", daemon=True)

    @property
    def ready(self) -> bool:
        """Whether the index is loaded, so that a question does not have to wait."""
        return self._index.done()

    def start(self) -> None:
        """Begin to load or build the index in a thread, if that has not begun. Does not wait."""
        with suppress(RuntimeError):  # a thread starts only once
            self._thread.start()

    async def index(self) -> Index:
        """Wait for the index and return it. Raises IndexFailed. If cancelled, the thread continues to build."""
        self.start()
        return await trio.to_thread.run_sync(self._index.result, abandon_on_cancel=True)

    def _load(self) -> None:
        try:
            self._index.set_result(self.load())
        except BaseException as error:  # noqa: BLE001 - the waiting tasks raise it
            self._index.set_exception(error)

    def load(self) -> Index:
        """Return the index, built first if its file is missing, damaged or of another format. Blocks for seconds."""
        with suppress(sqlite3.Error):
            return Index(self.path)
        try:
            _build(self.path)
        except OSError as error:
            log_line(logger, logging.WARNING, UNWRITABLE, self.path.parent, error)
            folder = tempfile.mkdtemp(prefix="greenroom-")
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            self.path = Path(folder, self.path.name)
            _build(self.path)
        return Index(self.path)

    async def search(self, query: str, limit: int = 8, module: str | None = None) -> dict[str, JSON]:
        """Return the entries that fit ``query`` best and their modules. With ``module``, search only that module."""
        index = await self.index()
        hits = await trio.to_thread.run_sync(index.search, query, SEARCHED, module)
        modules = dict.fromkeys(hit["module"] for hit in hits)
        return {"hits": [*hits[: max(1, min(limit, MAX_LIMIT))]], "modules": [*modules][:5]}

    async def read_source(self, module: str, name: str = "") -> dict[str, JSON]:
        """Return signature, docstring and source of ``name`` in ``module``. Raises LookupError if there is none."""
        index = await self.index()
        return await trio.to_thread.run_sync(_read_source, index, module, name)

    async def examples(self, module: str, name: str) -> list[str]:
        """Return example sessions for ``name``, the one most likely to work first. None of them was run."""
        index = await self.index()
        entry = index.find(module, name)
        return examples(entry, index.names(module)) if entry else []


def _build(path: Path) -> None:
    """Build the index in a process of its own, and move it to ``path``: whole or not at all.

    The work takes seconds of pure Python. *In a thread of the server it would hold the interpreter's lock for most of
    that time, and the server's loop would wait.*

    Raises:
        OSError: The folder of ``path`` cannot be written.
        IndexFailed: The process failed, or took longer than ``BUILD_SECONDS``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".building-") as folder:
        built = Path(folder, path.name)
        command = [sys.executable, "-W", "ignore", "-m", "transport.demo.build", str(built)]
        run = partial(subprocess.run, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        try:
            run(command, timeout=BUILD_SECONDS, check=True)
        except subprocess.SubprocessError as error:
            reason = str(getattr(error, "stderr", None) or error).strip().splitlines()[-1]
            raise IndexFailed(f"the standard library cannot be indexed: {reason}") from error
        built.replace(path)


def _read_source(index: Index, module: str, name: str) -> dict[str, JSON]:
    entry = index.find(module, name)
    if entry is None:
        near = difflib.get_close_matches(name, index.names(module), n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise LookupError(f"the standard library has no {f'{module}.{name}' if name else module}{hint}")
    place = {"file": entry.file, "line": entry.line, "end_line": entry.end_line}
    return {**entry.described(), "doc": entry.doc[:4_000], **place, "source": _source_of(entry)}


def _source_of(entry: Entry) -> str:
    """Return the installed source without its docstring, cut after ``MAX_LINES``; "" for a name in C."""
    lines = linecache.getlines(str(STDLIB / entry.file))[max(entry.line - 1, 0) : entry.end_line]
    if entry.name and lines:
        lines = without_docstring(lines)
    cut = [f"    # … {len(lines) - MAX_LINES} more lines"] if len(lines) > MAX_LINES else []
    return "".join([*lines[:MAX_LINES], *cut]).rstrip("\n")


def without_docstring(lines: list[str]) -> list[str]:
    """Return the lines of a class or function without its docstring, which is shown elsewhere."""
    node = ast.parse(textwrap.dedent("".join(lines))).body[0]
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
        doc = node.body[0]
        return [*lines[: doc.lineno - 1], *lines[doc.end_lineno :]] if len(node.body) > 1 else lines
    return lines
