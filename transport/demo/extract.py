"""The parsing of Python source into entries: the public classes, functions and methods of a file, from its syntax tree.

Nothing is imported, so no code of a module runs.
"""

from __future__ import annotations

import ast
import re
import sysconfig
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import attrs

from transport.demo.entry import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

OPERATORS = frozenset({"add", "sub", "mul", "truediv", "floordiv", "mod", "and", "or", "xor", "contains", "getitem"})
"""Operators. Their methods get entries too: ``date.__sub__``, for example, documents the difference of two dates."""

MAX_CODE_LINES = 60
"""Number of lines at the beginning of a definition that are searched. The lines after these are ignored."""

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Definition: TypeAlias = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@attrs.frozen
class Source:
    """The content of a file: its entries, its imports as (module, name or ``*``, alias), and its ``__all__``."""

    entries: tuple[Entry, ...]
    imports: tuple[tuple[str, str, str], ...]
    exported: frozenset[str] | None
    """The names in ``__all__``, None without one."""


def stdlib() -> Path:
    """Return the folder of the standard library of this Python."""
    return Path(sysconfig.get_path("stdlib"))


def extract(module: str, file: str, text: str) -> Source:
    """Parse the source ``text`` of ``module`` into its entries. Raises SyntaxError if this Python cannot parse it."""
    tree = ast.parse(text)
    lines = text.splitlines()
    statements = tuple(_flat(tree.body))
    doc = ast.get_docstring(tree) or ""
    own = Entry(module=module, name="", kind="module", doc=doc, file=file, line=1, end_line=len(lines))
    found = [own]
    for node in statements:
        if isinstance(node, Definition):
            found.extend(_entries(node, own, lines))
    package = module if file.endswith("__init__.py") else module.rpartition(".")[0]
    return Source(tuple(found), tuple(_imports(statements, package)), _exported(statements))


def without_docstring(lines: list[str]) -> list[str]:
    """Return the lines of one class or function without its docstring, which is shown elsewhere."""
    tree = ast.parse(textwrap.dedent("\n".join(lines)))
    node = tree.body[0] if tree.body else tree
    if not isinstance(node, Definition) or ast.get_docstring(node) is None:
        return lines
    doc = node.body[0]
    return [*lines[: doc.lineno - 1], *lines[doc.end_lineno :]] if len(node.body) > 1 else lines


def is_public(name: str) -> bool:
    """Return whether ``name`` is public: it has no underscore in front, or it is the method of an operator."""
    return not name.startswith("_") or (name.strip("_") in OPERATORS and name.endswith("__"))


def _flat(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield the statements of a module, and those inside its ``if`` and ``try`` statements (for some platforms)."""
    for node in body:
        if isinstance(node, ast.If | ast.Try | ast.ExceptHandler):
            yield from _flat(ast.iter_child_nodes(node))
        else:
            yield node


def _entries(node: Definition, parent: Entry, lines: list[str]) -> Iterator[Entry]:
    """Yield the entry of a class or function, and those of its members."""
    if not is_public(node.name):
        return
    first = node.body[0]
    has_doc = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    end = node.end_lineno or node.lineno
    start = (first.end_lineno or node.lineno) if has_doc else node.lineno
    entry = Entry(
        module=parent.module,
        name=f"{parent.name}.{node.name}" if parent.name else node.name,
        kind=_kind(node, is_method=bool(parent.name)),
        signature=_signature(node, is_method=bool(parent.name)),
        doc=_docstring(node),
        file=parent.file,
        line=node.lineno,
        end_line=end,
        code="\n".join(lines[start : min(end, start + MAX_CODE_LINES)]),
    )
    yield entry
    if isinstance(node, ast.ClassDef):
        for child in _flat(node.body):
            if isinstance(child, Definition):
                yield from _entries(child, entry, lines)


def _kind(node: Definition, *, is_method: bool) -> str:
    if isinstance(node, ast.ClassDef):
        bases = (ast.unparse(base) for base in node.bases)
        return "exception" if any(base.endswith(("Error", "Exception", "Warning")) for base in bases) else "class"
    if not is_method:
        return "function"
    return "class method" if _decorators(node) & {"classmethod", "staticmethod"} else "method"


def _decorators(node: Function) -> set[str]:
    return {mark.id for mark in node.decorator_list if isinstance(mark, ast.Name)}


def _docstring(node: Definition) -> str:
    """Return the docstring; for a class that has none, the docstring of its constructor."""
    constructor = _constructor(node)
    return ast.get_docstring(node) or (ast.get_docstring(constructor) if constructor else None) or ""


def _constructor(node: Definition) -> Function | None:
    if not isinstance(node, ast.ClassDef):
        return None
    wanted = {child.name: child for child in _flat(node.body) if isinstance(child, ast.FunctionDef)}
    return wanted.get("__init__") or wanted.get("__new__")


def _signature(node: Definition, *, is_method: bool) -> str:
    """Return the parameters as they are written, without ``self``; an empty string for an inherited constructor."""
    function = _constructor(node) if isinstance(node, ast.ClassDef) else node
    if function is None:
        return ""
    arguments = ast.unparse(function.args)
    if (isinstance(node, ast.ClassDef) or is_method) and "staticmethod" not in _decorators(function):
        arguments = re.sub(r"^\w+(, |$)", "", arguments).removeprefix("/, ")
    returns = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    return f"({arguments}){returns}"


def _imports(statements: tuple[ast.AST, ...], package: str) -> Iterator[tuple[str, str, str]]:
    for node in statements:
        if isinstance(node, ast.Import):
            yield from ((alias.name, "", alias.asname or alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # A dot is the package itself, each further dot one package up.
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*parents, *([node.module] if node.module else [])])
            yield from ((source, alias.name, alias.asname or alias.name) for alias in node.names)


def _exported(statements: tuple[ast.AST, ...]) -> frozenset[str] | None:
    """Return the names in ``__all__`` that are written as strings."""
    values = [
        node.value
        for node in statements
        if isinstance(node, ast.Assign | ast.AugAssign)
        and any(ast.unparse(name) == "__all__" for name in getattr(node, "targets", None) or [node.target])  # type: ignore[union-attr]  # an Assign has targets
        and isinstance(node.value, ast.List | ast.Tuple)
    ]
    if not values:
        return None
    items = (item for value in values for item in value.elts if isinstance(item, ast.Constant))
    return frozenset(item.value for item in items if isinstance(item.value, str))
