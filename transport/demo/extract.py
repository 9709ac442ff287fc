"""Reads Python source into entries: the public classes, functions and methods of one file, from its syntax tree.

Nothing is imported: what a module does when it is imported does not happen.
"""

from __future__ import annotations

import ast
import re
import textwrap
from typing import TYPE_CHECKING, TypeAlias

import attrs

from transport.demo.entry import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

OPERATORS = frozenset({"add", "sub", "mul", "truediv", "floordiv", "mod", "and", "or", "xor", "contains", "getitem"})
"""The special methods that are worth finding: ``date - date`` is written nowhere else than in ``date.__sub__``."""

MAX_CODE_LINES = 60

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@attrs.frozen
class Source:
    """One file: its entries, what it imports from where, and the names in its ``__all__`` (None without one)."""

    entries: tuple[Entry, ...]
    imports: tuple[tuple[str, str, str], ...]
    exported: frozenset[str] | None


def extract(module: str, file: str, text: str) -> Source:
    """Read the source ``text`` of ``module``; ``imports`` are triples (module, name or ``*``, as).

    Raises SyntaxError when the text is not Python of this version.
    """
    tree = ast.parse(text)
    lines = text.splitlines()
    statements = tuple(_flat(tree.body))
    own = Entry(
        module=module, name="", kind="module", doc=ast.get_docstring(tree) or "", file=file, line=1, end_line=len(lines)
    )
    found = [own]
    for node in statements:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.extend(_definition(node, own, lines))
    package = module if file.endswith("__init__.py") else module.rpartition(".")[0]
    imports = tuple(_imports(statements, package))
    return Source(tuple(found), imports, _exported(statements))


def without_docstring(lines: list[str]) -> list[str]:
    """Return the lines of one class or function without its docstring, which is shown elsewhere."""
    tree = ast.parse(textwrap.dedent("\n".join(lines)))
    node = tree.body[0] if tree.body else tree
    if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or ast.get_docstring(node) is None:
        return lines
    doc = node.body[0]
    return [*lines[: doc.lineno - 1], *lines[doc.end_lineno :]] if len(node.body) > 1 else lines


def is_public(name: str) -> bool:
    """Whether users are meant to know ``name``: no leading underscore, or an operator."""
    return not name.startswith("_") or (name.strip("_") in OPERATORS and name.endswith("__"))


def _flat(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Return the statements of a module, and those within its ``if`` and ``try``: variants for platforms."""
    for node in body:
        match node:
            case ast.If():
                yield from _flat(node.body)
                yield from _flat(node.orelse)
            case ast.Try():
                yield from _flat(node.body)
                for handler in node.handlers:
                    yield from _flat(handler.body)
                yield from _flat(node.orelse)
            case _:
                yield node


def _definition(node: ast.ClassDef | Function, parent: Entry, lines: list[str]) -> Iterator[Entry]:
    if not is_public(node.name):
        return
    entry = Entry(
        module=parent.module,
        name=f"{parent.name}.{node.name}" if parent.name else node.name,
        kind=_kind(node, is_method=bool(parent.name)),
        signature=_signature(node, is_method=bool(parent.name)),
        doc=_docstring(node),
        file=parent.file,
        line=node.lineno,
        end_line=node.end_lineno or node.lineno,
        code=_code(node, lines),
    )
    yield entry
    if isinstance(node, ast.ClassDef):
        for child in _flat(node.body):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _definition(child, entry, lines)


def _kind(node: ast.ClassDef | Function, *, is_method: bool) -> str:
    if isinstance(node, ast.ClassDef):
        bases = (ast.unparse(base) for base in node.bases)
        return "exception" if any(base.endswith(("Error", "Exception", "Warning")) for base in bases) else "class"
    if not is_method:
        return "function"
    return "class method" if _decorators(node) & {"classmethod", "staticmethod"} else "method"


def _decorators(node: Function) -> set[str]:
    return {mark.id for mark in node.decorator_list if isinstance(mark, ast.Name)}


def _docstring(node: ast.ClassDef | Function) -> str:
    """Return the docstring; a class that has none says what its constructor does."""
    own = ast.get_docstring(node)
    constructor = _constructor(node)
    return own or (ast.get_docstring(constructor) if constructor else None) or ""


def _constructor(node: ast.ClassDef | Function) -> Function | None:
    if not isinstance(node, ast.ClassDef):
        return None
    wanted = {child.name: child for child in _flat(node.body) if isinstance(child, ast.FunctionDef)}
    return wanted.get("__init__") or wanted.get("__new__")


def _signature(node: ast.ClassDef | Function, *, is_method: bool) -> str:
    """Return the parameters as they are written, without ``self``; nothing where a constructor is inherited."""
    function = _constructor(node) if isinstance(node, ast.ClassDef) else node
    if function is None:
        return ""
    bound = isinstance(node, ast.ClassDef) or is_method
    arguments = ast.unparse(function.args)
    if bound and "staticmethod" not in _decorators(function):
        arguments = re.sub(r"^\w+(, |$)", "", arguments).removeprefix("/, ")
    returns = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    return f"({arguments}){returns}"


def _code(node: ast.ClassDef | Function, lines: list[str]) -> str:
    first = node.body[0]
    has_doc = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    start = (first.end_lineno or node.lineno) if has_doc else node.lineno
    return "\n".join(lines[start : min(node.end_lineno or start, start + MAX_CODE_LINES)])


def _imports(statements: tuple[ast.stmt, ...], package: str) -> Iterator[tuple[str, str, str]]:
    for node in statements:
        if isinstance(node, ast.Import):
            yield from ((alias.name, "", alias.asname or alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*parents, *([node.module] if node.module else [])])
            yield from ((source, alias.name, alias.asname or alias.name) for alias in node.names)


def _exported(statements: tuple[ast.stmt, ...]) -> frozenset[str] | None:
    """Return the names in ``__all__``, as far as they are written out as strings."""
    values = [
        node.value
        for node in statements
        if isinstance(node, ast.Assign | ast.AugAssign)
        and _assigns_all(node)
        and isinstance(node.value, ast.List | ast.Tuple)
    ]
    if not values:
        return None
    return frozenset(
        item.value
        for value in values
        for item in value.elts
        if isinstance(item, ast.Constant) and isinstance(item.value, str)
    )


def _assigns_all(node: ast.Assign | ast.AugAssign) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets)
