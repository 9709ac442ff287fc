"""The sections of the documents with programs and terminal sessions, for the tests that carry them out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docs.documents import NEW_USERS_SESSIONS, Block, blocks, document
from docs.shell import matches, steps, terminal

if TYPE_CHECKING:
    from pathlib import Path


def sections(*, servers: bool) -> list[tuple[str, str]]:
    """Return each section with a terminal session, or with a program and its output: those with or without a server.

    The sessions of new users are in test_new_users.py, where the wheel is installed.
    """
    found = dict.fromkeys((block.document, block.section) for block in blocks("text", "console"))
    with_output = {(block.document, block.section) for block in blocks("text")}
    with_server = {
        (block.document, block.section)
        for block in blocks("console")
        if any(step.is_server for step in steps(block.text))
    }
    tested = [section for section in found if section not in NEW_USERS_SESSIONS or section in with_output]
    return [section for section in tested if (section in with_server) is servers]


def name_of(value: str) -> str:
    """Return the name of a document or section in the name of its test."""
    return value.removesuffix("/GUIDE.md")


def before(block: Block) -> Block:
    """Return the block before this one in its document."""
    every = document(block.document).blocks
    return every[every.index(block) - 1]


def run_section(folder: Path, path: str, section: str, programs: str) -> None:
    """Run the programs and terminal sessions of a section in a folder, and compare what they print."""
    with terminal(folder, path, programs) as own:
        for block in document(path).blocks:
            if block.section != section:
                continue
            if block.language == "text":
                printed = own.program(before(block))
                assert matches(block.text.splitlines(), printed), f"{block.place}\n" + "\n".join(printed)
            elif block.language == "console" and (path, section) not in NEW_USERS_SESSIONS:
                own.run(block)
