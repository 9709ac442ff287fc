"""Environments as users have them: the wheel of the project, with the packages of chosen extras and no others.

No network is used. The wheel is built from the tree. The packages that it needs are links to those of the environment
in which the tests run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email import message_from_bytes
from importlib import metadata
from pathlib import Path

import attrs
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TREE = Path(__file__).parents[1]


def build_wheel(folder: Path) -> Path:
    """Build the wheel of the project in ``folder`` and return its path."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=TREE, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@attrs.frozen
class Environment:
    """A virtual environment with the wheel."""

    folder: Path

    def command(self, *arguments: str) -> list[str]:
        """Return a command line of this environment: a program of its ``bin`` folder, and its arguments."""
        program, *rest = arguments
        return [str(self.folder / "bin" / program), *rest]

    def run(self, folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command of this environment in ``folder``, and return its result."""
        command = self.command(*arguments)
        clean = clean_environment() | variables
        return subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, timeout=120, check=False)


def clean_environment() -> dict[str, str]:
    """Return the environment variables of this process, except for the variables of Python and Greenroom."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GREENROOM_"))}


def make_environment(folder: Path, wheel: Path, *extras: str) -> Environment:
    """Make a virtual environment with the wheel, its dependencies and those of the extras, and nothing else."""
    venv.create(folder, symlinks=True)
    versions = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", versions))
    for name in _needed(wheel, extras):
        _link(metadata.distribution(name), packages)
    python = str(folder / "bin" / "python")
    install = ["install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, *install, str(wheel)], check=True)
    return Environment(folder)


def _needed(wheel: Path, extras: tuple[str, ...]) -> set[str]:
    """Return the names of all distributions that pip would install beside the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        required = message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])
    found: set[str] = set()
    waiting = [(requirement, frozenset(extras)) for requirement in map(Requirement, required)]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement, chosen = waiting.pop()
        marker = requirement.marker
        if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in (chosen or {""})):
            continue
        item = str(canonicalize_name(requirement.name)), frozenset(requirement.extras)
        if item not in seen:
            seen.add(item)
            found.add(item[0])
            inner = map(Requirement, metadata.requires(item[0]) or [])
            waiting += [(each, item[1]) for each in inner]
    return found


def _link(distribution: metadata.Distribution, packages: Path) -> None:
    """Link the files and folders of a distribution into the folder of packages of another environment."""
    tops = {Path(str(file)).parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
    for top in tops:
        link = packages / top
        if not link.exists():
            link.symlink_to(Path(str(distribution.locate_file(top))))
