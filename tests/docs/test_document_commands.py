"""The commands in the documents exist, with their options, targets and extras."""

from __future__ import annotations

import argparse
import re
import shlex
import tomllib
from typing import Any

import pytest
from docs.documents import TREE, blocks, document, guides
from docs.shell import steps

from transport.cli._main import _parser

PROJECT: dict[str, Any] = tomllib.loads((TREE / "pyproject.toml").read_text())
EXTRAS = set(PROJECT["project"]["optional-dependencies"])
TARGETS = set(re.findall(r"^([a-z]+):", (TREE / "Makefile").read_text(), re.MULTILINE))
WHEEL = f"dist/greenroom-{PROJECT['project']['version']}-py3-none-any.whl"
FOR_DEVELOPERS = {"bench", "dev"}


def commands() -> list[tuple[str, str]]:
    """Return the commands that no test runs, with their places."""
    return [(block.place, line) for block in blocks("sh") for line in block.text.splitlines()]


def subcommands() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command of ``greenroom``, by its name."""
    actions = _parser()._actions  # noqa: SLF001 - argparse has no public way to its subparsers
    (choices,) = (action.choices for action in actions if isinstance(action, argparse._SubParsersAction))  # noqa: SLF001 - as above
    found: dict[str, argparse.ArgumentParser] = dict(choices)
    return found


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """Return the options of a parser."""
    return {option for action in parser._actions for option in action.option_strings}  # noqa: SLF001 - as above


def check_make(words: list[str]) -> None:
    assert set(words) <= TARGETS


def check_pip(words: list[str]) -> None:
    assert words[0] == "install"
    wheel, _, extras = words[1].partition("[")
    assert wheel == WHEEL
    assert not extras or set(extras.removesuffix("]").split(",")) <= EXTRAS - FOR_DEVELOPERS


def check_greenroom(words: list[str]) -> None:
    _parser().parse_args(words)


def check_python(words: list[str]) -> None:
    script = TREE / words[0]
    assert script.is_file()
    text = "".join(path.read_text() for path in script.parent.glob("*.py"))
    assert [word for word in words[1:] if word.startswith("--") and f'"{word}"' not in text and word != "--help"] == []


def check_npm(words: list[str]) -> None:
    assert words[:2] == ["install", "--install-links"]  # tests/web/test_package.py runs it


PROGRAMS = {
    "make": check_make,
    "npm": check_npm,
    "pip": check_pip,
    "greenroom": check_greenroom,
    "python": check_python,
}


@pytest.mark.parametrize(("place", "line"), commands())
def test_commands_exist(place: str, line: str) -> None:
    """If a document shows a command that no test runs, the command's program, target, extra, file and options exist."""
    program, *words = shlex.split(line)
    PROGRAMS[program](words)


@pytest.mark.parametrize("guide", guides(), ids=lambda guide: guide.path)
def test_named_options_exist(guide: Any) -> None:
    """Every option that the text of a document names is an option of ``greenroom`` or of a benchmark script."""
    known = options_of(_parser()).union(*map(options_of, subcommands().values()))
    scripts = "".join(path.read_text() for path in (TREE / "bench").glob("*.py"))
    named = set(re.findall(r"`[^`]*?(?<![\w-])(--[a-z][a-z-]+)", guide.prose))
    assert [option for option in named if option not in known and f'"{option}"' not in scripts] == []


@pytest.mark.parametrize("guide", guides(), ids=lambda guide: guide.path)
def test_named_commands_exist(guide: Any) -> None:
    """Every ``greenroom`` command and ``make`` target that the text of a document names exists."""
    assert set(re.findall(r"`greenroom ([a-z]+)", guide.prose)) <= set(subcommands())
    assert set(re.findall(r"`make ([a-z]+)", guide.prose)) <= TARGETS


def test_every_command_is_described() -> None:
    """transport/cli/GUIDE.md has one row for each command of ``greenroom``.

    CONTRIBUTING.md describes each target of ``make`` except ``help``.
    """
    table = document("transport/cli/GUIDE.md").table("Commands")
    rows = [re.findall(r"^`greenroom ([a-z]+)", row[0])[0] for row in table if row[0].startswith("`greenroom")]
    assert rows == list(dict.fromkeys(rows))
    assert set(rows) == set(subcommands())
    targets = set(re.findall(r"`make ([a-z]+)", document("CONTRIBUTING.md").section("Contribute")))
    assert targets == TARGETS - {"help"}


def test_every_extra_is_described() -> None:
    """The README has a row for each extra, except those for developers."""
    table = document("README.md").table("Install")
    assert {row[0].strip("`") for row in table} - {"none"} == EXTRAS - FOR_DEVELOPERS


def test_sessions_use_known_programs() -> None:
    """A terminal session in a document uses only programs that every reader has, or that come with Greenroom."""
    known = {"greenroom", "python", "node", "uvicorn", "cp", "echo"}
    found = {
        re.sub(r"^(\w+=\S+ )*", "", step.command).split()[0]
        for block in blocks("console")
        for step in steps(block.text)
    }
    assert found <= known
