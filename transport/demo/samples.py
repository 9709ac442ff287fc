"""Values and sessions written by hand, from ``data/``: sample arguments for calls, and example sessions."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import attrs

DATA = Path(__file__).with_name("data")


@attrs.frozen
class Sample:
    """An expression, and the statements that run before it: imports, or files that it needs."""

    expression: str
    before: tuple[str, ...] = ()


_TABLES: dict[str, Any] = tomllib.loads((DATA / "samples.toml").read_text(encoding="utf-8"))

LITERALS: dict[str, str] = _TABLES["literals"]
"""Values of classes that are written as literals instead of constructed."""

USAGES: dict[str, str] = dict(
    re.findall(r"^\[(.*)\]\n((?:>>>.*\n|\.\.\..*\n)+)", (DATA / "usages.txt").read_text(encoding="utf-8"), re.MULTILINE)
)
"""Example sessions, by the name of the function or class that each one shows."""


def sample(module: str, name: str, parameter: str, *, second: bool = False) -> Sample | None:
    """Return the value for a parameter of ``module.name``, found by its most specific key, or None.

    ``second`` asks for the value of a second operand.
    """
    if second and parameter in _TABLES["second"]:
        return Sample(_TABLES["second"][parameter])
    owner = name.rpartition(".")[0]
    for key in (f"{module}.{name}:{parameter}", f"{module}.{owner}:{parameter}", f"{module}:{parameter}", parameter):
        match _TABLES["samples"].get(key):
            case None:
                continue
            case [expression, setup]:
                return Sample(expression, tuple(_TABLES["setup"][setup]))
            case expression:
                return Sample(expression)
    return None
