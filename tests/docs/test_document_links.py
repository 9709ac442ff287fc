"""The links of the documents lead somewhere, and the tests that they cite exist."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import pytest
from docs.documents import TREE, document, guides, left_out, locate, pages

LINK = re.compile(r"(?<!\\)!?\[[^\]]*\]\(<?([^)\s>]+)>?\)")
DEFINED = re.compile(r"^\[(\^?[^\]]+)\]: <?([^\s>]+)>?", re.MULTILINE)
REFERENCE = re.compile(r"\[[^\]\[]+\]\[([^\]]+)\]|\[(\^[\w-]+)\](?!:)")
CITED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
PAGES = [page.path for page in pages()]


def prose(path: str) -> str:
    """Return a page without its blocks and without its code in lines."""
    return re.sub(r"`[^`\n]+`", "", document(path).prose)


def links(path: str) -> list[str]:
    """Return the targets of all links of a page, of footnotes too."""
    text = prose(path)
    return LINK.findall(text) + [target for _, target in DEFINED.findall(text) if not target.startswith("|")]


def anchors(path: str) -> set[str]:
    """Return the anchors of a page, as GitHub makes them of its headings."""
    found: list[str] = []
    for title in re.findall(r"^#+ (.*)$", document(path).prose, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")
        again = sum(slug == re.sub(r"-\d+$", "", other) for other in found)
        found.append(f"{slug}-{again}" if again else slug)
    return set(found)


@pytest.mark.parametrize("path", PAGES)
def test_links_lead_somewhere(path: str) -> None:
    """If a page links to a file or a heading of the project, this file or heading exists."""
    broken: list[str] = []
    for link in links(path):
        if urlsplit(link).scheme:
            continue
        file, _, anchor = link.partition("#")
        parts: list[str] = []
        for part in PurePosixPath(path).parent.joinpath(file).parts if file else PurePosixPath(path).parts:
            parts = parts[:-1] if part == ".." else [*parts, part]
        target = "/".join(parts)
        if target in left_out():
            continue
        if not locate(target or ".").exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("path", PAGES)
def test_external_links_are_well_formed(path: str) -> None:
    """Each link of a page to another site is an https address with a host."""
    found = [urlsplit(link) for link in links(path) if urlsplit(link).scheme]
    assert [each.geturl() for each in found if each.scheme != "https" or "." not in (each.hostname or "")] == []


@pytest.mark.parametrize("path", PAGES)
def test_references_are_defined(path: str) -> None:
    """Each reference and footnote that a page uses is defined once on this page.

    Each reference or footnote that a page defines is also used there.
    """
    text = prose(path)
    names = [name for name, _ in DEFINED.findall(text)]
    used = {first or second for first, second in REFERENCE.findall(text)}
    assert len(set(names)) == len(names)
    assert used == set(names)


@pytest.mark.parametrize("path", PAGES)
def test_cited_tests_exist(path: str) -> None:
    """Every test that a page cites exists."""
    absent: list[str] = []
    for file, test in CITED.findall(document(path).text):
        place = TREE / file
        rule = rf"^\s*(async )?def {test}\(" if test else ""
        if not place.is_file() or not re.search(rule, place.read_text("utf-8"), re.MULTILINE):
            absent.append(f"{file}::{test}")
    assert absent == []


def test_each_promise_has_its_test() -> None:
    """Every row of a table of promises cites one test."""
    tables = [guide for guide in guides() if "\n## Promises" in guide.text]
    assert len(tables) >= 3
    bare = [
        row[0]
        for guide in tables
        for title in re.findall(r"^#+ (Promises.*)$", guide.prose, re.MULTILINE)
        for row in guide.table(title)
        if not re.fullmatch(r"`tests/[\w/]+\.py::\w+`", row[1])
    ]
    assert bare == []


def test_length_of_the_readme() -> None:
    """The README has at most 200 lines."""
    assert len(document("README.md").text.splitlines()) <= 200


def test_readme_leads_to_every_chapter() -> None:
    """The README links to each chapter.

    In each folder with a chapter (GUIDE.md), the README.md of the folder links to this chapter.
    """
    linked = set(links("README.md"))
    chapters = [guide.path for guide in guides() if guide.path != "README.md"]
    assert [path for path in chapters if path not in linked] == []
    rooms = [path.removesuffix("GUIDE.md") + "README.md" for path in chapters if path.endswith("GUIDE.md")]
    assert [path for path in rooms if "GUIDE.md" not in links(path)] == []
