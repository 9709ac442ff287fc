"""Examples for an entry, as sessions (``>>> …``) that are still to be run.

First the examples that its own docstring, or that of its class, has; then calls made up from its signature with sample
values. None of them is known to work: ``run_example`` decides, and shows what really comes out.
"""

from __future__ import annotations

import ast
import doctest
import re
from typing import TYPE_CHECKING

from transport.demo.samples import LITERALS, OTHER, Sample, sample

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
    """Return the first examples of ``doc`` that name the entry, as one session; nothing when there are none.

    ``names`` are those of the module: an example uses them as they are, so they are imported in front.
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
    """Statements as they are typed at the prompt, each once."""
    shown: list[str] = []
    for statement in dict.fromkeys(statement.rstrip("\n") for statement in statements):
        first, *rest = statement.split("\n")
        shown += [f">>> {first}", *(f"... {line}" for line in rest)]
    return "\n".join(shown)


def from_signature(module: str, name: str, kind: str, signature: str, class_signature: str = "") -> Iterator[str]:
    """Make calls with sample values, each a session, the plainest first; none where a value would be anyone's guess.

    ``class_signature`` is that of the class, for a method. A call that changes its argument gives nothing, so the
    second session shows the argument; one that gives an iterator shows little, so the last makes a list of it.
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
    """Return the call as an expression, and what has to run before it."""
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
    """``date(2024, 2, 29) - date(2024, 1, 1)``."""
    second = sign and _applied(f"{module}.{owner}", _arguments(module, owner, signature, other=True))
    return (f"{left[0]} {sign} {second[0]}", [*left[1], *second[1]]) if second else None


def _applied(function: str, values: list[Sample] | None) -> tuple[str, list[str]] | None:
    if values is None:
        return None
    return f"{function}({', '.join(value.expression for value in values)})", [
        line for value in values for line in value.before
    ]


def _arguments(module: str, name: str, signature: str, *, other: bool = False) -> list[Sample] | None:
    """Return a sample for each parameter that is needed, else for the first one; None where one is not known."""
    parameters = _parameters(signature)
    if parameters is None:
        return None
    required, optional = parameters
    values = [(other and OTHER.get(parameter)) or sample(module, name, parameter) for parameter in required]
    if not values and optional:
        first = (other and OTHER.get(optional[0])) or sample(module, name, optional[0])
        values = [first] if first else []
    known = [value for value in values if value]
    return known if len(known) == len(values) else None


def _parameters(signature: str) -> tuple[list[str], list[str]] | None:
    """Return the names of the parameters that are needed and of the others; None for what is not a signature."""
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
