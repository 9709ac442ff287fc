"""The examples with frameworks run as they stand: each in an empty folder, in an environment with its own packages."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from _scale import SOAK, scaled
from _wheel import build_wheel, clean_environment
from docs.documents import Block, document
from docs.shell import matches, steps

EXAMPLES = document("transport/hosting/EXAMPLES.md")
SHELLS = [block for block in EXAMPLES.blocks if block.language == "sh"]
SECTIONS = [block.section for block in SHELLS]
"""The examples. The first one needs only packages that the tests have, and always runs. The others are for the soak."""
LONGEST = 40
"""Maximum number of lines of an example."""


def in_section(section: str, language: str) -> list[Block]:
    """Return the blocks of an example in one language."""
    return [block for block in EXAMPLES.blocks if (block.section, block.language) == (section, language)]


def install(section: str, folder: Path) -> Path:
    """Make an environment with the packages that an example names, and return its Python."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    (block,) = in_section(section, "sh")
    pip, install, *packages = shlex.split(block.text)
    assert (pip, install) == ("pip", "install")
    ours = f"{build_wheel(folder)}[hosting]"
    wanted = [ours if package == "greenroom[hosting]" else package for package in packages]
    assert ours in wanted
    subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
    return python


@pytest.mark.timeout(scaled(200, 1_800))  # the soak installs packages
@pytest.mark.parametrize("section", SECTIONS[: scaled(1, len(SECTIONS))])
def test_example(section: str, tmp_path: Path) -> None:
    """An example prints the events that the document shows."""
    python = install(section, tmp_path / "environment") if SOAK else Path(sys.executable)
    folder = tmp_path / "example"
    folder.mkdir()
    for block in EXAMPLES.blocks:
        if block.name:
            (folder / block.name).write_text(block.text, "utf-8")
    (session,) = in_section(section, "console")
    (step,) = steps(session.text)
    program, *arguments = shlex.split(step.command)
    assert program == "python"
    # A test that is run in the tree imports the tree; one that has an environment of its own imports the wheel.
    path = {} if SOAK else {"PYTHONPATH": os.pathsep.join(sys.path[1:])}
    done = subprocess.run(
        [python, *arguments], cwd=folder, env=clean_environment() | path, capture_output=True, text=True, check=False
    )
    printed = done.stdout.splitlines()
    assert matches(list(step.output), printed), f"{session.place}\n{done.stdout}\n{done.stderr}"


def test_examples_are_short() -> None:
    """Each program of an example has at most 40 lines."""
    long = [block.place for block in EXAMPLES.blocks if block.language == "python" and block.text.count("\n") > LONGEST]
    assert long == []


def test_examples_are_pinned() -> None:
    """Each example names the version of its framework, so that a new version cannot break it unseen."""
    loose = {"greenroom[hosting]", "uvicorn"}
    assert len(SHELLS) == 5
    for block in SHELLS:
        packages = [package for package in shlex.split(block.text)[2:] if package not in loose]
        assert [package for package in packages if "==" not in package] == []
        assert len(packages) == 2


def test_example_is_a_web_application() -> None:
    """Each example makes its web application in the same way: a lifespan, a mount, and agents on asyncio."""
    for section in SECTIONS:
        text = in_section(section, "python")[-1].text
        for line in ('app = Greenroom(log="memory:", agents="asyncio")', "api = FastAPI(lifespan=lifespan(app))"):
            assert line in text
        assert 'mount(api, "/ws", app' in text
