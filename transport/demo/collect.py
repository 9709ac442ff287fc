"""Every public name of the installed standard library, as entries.

Files are read as text and parsed. Only modules written in C are imported, from a fixed list of modules that do nothing
when they are imported. This runs in a process of its own (``transport.demo.build``): the server imports none of them.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from collections import Counter
from pathlib import Path
from types import ClassMethodDescriptorType, MethodType
from typing import TYPE_CHECKING

import attrs

from transport.demo.entry import Entry
from transport.demo.extract import Source, extract, is_public, stdlib

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_FOLDERS = """
    test tests idlelib lib2to3 site-packages dist-packages __pycache__ ensurepip turtledemo pydoc_data encodings
    distutils msilib lib-dynload __phello__
"""
SKIPPED_FOLDERS = frozenset(_FOLDERS.split())
"""Folders of the standard library that are left out, because they are not for its users."""

_MODULES = "antigravity this turtle sre_compile sre_constants sre_parse nturl2path"
SKIPPED_MODULES = frozenset([*_MODULES.split(), "ntpath" if os.name == "posix" else "posixpath"])
"""Modules that are left out: jokes, drawings, deprecated modules, and the path module of another system."""

_IMPORTED = """
    builtins math cmath itertools time sys gc array zlib binascii unicodedata struct collections functools operator
    csv io os sqlite3 re bisect heapq random threading socket select signal weakref decimal json pickle errno marshal
    atexit queue contextvars bz2 lzma statistics hashlib datetime string secrets asyncio fcntl resource pwd mmap
"""
IMPORTED_MODULES = tuple(_IMPORTED.split())
"""Modules that are, at least in part, written in C, and that do nothing when they are imported."""

ALIASES = {
    "posixpath": "os.path",
    "ntpath": "os.path",
    "_pydatetime": "datetime",
    "_pydecimal": "decimal",
    "_collections_abc": "collections.abc",
}
"""Public names of modules, by the name of the file that has the source of the module."""

DYNAMIC_EXPORTS = {"os"}
"""Modules that build their ``__all__`` at run time. All their public names count as exported."""

MAX_DOC = 20_000


@attrs.frozen
class Collected:
    """All entries, and the number of files that import each module: a hint of how much a module is used."""

    entries: tuple[Entry, ...]
    importers: dict[str, int]


def collect(root: Path) -> Collected:
    """Read all files below ``root`` and the modules in C. A file that cannot be read or parsed is left out."""
    sources = dict(_sources(root))
    importers = Counter(name for source in sources.values() for name in {item[0] for item in source.imports})
    public = _reexports(sources)
    found: dict[str, Entry] = {}
    for module, source in sources.items():
        for entry in _renamed(module, source, public):
            _keep(found, entry)
    for entry in built_in():
        _keep(found, entry)
    entries = (attrs.evolve(entry, doc=entry.doc[:MAX_DOC]) for entry in found.values())
    return Collected(tuple(entries), dict(importers))


def _keep(found: dict[str, Entry], entry: Entry) -> None:
    """Store the first entry of each name. If the first one has no docstring, it gets the docstring of a later one."""
    known = found.get(entry.symbol)
    if known is None:
        found[entry.symbol] = entry
    elif not known.doc and entry.doc:
        found[entry.symbol] = attrs.evolve(known, doc=entry.doc, signature=known.signature or entry.signature)


def _sources(root: Path) -> Iterator[tuple[str, Source]]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(
            name for name in folders if name not in SKIPPED_FOLDERS and not name.startswith(("_", "config-"))
        )
        for path in (Path(folder, name) for name in sorted(files) if name.endswith(".py")):
            if path.stem in SKIPPED_MODULES:
                continue
            relative = path.relative_to(root)
            module = ".".join([*relative.parts[:-1], *([] if path.stem == "__init__" else [path.stem])])
            try:
                yield module, extract(module, relative.as_posix(), path.read_text(encoding="utf-8"))
            except (OSError, SyntaxError, UnicodeDecodeError):
                continue


def _reexports(sources: dict[str, Source]) -> dict[tuple[str, str], str]:
    """Return the modules from which users import names. The key is the module of the definition, and the name.

    ``asyncio.locks.Lock`` is ``asyncio.Lock``, ``json.decoder.JSONDecoder`` is ``json.JSONDecoder``.
    """
    public: dict[tuple[str, str], str] = {}
    for module, source in sources.items():
        for origin, name, alias in source.imports:
            if not _is_part(module, origin) or alias != name:
                continue
            exported = sources[origin].exported if origin in sources else None
            for each in exported or () if name == "*" else (name,):
                if source.exported is None or name == "*" or each in source.exported:
                    public.setdefault((origin, each), module)
        for key in _lazy_exports(module, sources):
            public.setdefault(key, module)
    return public


def _lazy_exports(module: str, sources: dict[str, Source]) -> Iterator[tuple[str, str]]:
    """Yield the names in ``__all__`` that a package imports only at their first use, as ``concurrent.futures`` does."""
    exported = sources[module].exported or frozenset[str]()
    imported = {alias for _, _, alias in sources[module].imports}
    for origin, source in sources.items():
        if exported and origin.startswith(f"{module}."):
            names = {entry.name for entry in source.entries} & exported
            yield from ((origin, name) for name in names - imported)


def _is_part(module: str, origin: str) -> bool:
    """Return whether ``origin`` is a part of ``module``: below it, or its private half."""
    return origin.startswith(f"{module}.") or origin in (f"_{module}", f"_py{module}")


def _renamed(module: str, source: Source, public: dict[tuple[str, str], str]) -> Iterator[Entry]:
    """Yield the entries of a file under their public names, without private names that no module re-exports."""
    private = any(part.startswith("_") for part in module.split(".")) and module not in ALIASES
    for entry in source.entries:
        top = entry.name.partition(".")[0]
        home = public.get((module, top))
        exported = not top or source.exported is None or top in source.exported or module in DYNAMIC_EXPORTS
        if home is not None or (exported and not private):
            yield attrs.evolve(entry, module=home or ALIASES.get(module, module))


def built_in() -> Iterator[Entry]:
    """Yield the names without Python source, from the modules of the fixed list."""
    for module in IMPORTED_MODULES:
        try:
            loaded = importlib.import_module(module)
        except ImportError:
            continue
        yield Entry(module=module, name="", kind="module", doc=inspect.getdoc(loaded) or "")
        names: Iterable[str] = getattr(loaded, "__all__", None) or [name for name in dir(loaded) if is_public(name)]
        for name in names:
            yield from _inspected(module, name, getattr(loaded, name, None))


def _inspected(module: str, name: str, value: object) -> Iterator[Entry]:
    if inspect.isfunction(value) or not callable(value) or not is_public(name) or not _belongs(module, value):
        return
    kind = "function"
    if inspect.isclass(value):
        kind = "exception" if issubclass(value, BaseException) else "class"
    yield _built_in_entry(module, name, kind, value)
    if inspect.isclass(value) and kind == "class":
        for method in vars(value):
            member = getattr(value, method, None)
            if is_public(method) and inspect.isroutine(member) and not inspect.isfunction(member):
                of_class = isinstance(vars(value)[method], classmethod | staticmethod | ClassMethodDescriptorType)
                yield _built_in_entry(module, f"{name}.{method}", "class method" if of_class else "method", member)


def _belongs(module: str, value: object) -> bool:
    """Return whether ``value`` belongs to ``module``. A module also holds names that it imported for its own use."""
    home = getattr(value, "__module__", None) or getattr(getattr(value, "__self__", None), "__module__", None) or module
    own = home == module or home.startswith("_") or home in ("posix", "nt", "builtins")
    return own or home not in sys.stdlib_module_names


def _built_in_entry(module: str, name: str, kind: str, value: object) -> Entry:
    last = name.rpartition(".")[2]
    doc = inspect.getdoc(value) or ""
    try:
        signature = str(inspect.signature(value))  # type: ignore[arg-type]  # not callable: the TypeError caught here
    except Exception:  # noqa: BLE001 - the text of a C signature is evaluated: Python 3.13.0 raises an AttributeError
        # Older functions in C have the signature as the first line of their docstring.
        written = re.match(rf"(?:\w+ = )?{re.escape(last)}(\(.*?\))(?: |$)", doc.partition("\n")[0])
        signature = written[1] if written else ""
    if last.startswith("__") and doc.startswith("Return "):
        doc = ""  # "Return self+value." is the docstring of every type that has the operator
    entry = Entry(module=module, name=name, kind=kind, signature=signature, doc=doc)
    return _placed(entry, value) if inspect.ismethod(value) else entry


def _placed(entry: Entry, method: MethodType) -> Entry:
    """Return a method's entry with the place of its source: ``random.choice``, for example, is a method in Python."""
    file = Path(method.__func__.__code__.co_filename)
    if not file.is_relative_to(stdlib()):
        return entry
    lines, first = inspect.getsourcelines(method)
    place = file.relative_to(stdlib()).as_posix()
    return attrs.evolve(entry, file=place, line=first, end_line=first + len(lines) - 1)
