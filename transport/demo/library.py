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
from contextlib import suppress
from functools import partial
from itertools import dropwhile
from pathlib import Path

import trio

from actors import JSON
from actors.failures import log_line
from transport.demo.index import DATA, FORMAT, SESSIONS, STDLIB, Entry, Index

logger = logging.getLogger("greenroom.demo")

MAX_LINES, MAX_HITS, SEARCHED = 40, 30, 40  # the modules in a result are those of more hits than it shows
BUILD_SECONDS = 120
UNWRITABLE = "cannot write the index into %s (%s): building it into a temporary folder, and again at the next start"
DOCUMENTED = ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef


class IndexFailed(Exception):
    """The standard library could not be indexed. The message says why."""


def cache_folder() -> Path:
    """Return the folder for Greenroom's cached files: ``greenroom`` in ``$XDG_CACHE_HOME``, or else in ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "greenroom")


class Library:
    """Access to the standard library of this Python, by an index that is built once, in the user's cache folder.

    A ``Library`` does not have to be closed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        # One index for each Python, each folder of its library, each format, and each version of the data.
        data = [path.read_bytes() for path in sorted(DATA.iterdir())]
        identity = hashlib.sha256(repr((FORMAT, sys.version, STDLIB, data)).encode()).hexdigest()[:10]
        self.path = (folder or cache_folder()) / f"stdlib-{platform.python_version()}-{identity}.sqlite"
        """The file of the index. If its folder cannot be written to, this becomes the path of a temporary file."""
        self._index: Index | None = None
        self._loading = threading.Lock()

    @property
    def ready(self) -> bool:
        """Whether the index is loaded, so that a question does not have to wait."""
        return self._index is not None

    def start(self) -> None:
        """Begin to load or build the index in a thread. Does not wait, and does not keep the process alive."""

        def load() -> None:
            with suppress(Exception):  # the first question tries again, and gets the error
                self.load()

        threading.Thread(target=load, name="index of the standard library", daemon=True).start()

    async def index(self) -> Index:
        """Load or build the index in a thread, as :meth:`load` does, and return the index.

        If the call is cancelled, the thread still continues to build the index.
        """
        return await trio.to_thread.run_sync(self.load, abandon_on_cancel=True)

    def load(self) -> Index:
        """Return the index. If the index file is missing, damaged or outdated, first build it.

        Blocks the thread. Raises IndexFailed if the index cannot be built.
        """
        with self._loading:
            self._index = self._index or self._loaded()
        return self._index

    def _loaded(self) -> Index:
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
        """Return the entries that fit ``query`` best, and their modules. With ``module``, search only that module."""
        index = await self.index()
        hits = await trio.to_thread.run_sync(index.search, query, SEARCHED, module)
        modules = dict.fromkeys(hit["module"] for hit in hits)
        return {"hits": [*hits[: max(1, min(limit, MAX_HITS))]], "modules": [*modules][:5]}

    async def read_source(self, module: str, name: str = "") -> dict[str, JSON]:
        """Return the signature, the docstring and the source of ``name`` in ``module``.

        Raises LookupError if the module has no such name. The error suggests similar names.
        """
        index, symbol = await self.index(), f"{module}.{name}" if name else module
        entry = index.find(symbol)
        if entry is None:
            near = difflib.get_close_matches(name, index.names(module), n=3)
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            raise LookupError(f"the standard library has no {symbol}{hint}")
        return {**entry, "source": await trio.to_thread.run_sync(_source_of, entry)}

    def examples(self, module: str, name: str) -> list[str]:
        """Return example sessions, not run yet: first the session of ``name``, then the session of its class."""
        symbol = f"{module}.{name}"
        return [SESSIONS[each] for each in (symbol, symbol.rpartition(".")[0]) if each in SESSIONS]


def _build(path: Path) -> None:
    """Build the index in a separate process, and move the complete file to ``path``.

    *In a thread of the server, the work would hold the interpreter's lock for seconds, and the loop would wait.* Raises
    OSError if the folder of ``path`` cannot be written to, and IndexFailed if the process fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    run = partial(subprocess.run, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BUILD_SECONDS)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".building-") as folder:
        built = Path(folder, path.name)
        # In the folder of the package, because it need not be installed.
        command = [sys.executable, "-W", "ignore", "-m", "transport.demo.build", str(built)]
        try:
            run(command, check=True, cwd=Path(__file__).parents[2])
        except subprocess.SubprocessError as error:
            reason = str(getattr(error, "stderr", None) or error).strip().splitlines()[-1]
            raise IndexFailed(f"the standard library cannot be indexed: {reason}") from error
        built.replace(path)


def _source_of(entry: Entry) -> str:
    """Return the source without its docstring, cut after ``MAX_LINES`` lines. Return "" for a name written in C."""
    lines = without_docstring(
        linecache.getlines(str(STDLIB / entry["file"]))[max(entry["line"] - 1, 0) : entry["end_line"]]
    )
    cut = [f"    # … {len(lines) - MAX_LINES} more lines"] if len(lines) > MAX_LINES else []
    return "".join([*lines[:MAX_LINES], *cut]).rstrip("\n")


def without_docstring(lines: list[str]) -> list[str]:
    """Return the lines of a class or function without its docstring, since an answer shows the docstring elsewhere."""
    nodes = ast.parse(textwrap.dedent("".join(lines))).body
    documented = [node for node in nodes if isinstance(node, DOCUMENTED) and ast.get_docstring(node) and node.body[1:]]
    if not documented or nodes[1:]:
        return lines
    doc = documented[0].body[0]
    return [*lines[: doc.lineno - 1], *dropwhile(str.isspace, lines[doc.end_lineno :])]
