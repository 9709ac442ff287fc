"""The rules for the code of the two packages: sizes, first lines of docstrings, and a README.md for each folder."""

from __future__ import annotations

import ast
import itertools
import re
from functools import cache
from pathlib import Path

TREE = Path(__file__).parents[1]
PACKAGES = (TREE / "actors", TREE / "transport")
LINES_OF_A_FILE, LINES_OF_A_CLASS, LINES_OF_A_FUNCTION = 400, 250, 50
LOGGING_CALLS = {"debug", "info", "warning", "error", "exception", "critical", "log", "handle"}
PRONOUN = r"what|who|whom|whose|whoever|whatever|whichever|nobody|somebody|everybody|anybody|those (that|who)|one that"
RIDDLE = re.compile(rf"\b({PRONOUN})\b", re.IGNORECASE)


@cache
def modules() -> list[tuple[Path, list[ast.AST]]]:
    """Return the path and all nodes of the parsed code of each module of the two packages."""
    paths = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
    return [(path, [*ast.walk(ast.parse(path.read_text()))]) for path in paths]


def shown(path: Path, line: int = 1) -> str:
    """Return the path and line as text, in the form that editors open."""
    return f"{path.relative_to(TREE)}:{line}"


def docstrings(nodes: list[ast.AST]) -> list[tuple[int, str]]:
    """Return the line and the text of each docstring in a module, also of its classes, functions and attributes."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, ast.Assign, ast.AnnAssign)
    found: list[tuple[int, str]] = []
    for node in nodes:
        body = getattr(node, "body", None)
        for before, each in itertools.pairwise([node, *body] if isinstance(body, list) else []):
            match each:
                case ast.Expr(ast.Constant(str(text))) if isinstance(before, documented):
                    found.append((each.lineno, text.strip()))
                case _:
                    pass
    return found


def long_definitions(kinds: tuple[type[ast.AST], ...], most: int) -> list[str]:
    """Return the classes or functions of the packages that have more than ``most`` lines."""
    return [
        f"{shown(path, node.lineno)}: {node.name}"
        for path, nodes in modules()
        for node in nodes
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and isinstance(node, kinds)
        if (node.end_lineno or node.lineno) - node.lineno + 1 > most
    ]


def test_no_file_is_too_long() -> None:
    """A Python file of the packages has at most 400 lines."""
    counts = {shown(path): len(path.read_text().splitlines()) for path, _ in modules()}
    assert {name: count for name, count in counts.items() if count > LINES_OF_A_FILE} == {}


def test_no_class_is_too_long() -> None:
    """A class of the packages has at most 250 lines."""
    assert long_definitions((ast.ClassDef,), LINES_OF_A_CLASS) == []


def test_no_function_is_too_long() -> None:
    """A function of the packages has at most 50 lines."""
    assert long_definitions((ast.FunctionDef, ast.AsyncFunctionDef), LINES_OF_A_FUNCTION) == []


def test_first_lines_name_their_subject() -> None:
    """The first line of a docstring names its subject, without pronouns such as ``what``, ``who`` or ``those that``."""
    riddles = [
        f"{shown(path, line)}: {first}"
        for path, nodes in modules()
        for line, text in docstrings(nodes)
        if RIDDLE.search(first := text.partition("\n")[0])
    ]
    assert riddles == []


def test_log_lines_have_one_way() -> None:
    """Only ``actors/failures.py`` calls a logger: it escapes line ends in foreign text, which could forge log lines."""
    calls = [
        shown(path, node.lineno)
        for path, nodes in modules()
        for node in nodes
        if isinstance(node, ast.Attribute) and node.attr in LOGGING_CALLS and "logg" in ast.unparse(node.value).lower()
    ]
    assert [call for call in calls if not call.startswith("actors/failures.py:")] == []


def test_each_room_has_its_page() -> None:
    """Each folder of the packages that has modules also has a README.md."""
    rooms = {path.parent for path, _ in modules()} - set(PACKAGES)
    assert [shown(room) for room in sorted(rooms) if not (room / "README.md").exists()] == []


def test_one_way_to_the_clock() -> None:
    """Only one module asks trio for its clock: all other code gets the clock by ``loop_time()``."""
    asking = [str(path.relative_to(TREE)) for path, _ in modules() if "current_clock()" in path.read_text()]
    assert asking == ["actors/loop/clock.py"]


ENDING = re.compile(r"\b(put_down|kill|kill_group|killpg)\(")


def test_processes_of_tests_are_ended() -> None:
    """A file of the tests that starts processes kills them: ``started`` of _processes.py does so in any case."""
    starting = re.compile(r"^[^#\"]*\b(subprocess\.Popen|open_process)\(", re.MULTILINE)
    texts = {str(path.relative_to(TREE)): path.read_text() for path in (TREE / "tests").rglob("*.py")}
    starting_files = [name for name, text in texts.items() if starting.search(text)]
    assert "tests/_processes.py" in starting_files
    assert [name for name in starting_files if not ENDING.search(texts[name])] == []


def test_patterns_end_at_the_end() -> None:
    """A regular expression ends with ``\\Z``: ``$`` also matches before a last line feed, which is then never read."""
    found: list[str] = []
    for path, nodes in modules():
        calls = (node for node in nodes if isinstance(node, ast.Call) and node.args)
        for call in calls:
            if ast.unparse(call.func).startswith("re."):
                texts = [str(node.value) for node in ast.walk(call.args[0]) if isinstance(node, ast.Constant)]
                # An escaped $ and the $ in a set of characters are no anchors.
                outside = (re.sub(r"\\.|\[(\\.|[^\]])*\]", "", text) for text in texts)
                found += [shown(path, call.lineno) for text in outside if "$" in text]
    assert found == []
