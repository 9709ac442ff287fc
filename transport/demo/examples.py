"""Examples for an entry, as sessions (``>>> …``) that were not run yet.

They are taken from the docstring, or are calls that are made from the signature with sample values. None of them is
known to work: ``run_example`` shows the real output.
"""

from __future__ import annotations

import ast
import doctest
import re
from typing import TYPE_CHECKING

from transport.demo.samples import LITERALS, Sample, sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_EXAMPLES = 5
OPERATOR_SIGNS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "truediv": "/",
    "floordiv": "//",
    "mod": "%",
    "and": "&",
    "or": "|",
    "xor": "^",
}
_DIRECTIVE = re.compile(r"[ \t]*# *doctest:.*")
_NAME = re.compile(r"\b[A-Za-z_]\w*\b")


def from_docstring(module: str, name: str, doc: str, names: Iterable[str]) -> str:
    """Return the first examples of a docstring as one session: lines with ``>>>``. Return "" if none uses the name.

    Args:
        module: The module of the entry.
        name: The entry's name in the module.
        doc: The entry's docstring.
        names: All names of the module. Examples use them without the module, so the session imports them first.
    """
    try:
        examples = doctest.DocTestParser().get_examples(doc)
    except ValueError:  # a prompt without its space, or examples that are badly indented
        return ""
    chosen = [_DIRECTIVE.sub("", example.source) for example in examples[:MAX_EXAMPLES] if not example.exc_msg]
    last = name.rpartition(".")[2]
    if not any(last in _NAME.findall(source) for source in chosen):
        return ""
    used = {word for source in chosen for word in _NAME.findall(source)} & {each.partition(".")[0] for each in names}
    imports = [f"from {module} import {', '.join(sorted(used))}"] if used and module != "builtins" else []
    if any(re.search(rf"\b{re.escape(module)}\.", source) for source in chosen):
        imports.append(f"import {module}")
    return session([*imports, *chosen])


def session(statements: Iterable[str]) -> str:
    """Return statements as they are typed at the prompt, each once."""
    shown: list[str] = []
    for statement in dict.fromkeys(statement.rstrip("\n") for statement in statements):
        first, *rest = statement.split("\n")
        shown += [f">>> {first}", *(f"... {line}" for line in rest)]
    return "\n".join(shown)


def from_signature(module: str, name: str, kind: str, signature: str, class_signature: str = "") -> Iterator[str]:
    """Yield calls with sample values as sessions, the simplest first. Yield none if a parameter has no sample.

    A call that changes its argument returns None, so the second session shows the argument. A call that returns an
    iterator shows little, so the last session makes a list of it.

    Args:
        module: The module of the entry.
        name: The entry's name in the module.
        kind: The entry's kind.
        signature: The entry's signature.
        class_signature: The signature of the entry's class, if the entry is a method.
    """
    made = _call(module, name, kind, signature, class_signature)
    if made is None:
        return
    expression, before = made
    imported = "os" if module == "os.path" else module
    imports = [f"import {imported}"] if module != "builtins" else []
    yield session([*imports, *before, expression])
    values = _arguments(module, name, signature) or []
    if kind == "function" and values and values[0].expression.startswith("["):
        changed = [f"values = {values[0].expression}", expression.replace(values[0].expression, "values", 1), "values"]
        yield session([*imports, *before, *changed])
    yield session([*imports, *before, f"list({expression})"])


def _call(module: str, name: str, kind: str, signature: str, class_signature: str) -> tuple[str, list[str]] | None:
    """Return the call as an expression, and the statements that run before it; None if a sample is missing."""
    owner, _, last = name.rpartition(".")
    if not owner or kind in ("class", "class method"):
        return _applied(f"{module}.{name}".removeprefix("builtins."), _arguments(module, name, signature))
    literal = LITERALS.get(f"{module}.{owner}")
    receiver = (literal, list[str]()) if literal else _call(module, owner, "class", class_signature, "")
    if receiver is None:
        return None
    if last.startswith("__"):
        return _operation(module, owner, class_signature, receiver, OPERATOR_SIGNS.get(last.strip("_"), ""))
    called = _applied(f"{receiver[0]}.{last}", _arguments(module, name, signature))
    return called and (called[0], [*receiver[1], *called[1]])


def _operation(
    module: str, owner: str, signature: str, left: tuple[str, list[str]], sign: str
) -> tuple[str, list[str]] | None:
    """Return an operation on two values: ``date(2024, 2, 29) - date(2024, 1, 1)``."""
    second = sign and _applied(f"{module}.{owner}", _arguments(module, owner, signature, second=True))
    return (f"{left[0]} {sign} {second[0]}", [*left[1], *second[1]]) if second else None


def _applied(function: str, values: list[Sample] | None) -> tuple[str, list[str]] | None:
    if values is None:
        return None
    return f"{function}({', '.join(value.expression for value in values)})", [
        line for value in values for line in value.before
    ]


def _arguments(module: str, name: str, signature: str, *, second: bool = False) -> list[Sample] | None:
    """Return a sample for each required parameter, or for the first optional one; None if a sample is missing."""
    parameters = _parameters(signature)
    if parameters is None:
        return None
    required, optional = parameters
    values = [sample(module, name, parameter, second=second) for parameter in required]
    if not values and optional:
        first = sample(module, name, optional[0], second=second)
        values = [first] if first else []
    known = [value for value in values if value]
    return known if len(known) == len(values) else None


def _parameters(signature: str) -> tuple[list[str], list[str]] | None:
    """Return the names of the required and of the optional parameters; None if the text is not a signature."""
    try:
        (function,) = ast.parse(f"def f{signature or '()'}: ...").body
    except (SyntaxError, ValueError):
        return None
    if not isinstance(function, ast.FunctionDef) or any(default is None for default in function.args.kw_defaults):
        return None
    arguments = function.args
    positional = [each.arg for each in [*arguments.posonlyargs, *arguments.args] if each.arg != "self"]
    needed = len(positional) - len(arguments.defaults)
    vararg = [arguments.vararg.arg] if arguments.vararg and not positional else []
    return positional[:needed], [*positional[needed:], *vararg]
