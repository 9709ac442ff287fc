"""The npm package greenroom-client, packed as for a registry and unpacked beside the frameworks, without a network."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

from _processes import PATIENCE
from _requires import require
from _shared import made_once
from web.node import HERE, MODULE, node_with_packages

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

WEB = MODULE.parent
PACKAGES = HERE / "node_modules"


def packed(folder: Path) -> Path:
    """Pack the package into a folder, and return the path of the tarball."""
    command = [
        require("npm"),
        "pack",
        str(WEB),
        "--json",
        "--offline",
        "--ignore-scripts",
        "--pack-destination",
        str(folder),
    ]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert run.returncode == 0, run.stderr
    (told,) = json.loads(run.stdout)
    return folder / str(told["filename"])


def installed(folders: pytest.TempPathFactory, name: str) -> Path:
    """Return a new folder with a ``node_modules``: the package, unpacked from its tarball, and links to all others."""
    folder = folders.mktemp(name)
    (folder / "node_modules").symlink_to(made_once(folders, "npm-packages", _install) / "node_modules")
    return folder


def _install(folder: Path) -> None:
    node_with_packages()
    modules = folder / "node_modules"
    modules.mkdir()
    for package in PACKAGES.iterdir():
        (modules / package.name).symlink_to(package.resolve())
    tarball = packed(folder)
    with tarfile.open(tarball) as tar:
        tar.extractall(modules, filter="data")
    (modules / "package").rename(modules / "greenroom-client")


def program(name: str) -> str:
    """Return the path of a program of the packages: ``tsc`` or ``esbuild``."""
    node_with_packages()
    return str(PACKAGES / ".bin" / name)


def printed(folder: Path, script: str) -> Any:
    """Run a script of this folder in Node, in a folder with the package. Return the JSON that it prints."""
    for name in (script, "sockets.mjs"):
        shutil.copy(HERE / name, folder / name)
    return json.loads(printed_by(folder, folder / script))


def printed_by(folder: Path, script: Path) -> str:
    """Run a script in Node, and return its output."""
    command = [require("node"), str(script)]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert run.returncode == 0, run.stderr
    return run.stdout


def bundled(folder: Path, source: Path, target: Path, *options: str) -> None:
    """Bundle a module with all that it imports, as an application does."""
    command = [
        program("esbuild"),
        str(source),
        "--bundle",
        "--format=esm",
        f"--outfile={target}",
        "--log-level=warning",
        *options,
    ]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (run.returncode, run.stderr) == (0, "")
