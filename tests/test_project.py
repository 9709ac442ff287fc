"""The rules of the repository: the wheel, the dependencies, the imports, forbidden words, and the public names."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import struct
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import _requires
import pytest
from _shared import shared_wheel
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TREE = Path(__file__).parents[1]
PACKAGES = (TREE / "actors", TREE / "transport")
PROJECT: dict[str, Any] = tomllib.loads((TREE / "pyproject.toml").read_text())
CONSTRAINT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.!+]+)")


def files(*suffixes: str, under: tuple[str, ...] = ("actors", "transport", "tests", "bench")) -> list[Path]:
    """Return the project's files with these endings, without the files that tools leave behind."""
    found = (path for folder in under for path in (TREE / folder).rglob("*") if path.suffix in suffixes)
    return sorted(path for path in found if not {"__pycache__", "node_modules"} & set(path.parts))


def location(path: Path, line: int) -> str:
    """Return the path and line as text, for a message."""
    return f"{path.relative_to(TREE)}:{line}"


def lines_matching(pattern: str, paths: list[Path]) -> list[str]:
    """Return the lines of the files that match the pattern, each with its path and number."""
    rule = re.compile(pattern)
    return [
        f"{location(path, number)}: {line.strip()}"
        for path in paths
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if rule.search(line)
    ]


def imports(path: Path) -> list[tuple[int, str]]:
    """Return the modules that a file imports, each with its line; ``module.name`` for ``from module import name``."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def dependencies_of(distribution: str, extras: frozenset[str] = frozenset()) -> set[str]:
    """Return the names of all packages that are installed with ``distribution[extras]``, that distribution included."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(canonicalize_name(distribution), extras)]
    while waiting:
        item = waiting.pop()
        if item in seen:
            continue
        seen.add(item)
        for requirement in map(Requirement, metadata.requires(item[0]) or []):
            wanted = requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in (item[1] or {""})
            )
            if wanted:
                waiting.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return {str(name) for name, _ in seen}


# The wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the project."""
    return shared_wheel(tmp_path_factory)


def test_wheel_has_every_file(wheel: Path) -> None:
    """The wheel has every file of both packages."""
    everything = {
        path.relative_to(TREE).as_posix()
        for package in PACKAGES
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    everything.remove("transport/demo/screenshot.png")  # a picture for the README
    shipped = set(zipfile.ZipFile(wheel).namelist())
    assert everything <= shipped
    assert {"actors/py.typed", "transport/py.typed"} <= shipped


def test_wheel_has_nothing_else(wheel: Path) -> None:
    """The wheel has only the two packages and its metadata: no tests and no benchmarks."""
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {"actors", "transport", f"greenroom-{PROJECT['project']['version']}.dist-info"}


def test_upload_to_pypi_is_blocked() -> None:
    """The classifier in pyproject.toml makes PyPI refuse an upload."""
    assert "Private :: Do Not Upload" in PROJECT["project"]["classifiers"]


# Versions and dependencies


def test_version_is_written_once() -> None:
    """The version number is written only in pyproject.toml."""
    version = PROJECT["project"]["version"]
    assert metadata.version("greenroom") == version
    assert lines_matching(rf"(?i)version.*[\"']{re.escape(version)}[\"']", files(".py", ".js")) == []


def test_constraints_are_versions() -> None:
    """Every line of constraints.txt is a comment or pins an exact version, as ``name==version``."""
    lines = (TREE / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#") and not CONSTRAINT.fullmatch(line)] == []


def test_constraints_cover_all_dependencies() -> None:
    """Every package that ``make`` installs is in constraints.txt."""
    matches = map(CONSTRAINT.fullmatch, (TREE / "constraints.txt").read_text().splitlines())
    constrained = {str(canonicalize_name(match["name"])) for match in matches if match}
    assert dependencies_of("greenroom", frozenset({"dev"})) - {"greenroom"} - constrained == set()


def test_each_dependency_has_its_reason() -> None:
    """Every dependency in pyproject.toml has a comment that gives the reason for it."""
    text = (TREE / "pyproject.toml").read_text().splitlines()
    bare = [line for line in text if re.match(r"""\s+"[a-z-]+(\[[a-z]+\])?>=[^"]*",\s*$""", line)]
    assert bare == []


@pytest.mark.parametrize("package", ["actors", "transport"])
def test_import_needs_no_optional_dependency(package: str) -> None:
    """Importing one of the two packages loads no optional dependency."""
    program = f"import sys; before = set(sys.modules); import {package}; print(*set(sys.modules) - before)"
    run = subprocess.run([sys.executable, "-c", program], cwd=TREE, check=True, capture_output=True, text=True)
    distributions = metadata.packages_distributions()
    loaded = {
        str(canonicalize_name(distribution))
        for name in run.stdout.split()
        for distribution in distributions.get(name, [])
    }
    assert loaded - dependencies_of("greenroom") == set()


# Imports


def test_transport_uses_only_public_names_of_actors() -> None:
    """``transport`` imports no private names from ``actors``."""
    private = [
        f"{location(path, line)}: {name}"
        for path in files(".py", under=("transport",))
        for line, name in imports(path)
        if name.startswith("actors.") and re.search(r"\._", name)
    ]
    assert private == []


def test_every_package_has_an_exhaustive_contract() -> None:
    """Every package with modules has an import contract that names all of its modules."""
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    exhaustive = {name for contract in contracts if contract.get("exhaustive") for name in contract["containers"]}
    packages = {
        init.parent.relative_to(TREE).as_posix().replace("/", ".")
        for package in PACKAGES
        for init in package.rglob("__init__.py")
        if any(path.name != "__init__.py" for path in init.parent.glob("*.py"))
    }
    assert packages == exhaustive


# Files and words


def test_no_open_todos() -> None:
    """The code has no comments that mark unfinished work."""
    assert lines_matching(r"\b(TO[D]O|FIX[M]E|XX[X]|HA[C]K)\b", files(".py", ".js", ".html", ".css")) == []


ABOUT_600 = 640


def test_logging_goes_through_failures() -> None:
    """Both packages log only through ``actors/failures.py``, which never raises.

    A filter or handler of the application may raise, and the task that logs may serve every client.
    """
    own = {TREE / "actors" / "failures.py"}
    paths = [path for path in files(".py", under=("actors", "transport")) if path not in own]
    assert len(paths) > 50
    assert not lines_matching(r"\blog(ger|ging)\.(log|debug|info|warning|error|exception|critical)\(", paths)


def test_files_are_short() -> None:
    """No file has more than about 600 lines."""
    long = {
        path.name: count for path in files(".py", ".js") if (count := len(path.read_text().splitlines())) > ABOUT_600
    }
    long.pop("greenroom.js", None)  # one module: a page takes one file, without a build step
    assert long == {}


def test_longest_test_files_exist() -> None:
    """Each test file that conftest.py puts first exists: a file that was renamed would come last."""
    (listed,) = re.findall(
        r"^LONGEST = \((.*?)^\)", (TREE / "tests" / "conftest.py").read_text(), re.DOTALL | re.MULTILINE
    )
    names = re.findall(r'"(.+)"', listed)
    assert len(names) > 10
    assert [name for name in names if not (TREE / "tests" / name).exists()] == []


def test_test_files_have_unique_names() -> None:
    """No two test files have the same name.

    Test folders are not packages, so pytest could collect only one of the two.
    """
    names = [path.name for path in files(".py", under=("tests",)) if path.name.startswith("test_")]
    assert sorted(names) == sorted(set(names))


def test_each_ignored_check_has_its_reason() -> None:
    """Every ``noqa``, ``type: ignore`` and ``pragma`` comment gives its reason."""
    directive = r"#\s*(noqa|type: ignore|pyright: ignore|pragma: no cover)"
    scope = r"(:?\s*[A-Z]+[0-9]+,?)*(\[[\w-]+(,\s*[\w-]+)*\])?"
    assert lines_matching(rf"{directive}{scope}\s*$", files(".py")) == []


def test_tests_do_not_sleep() -> None:
    """Tests sleep only with a virtual clock. With a real clock they wait for an event."""
    paths = files(".py", under=("tests",))
    asleep = lines_matching(r"\b(time|asyncio)\.sleep\(|wait_for_[t]imeout\(", paths)
    virtual = r"autojump_clock|MockClock|on_both_loops|IN_VIRTUAL_TIME|VirtualLoop"
    real_time = [path for path in paths if not re.search(virtual, path.read_text())]
    assert asleep + lines_matching(r"\b(trio|anyio)\.sleep\(", real_time) == []


def test_only_a_missing_program_skips_a_test() -> None:
    """Only ``_requires.py`` may skip tests, and only because a program is missing."""
    paths = [path for path in files(".py", under=("tests",)) if path.name != "_requires.py"]
    assert lines_matching(r"pytest\.(mark\.)?(skip|x[f]ail|importorskip)\b(?!\.Exception)", paths) == []


@pytest.mark.parametrize(("mandatory", "outcome"), [(True, pytest.fail.Exception), (False, pytest.skip.Exception)])
def test_missing_program_skips_or_fails(
    monkeypatch: pytest.MonkeyPatch, *, mandatory: bool, outcome: type[BaseException]
) -> None:
    """If a program is missing, its tests are skipped. Where every program is mandatory, its tests fail."""
    monkeypatch.setattr(_requires, "MANDATORY", mandatory)
    with pytest.raises(outcome, match="needs no-such-program"):
        _requires.require("no-such-program")


def test_named_make_targets_exist() -> None:
    """Every make target that is named in the documents or in CI exists."""
    targets = set(re.findall(r"^([a-z-]+):", (TREE / "Makefile").read_text(), re.MULTILINE))
    named: set[str] = set()
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "pyproject.toml"):
        named |= set(re.findall(r"(?:^|`)make ([a-z-]+)", (TREE / name).read_text(), re.MULTILINE))
    for line in re.findall(r"^make (.*)$", (TREE / ".ci" / "run").read_text(), re.MULTILINE):
        named |= {word for word in line.split() if "=" not in word}
    assert named - targets == set()


def test_changelog_format() -> None:
    """The changelog has the headings of "Keep a Changelog", and its first section is Unreleased."""
    text = (TREE / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert versions[0] == "[Unreleased]"
    assert [line for line in versions[1:] if not re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", line)] == []
    kinds = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


# Public names


@pytest.mark.parametrize("package", ["actors", "transport"])
def test_public_names_have_docstrings(package: str) -> None:
    """Every public class and function has a docstring."""
    module = importlib.import_module(package)
    public = [getattr(module, name) for name in module.__all__]
    defined = [thing for thing in public if inspect.isclass(thing) or inspect.isfunction(thing)]
    assert [thing for thing in defined if not thing.__doc__] == []


def test_public_names_are_unchanged() -> None:
    """The public names are exactly the names in public_names.txt."""
    agreed = (TREE / "tests" / "public_names.txt").read_text().split()
    exported = [
        f"{package}.{name}"
        for package in ("actors", "actors.spi", "transport")
        for name in importlib.import_module(package).__all__
    ]
    assert sorted(exported) == agreed


def test_picture_of_the_readme() -> None:
    """The picture for the README is a small PNG file, 1,200 to 1,600 pixels wide. Its height is less than its width."""
    data = (TREE / "transport" / "demo" / "screenshot.png").read_bytes()
    width, height = struct.unpack(">II", data[16:24])
    assert data.startswith(b"\x89PNG")
    assert 1200 <= width <= 1600
    assert height < width
    assert len(data) <= 250_000
