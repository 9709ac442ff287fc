"""Example sessions (``>>> …``) for a name: written by hand in ``data/uses.txt``, or taken from its docstring.

None of the sessions was run yet: the tool ``run_example`` shows the real output.
"""

import doctest
import re
from collections.abc import Iterable

from transport.demo.entry import DATA, Entry

MAX_STATEMENTS = 5
_USES = re.findall(
    r"^\[(.*)\] (.*)\n((?:(?:>>>|\.\.\.).*\n)*)", (DATA / "uses.txt").read_text(encoding="utf-8"), re.MULTILINE
)
USES: dict[str, str] = {name: uses for name, uses, _ in _USES}
"""The uses of the most popular names, in the words of a question."""

SESSIONS: dict[str, str] = {name: session for name, _, session in _USES if session}
"""Example sessions, by the name of the function or class that each one shows."""

_WORD = re.compile(r"\b[A-Za-z_]\w*\b")


def examples(entry: Entry, names: Iterable[str]) -> list[str]:
    """Return example sessions for ``entry``, the one most likely to work first: last those of a method's class.

    Args:
        entry: The entry.
        names: All names of the entry's module.
    """
    owner = entry.symbol.rpartition(".")[0]
    sessions = (SESSIONS.get(entry.symbol, ""), from_docstring(entry, names), SESSIONS.get(owner, ""))
    return [session for session in sessions if session]


def from_docstring(entry: Entry, names: Iterable[str]) -> str:
    """Return the first examples of a docstring as one session, or an empty string if none of them uses the entry.

    Examples in docstrings use the names of their module without the module, so the session imports them first.
    """
    try:
        found = doctest.DocTestParser().get_examples(entry.doc)
    except ValueError:  # a prompt without its space, or examples that are badly indented
        return ""
    chosen = [re.sub(r"[ \t]*# *doctest:.*", "", each.source) for each in found[:MAX_STATEMENTS] if not each.exc_msg]
    words = {word for statement in chosen for word in _WORD.findall(statement)}
    if entry.name.rpartition(".")[2] not in words:
        return ""
    used = sorted(words & {name.partition(".")[0] for name in names})
    imports = [f"from {entry.module} import {', '.join(used)}"] if used and entry.module != "builtins" else []
    imports += [f"import {entry.module}"] if any(f"{entry.module}." in statement for statement in chosen) else []
    lines = (statement.rstrip("\n").replace("\n", "\n... ") for statement in [*imports, *chosen])
    return "".join(f">>> {line}\n" for line in dict.fromkeys(lines))
