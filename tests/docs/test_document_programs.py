"""The programs and terminal sessions of the documents print the output that the documents show."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from docs.documents import blocks, document, guides
from docs.sections import before, name_of, run_section, sections
from docs.shell import matches, steps

from transport.settings import DEFAULT_HTTP_PORT, DEFAULT_PORT

if TYPE_CHECKING:
    from pathlib import Path

FILES = ("python", "js", "html", "toml", "ini")
"""Languages of the blocks that are files."""
PROXIES = ("nginx", "caddyfile", "haproxy")
"""Languages of the blocks that are configurations of a proxy."""
COMPONENTS = ("jsx", "vue", "svelte")
"""Languages of the blocks that are components of a page: tests/web and tests/browser compile them, and run some."""
RUNTIMES = ("ts",)
"""Languages of the blocks that the soak of tests/web/test_copilotkit_runner.py runs."""
CHECKED = (*FILES, *PROXIES, *COMPONENTS, *RUNTIMES, "text", "console", "sh")
"""Languages of the blocks that some test runs: see the tests below, and the other files of this folder."""


@pytest.mark.timeout(300)  # a section starts about five processes, and the machine may be busy
@pytest.mark.parametrize(("path", "section"), sections(servers=False), ids=name_of)
def test_programs_of_a_section(path: str, section: str, tmp_path: Path, programs: str) -> None:
    """When the programs and terminal sessions of a document are run, they print the output that the document shows.

    The sections with servers are in test_document_servers.py.
    """
    run_section(tmp_path, path, section, programs)


def test_each_block_is_of_a_language_that_tests_check() -> None:
    """Each block of a document is in a language that the tests know, so no block stays unchecked."""
    strange = [block.place for guide in guides() for block in guide.blocks if block.language not in CHECKED]
    assert strange == []


def test_each_code_block_is_a_file() -> None:
    """The first line of each code block names its file, so that tests can run the block.

    No two blocks of one document have the same file name.
    """
    named = [(block.document, block.name) for block in blocks(*FILES)]
    assert [block.place for block in blocks(*FILES) if not block.name] == []
    assert len(set(named)) == len(named)


def test_proxies_reach_the_default_ports() -> None:
    """The example of each proxy names both default ports, and sets only headers that the server or HTTP reads."""
    examples = blocks(*PROXIES)
    assert {block.language for block in examples} == set(PROXIES)
    for block in examples:
        assert block.text.count("{") == block.text.count("}")
        assert set(re.findall(r"127\.0\.0\.1:(\d+)", block.text)) == {str(DEFAULT_PORT), str(DEFAULT_HTTP_PORT)}
        headers = {name.lower() for name in re.findall(r"proxy_set_header ([\w-]+)", block.text)}
        assert headers - {"host", "upgrade", "connection"} <= {"forwarded", "x-forwarded-for", "x-forwarded-proto"}


def test_each_output_follows_its_program() -> None:
    """Directly above each block of output is the Python program that prints it.

    A terminal session begins with a command.
    """
    lost = [block.place for block in blocks("text") if before(block).language != "python"]
    lost += [block.place for block in blocks("console") if not block.text.startswith("$ ")]
    assert lost == []


def test_output_is_compared() -> None:
    """No expected output of a document is only ``…``, since any output would match it."""
    shown = [list(step.output) for block in blocks("console") for step in steps(block.text)]
    shown += [block.text.splitlines() for block in blocks("text")]
    assert [lines for lines in shown if lines and set("".join(lines)) == {"…"}] == []


def test_each_program_is_run() -> None:
    """Each Python or JavaScript program in a document is used in this document, so that a test runs it.

    The output of the program follows, or a command of a terminal session names the program, or another program uses it.
    """
    idle: list[str] = []
    for block in blocks("python", "js"):
        every = document(block.document).blocks
        following = every[every.index(block) + 1 :][:1]
        stem = block.name.rpartition(".")[0]
        commands = " ".join(step.command for each in every if each.language == "console" for step in steps(each.text))
        code = "\n".join(each.text for each in every if each.language in FILES and each is not block)
        followed = block.language == "python" and [each.language for each in following] == ["text"]
        used = re.search(rf"\b(from {stem} import|import {stem}\b)|[\"'/]{re.escape(block.name)}[\"']", code)
        if not (followed or used or re.search(rf"\b{stem}\b", commands)):
            idle.append(block.place)
    assert idle == []


def test_length_of_the_example() -> None:
    """The README's example server has at most 20 lines."""
    (app,) = (block for block in document("README.md").blocks if block.name == "app.py")
    lines = [line for line in app.text.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 20
    assert "@app.agent" in app.text


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        (["a", "b"], ["a", "b"], True),
        (["a"], ["a", "b"], False),
        (["a", "…"], ["a"], True),
        (["a", "…", "d"], ["a", "b", "c", "d"], True),
        (["a … d"], ["a b c d"], True),
        (["a … d"], ["a b c"], False),
        ([], ["a"], False),
        (["a.c"], ["abc"], False),
    ],
)
def test_comparison_of_output(expected: list[str], printed: list[str], *, same: bool) -> None:
    """Output must be equal line by line, except where the document has ``…``."""
    assert matches(expected, printed) is same
