"""The project's documents as values: their sections, their blocks of code, their links."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

import actors

if TYPE_CHECKING:
    from collections.abc import Iterator

TREE = Path(__file__).parents[2]
# Where the two packages are: in the tree, or where the wheel was installed.
_PACKAGES = Path(actors.__file__).parents[1]
_FENCE = re.compile(r"(`{3,})(\w*)\s*")
_NAME = re.compile(r"(?:#|//|<!--|;) ([\w./-]+\.\w+)\b")

NEW_USERS_SESSIONS = (("README.md", "An agent server in 20 lines"), ("transport/cli/GUIDE.md", "Start and stop"))
"""Document and section of the terminal sessions that test_new_users.py carries out where the wheel is installed."""
NEW_USERS_PAGES = ("README.md", "transport/cli/GUIDE.md")
"""Documents with the pages that test_new_users.py visits."""


@attrs.frozen
class Block:
    """A fenced block of a document."""

    document: str
    """Path of the document, from the top of the project."""
    section: str
    """Title of the section of the second level that the block is in."""
    line: int
    """Number of the line on which the block begins."""
    language: str
    """Language that the fence names."""
    text: str
    """Text between the fences."""

    @property
    def name(self) -> str:
        """Name of the file that the block is, from the comment in its first line. Empty if there is none."""
        found = _NAME.match(self.text)
        return found[1] if found else ""

    @property
    def place(self) -> str:
        """Document and line, as an editor takes them."""
        return f"{self.document}:{self.line}"


@attrs.frozen
class Document:
    """A document: its path and its text."""

    path: str
    text: str

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The fenced blocks, in order."""
        return tuple(_blocks(self.path, self.text))

    @property
    def prose(self) -> str:
        """The text without its fenced blocks."""
        lines = self.text.splitlines()
        for block in self.blocks:
            begin, count = block.line - 1, len(block.text.splitlines()) + 2
            lines[begin : begin + count] = [""] * count
        return "\n".join(lines)

    def section(self, title: str) -> str:
        """Return the text below a heading, up to the next heading of its level or a higher one."""
        heading = re.search(rf"^(#+) {re.escape(title)}$", self.prose, re.MULTILINE)
        assert heading is not None, f"{self.path} has no section {title!r}"
        rest = self.prose[heading.end() :]
        following = re.search(rf"^#{{1,{len(heading[1])}}} ", rest, re.MULTILINE)
        return rest[: following.start()] if following else rest

    def table(self, title: str) -> list[list[str]]:
        """Return the cells of the only table in a section, row by row, without its head."""
        rows = [line for line in self.section(title).splitlines() if line.startswith("|")]
        assert len(rows) > 2, f"{self.path} has no table below {title!r}"
        return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip()[1:-1])] for row in rows[2:]]


def _blocks(path: str, text: str) -> Iterator[Block]:
    section, fence, language, begin = "", "", "", 0
    inside: list[str] = []
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        opened = _FENCE.fullmatch(line)
        if fence and line.strip() == fence:
            yield Block(path, section, begin, language, "".join(inside))
            fence = ""
        elif fence:
            inside.append(line)
        elif opened:
            fence, language, begin, inside = opened[1], opened[2], number, []
        elif line.startswith("## "):
            section = line[3:].strip()
    assert not fence, f"{path}:{begin}: this block has no end"


def locate(path: str) -> Path:
    """Return the place of a file of the project. The given path begins at the top of the project."""
    top = _PACKAGES if path.split("/", maxsplit=1)[0] in {"actors", "transport"} else TREE
    return top / path


def left_out() -> set[str]:
    """Return the files of the packages that are not there if the packages are those of a wheel."""
    wheel = tomllib.loads((TREE / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    return set() if _PACKAGES == TREE else {path.lstrip("/") for path in wheel.get("exclude", [])}


@cache
def document(path: str) -> Document:
    """Return the document with this path, from the top of the project."""
    return Document(path, locate(path).read_text("utf-8"))


def pages() -> list[Document]:
    """Return every page of the project that is written in Markdown, except files that tools leave behind."""
    found = {path.name for path in TREE.glob("*.md")}
    for folder in ("actors", "transport", "bench", "tests"):
        top = locate(folder)
        files = (path for path in top.rglob("*.md") if not {"node_modules", "__pycache__"} & set(path.parts))
        found |= {f"{folder}/{path.relative_to(top).as_posix()}" for path in files}
    return [document(path) for path in sorted(found)]


def guides() -> list[Document]:
    """Return the README, the page for contributors, every chapter, and the tutorial."""
    names = {"README.md", "CONTRIBUTING.md"}
    return [page for page in pages() if page.path in names or page.path.endswith(("/GUIDE.md", "/TUTORIAL.md"))]


def blocks(*languages: str) -> list[Block]:
    """Return the blocks in these languages, of all guides."""
    return [block for guide in guides() for block in guide.blocks if block.language in languages]
