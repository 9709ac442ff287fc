"""The npm package greenroom-client: what is in it, how large it is, and that the frameworks can use it."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import tarfile
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from _processes import PATIENCE
from _requires import require
from web.node import HERE
from web.packed import WEB, bundled, installed, packed, printed

if TYPE_CHECKING:
    from pathlib import Path

TREE = HERE.parents[1]
PACKAGE: dict[str, Any] = json.loads((WEB / "package.json").read_text())
MODULES = ("greenroom", "store", "shared", "react", "vue", "svelte", "copilotkit")
CORE_BYTES = 6 * 1024
"""Limit of greenroom.js as a page gets it: minified and compressed."""

pytestmark = pytest.mark.timeout(300)  # npm and esbuild are programs, and the machine may be busy


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the package and the frameworks are installed."""
    return installed(tmp_path_factory, "application")


def test_files_of_the_package(tmp_path: Path) -> None:
    """The tarball has the modules, their types, the guide and the license, and nothing else."""
    with tarfile.open(packed(tmp_path)) as tar:
        names = {name.removeprefix("package/") for name in tar.getnames()}
    names_of_modules = {*MODULES, "fallback"}  # greenroom.js imports it by its relative path: it is no entry
    modules = {file for name in names_of_modules for file in (f"{name}.js", f"types/{name}.d.ts")}
    assert names == modules | {"package.json", "README.md", "GUIDE.md", "LICENSE"}


@pytest.mark.parametrize("page", ["README.md", "GUIDE.md"])
def test_links_of_the_package(page: str) -> None:
    """Documents of the package link to files of the package only. *On its page in a registry, others lead nowhere.*"""
    targets = re.findall(r"\]\(<?([^)#\s>]*)[^)]*\)", (WEB / page).read_text("utf-8"))
    files = {target for target in targets if target and not target.startswith("https://")}
    assert files <= {*PACKAGE["files"], "README.md", "LICENSE"}


def test_metadata_of_the_package() -> None:
    """The package has the project's version, license and no dependency. It is private: the owner decides to publish."""
    project = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
    assert PACKAGE["version"] == project["version"]
    assert (WEB / "LICENSE").read_text() == (TREE / "LICENSE").read_text()
    assert "dependencies" not in PACKAGE
    assert set(PACKAGE["peerDependenciesMeta"]) == set(PACKAGE["peerDependencies"])
    assert PACKAGE["private"] is True


def test_every_export_exists() -> None:
    """Each entry of ``exports`` names a module and its types, and each module is an entry."""
    entries = {name: value for name, value in PACKAGE["exports"].items() if name != "./package.json"}
    assert entries == {
        "." if name == "greenroom" else f"./{name}": {"types": f"./types/{name}.d.ts", "default": f"./{name}.js"}
        for name in MODULES
    }
    paths = [path for entry in entries.values() for path in entry.values()]
    assert [path for path in paths if not (WEB / path).is_file()] == []


def test_install_of_the_folder(tmp_path: Path) -> None:
    """``npm install --install-links`` with the folder of the wheel installs a copy, in which ``react`` can be found.

    Without the option npm makes a link, and React is looked for beside the wheel.
    """
    (tmp_path / "package.json").write_text("{}")
    command = [require("npm"), "install", "--install-links", "--offline", "--no-audit", "--no-fund", str(WEB)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert run.returncode == 0, run.stderr
    copy = tmp_path / "node_modules" / "greenroom-client"
    assert not copy.is_symlink()
    assert (copy / "react.js").read_bytes() == (WEB / "react.js").read_bytes()


def test_size_of_the_core(folder: Path) -> None:
    """``greenroom.js`` is at most 6 KiB, minified and compressed, without what it loads when it is needed."""
    bundled(folder, WEB / "greenroom.js", folder / "core.js", "--minify", "--external:./*")
    assert len(gzip.compress((folder / "core.js").read_bytes(), 9)) <= CORE_BYTES


def test_react_on_a_server(folder: Path) -> None:
    """React renders a component on a server: the snapshot is empty, ``select`` is applied, and no socket is opened."""
    assert printed(folder, "react_server.mjs") == {"html": "<p>connecting 0</p>", "sockets": 0}


def test_vue(folder: Path) -> None:
    """Two components share a socket. The refs follow the events, the selection and the options; unmounting closes."""
    told = printed(folder, "vue_app.mjs")
    assert told["server"] == {"html": "<p>0</p>", "sockets": 0}
    assert told["mounted"] == {"sockets": 1, "texts": ["a", "a"], "count": 1}
    assert told["other"] == {"sockets": 2, "texts": ["a", "z"]}
    assert told["selected"] == 1
    assert told["left"] == [True, True]


def test_svelte(folder: Path) -> None:
    """The store keeps the contract of Svelte: ``get``, ``derived``, and nothing is opened on a server."""
    told = printed(folder, "svelte_app.mjs")
    assert told["server"] == {"html": "<p>0</p>", "sockets": 0}
    assert told["get"] == {"state": "connecting", "sockets": 0}
    assert told["derived"] == [0, 1]
    assert told["sockets"] == 1
    assert told["left"] is True
