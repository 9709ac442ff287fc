"""The meanings of fields, as the tables of SPEC.md describe them."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

SPEC = Path(__file__).parents[1] / "protocol" / "SPEC.md"

_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")


@lru_cache(1)
def _text() -> str:
    return SPEC.read_text("utf-8")


def section(title: str, *, inside: str = "") -> str:
    """Return the text under the heading ``title``, without the sections under headings of the same level or above.

    Args:
        title: The heading, without its number signs.
        inside: The heading of the section in which the heading is. By default this is the whole document.
    """
    text = section(inside) if inside else _text()
    heading = re.search(rf"^(#+) {re.escape(title)}(?=\n)", text, re.MULTILINE)
    if heading is None:
        raise ValueError(f"SPEC.md has no heading {title!r}")
    rest = text[heading.end() :]
    following = re.search(rf"^#{{1,{len(heading[1])}}} ", rest, re.MULTILINE)
    return rest[: following.start()] if following else rest


def meanings(title: str, *, inside: str = "") -> dict[str, str]:
    """Return the last column of each table row in a section, by the name in the row's first column."""
    found: dict[str, str] = {}
    for line in section(title, inside=inside).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        name = re.fullmatch(r"`([\w.]+)`", cells[0])
        if name is not None and line.startswith("|"):
            found.setdefault(name[1], _LINK.sub(r"\1", cells[-1]))
    return found


def examples(title: str, *, inside: str) -> list[str]:
    """Return the examples of a frame in a section, as JSON."""
    return re.findall(r"^```json\n(.*?)\n```\n", section(title, inside=inside), re.DOTALL | re.MULTILINE)
