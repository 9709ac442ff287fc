"""``python -m transport.demo.build PATH``: write the index of the standard library of this Python to the file PATH.

The modules are imported and inspected: parsing their source alone would miss names that they make at run time, such as
``hashlib.sha256`` and ``multiprocessing.Pool``. This runs in a process of its own, so the server imports none of them.
"""

import builtins
import importlib
import inspect
import linecache
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path
from types import ClassMethodDescriptorType, GetSetDescriptorType, ModuleType
from typing import Any

from transport.demo.index import SKIPPED, STDLIB, USES, Entry, write

_Attribute: tuple[type[Any], ...] = (property, cached_property, GetSetDescriptorType)
# One pattern for all names: a pattern for each of ten thousand names took a fifth of the time of a build to compile.
_CALL = re.compile(r"(?:\w+ = )?(?:\w+\.)?(\w*)\(")
_WRITTEN = re.compile(_CALL.pattern.removesuffix(r"\(") + r"(\(.*?\))(?: |\Z)")
_CLASS = re.compile(r"\s*class (\w+)\b")


def extract(names: Iterable[str] = sys.stdlib_module_names) -> Iterator[Entry]:
    """Yield an entry for each public name of the modules ``names`` and of their submodules.

    A name that several modules export has one entry, under the module with the shortest path. For example, the entry is
    ``asyncio.Queue``, not ``asyncio.queues.Queue``.
    """
    homes: dict[int, str] = {}
    for module in sorted(_modules(names), key=lambda module: (module.__name__.count("."), module.__name__)):
        path = "os.path" if module.__name__ in ("posixpath", "ntpath") else module.__name__
        yield _entry(path, "", "module", module)
        for name, value in _members(module):
            if homes.setdefault(id(value), path) == path:
                yield from _entries(path, name, value)


def _modules(names: Iterable[str]) -> Iterator[ModuleType]:
    """Import modules and their submodules, and yield them.

    A module that cannot be imported is left out, for example a module for another operating system.
    """
    for name in names:
        last = name.rpartition(".")[2]
        if last not in SKIPPED and not last.startswith("_"):
            with suppress(Exception):
                module = importlib.import_module(name)
                yield from (module, module.path) if name == "os" else (module,)
                parts = pkgutil.iter_modules(getattr(module, "__path__", ()))
                yield from _modules(f"{name}.{part.name}" for part in parts)


def _members(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Yield the public names of a module, with their values.

    These are the names in ``__all__``. Without ``__all__``, these are the names that the module itself defines. Names
    that are defined in the module's private part in C, such as ``_csv`` for ``csv``, are added.
    """
    exported = getattr(module, "__all__", ())
    for name in dict.fromkeys([*exported, *vars(module)]):
        value = getattr(module, name, None)
        home = getattr(value, "__module__", None) or module.__name__
        own = home == f"_{module.__name__}" or (not exported and home == module.__name__) or module is builtins
        if name in exported or f"{module.__name__}.{name}" in USES or (own and not name.startswith("_")):
            yield name, value


def _entries(module: str, name: str, value: Any) -> Iterator[Entry]:
    """Yield the entries for one name in a module.

    A class has an entry for itself and an entry for each member. A function has one entry. Any other value has an entry
    only if ``data/uses.txt`` names it.
    """
    if not inspect.isclass(value):
        if callable(value) or f"{module}.{name}" in USES:
            yield _entry(module, name, "function" if callable(value) else "value", value)
        return
    is_exception = issubclass(value, BaseException)
    yield _entry(module, name, "exception" if is_exception else "class", value)
    # With the members that are inherited from a private class: that class has no entries of its own.
    classes = [each for each in value.__mro__ if each is value or "._" in f".{each.__module__}"]
    members = {member: raw for each in reversed(classes) for member, raw in vars(each).items() if member[0] != "_"}
    for member, raw in () if is_exception else members.items():
        if isinstance(raw, _Attribute):
            yield _entry(module, f"{name}.{member}", "attribute", raw)
        elif inspect.isroutine(raw):
            of_class = isinstance(raw, classmethod | staticmethod | ClassMethodDescriptorType)
            yield _entry(module, f"{name}.{member}", "class method" if of_class else "method", getattr(value, member))


def _entry(module: str, name: str, kind: str, value: Any) -> Entry:
    doc = "" if kind == "value" else inspect.getdoc(value) or ""
    if inspect.isclass(value):
        # A class inherits the docstring of its base class, which is wrong for it. Its constructor may have its own.
        own, init = vars(value).get("__doc__"), vars(value).get("__init__")
        doc = inspect.cleandoc(own if isinstance(own, str) else getattr(init, "__doc__", None) or "")
    last = name.rpartition(".")[2]
    file, line, end_line = _place(value)
    at = f"{file}:{line}" if file else f"{module} ({'a value' if kind == 'value' else 'built in, written in C'})"
    described: Entry = {"signature": _signature(last, value, doc) if callable(value) else "", "doc": doc[:4_000]}
    described |= {"summary": _summary(last, doc), "at": at, "file": file, "line": line, "end_line": end_line}
    symbol = f"{module}.{name}" if name else module
    return {"symbol": symbol, "module": module, "name": name, "kind": kind, **described}


def _summary(name: str, doc: str) -> str:
    """Return the first paragraph of prose in a docstring, on one line.

    A signature is not prose: the docstrings of functions in C begin with a signature.
    """
    paragraphs = [" ".join(part.split())[:400] for part in doc.strip().split("\n\n")]
    return next((part for part in paragraphs if not _is_code(part, name)), paragraphs[0])


def _is_code(paragraph: str, name: str) -> bool:
    """Return whether a paragraph begins with a signature of ``name``, or is an example session."""
    found = _CALL.match(paragraph)
    return paragraph.startswith(">>>") or (found is not None and found[1] == name)


def _signature(name: str, value: Any, doc: str) -> str:
    try:
        written = str(inspect.signature(value))
    except Exception:  # noqa: BLE001 - the text of a C signature is evaluated: Python 3.13.0 raises an AttributeError
        # Older functions in C have the signature as the first line of their docstring.
        found = _WRITTEN.match(doc.partition("\n")[0])
        return found[2] if found and found[1] == name else ""
    return re.sub(r"=<[^>]*>", "=…", re.sub(r"^\((self|cls)(, /)?(, )?", "(", written))


def _place(value: Any) -> tuple[str, int, int]:
    """Return the source file of ``value`` in the standard library, and the first and last line of ``value``.

    If there is no source, for example of a value written in C, return "", 0, 0.
    """
    try:
        value = inspect.unwrap(getattr(value, "fget", None) or getattr(value, "func", value))
        module = value if inspect.ismodule(value) else sys.modules[value.__module__]
        file = Path(module.__file__ or "")
        path, lines = file.relative_to(STDLIB).as_posix(), linecache.getlines(str(file))
        if value is module:
            return path, 1, len(lines)
        if inspect.isclass(value):  # inspect would parse the whole file anew for each class
            start = _class_lines(str(file))[value.__name__]
        elif value.__code__.co_filename in (str(file), f"<frozen {module.__name__}>"):
            start = value.__code__.co_firstlineno - 1
        else:
            return "", 0, 0  # a function that was made at run time
        return path, start + 1, start + len(inspect.getblock(lines[start:]))
    except (AttributeError, KeyError, TypeError, ValueError):
        return "", 0, 0


@cache
def _class_lines(file: str) -> dict[str, int]:
    """Return the index of the line in which each class of a file begins: of the first class, if several have a name."""
    found: dict[str, int] = {}
    for number, line in enumerate(linecache.getlines(file)):
        if begins := _CLASS.match(line):
            found.setdefault(begins[1], number)
    return found


if __name__ == "__main__":
    write(extract(), Path(sys.argv[1]))
