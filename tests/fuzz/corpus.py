"""The corpus: for each target, the inputs that reach all code which fuzzing has reached so far.

A file has one input a line, each as a bytes literal of Python.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import actors
import transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

    from fuzz.target import Target

Arc: TypeAlias = tuple[str, int, int]
"""A step from one line of a file to another."""

FOLDER = Path(__file__).parent / "corpus"
MAX_FILE_BYTES = 20_000
"""Maximum size of the corpus of one target, so that the tree stays small."""


_PACKAGES = tuple(f"{Path(str(package.__file__)).parent}/" for package in (actors, transport))


def path_of(name: str) -> Path:
    """Return the file of a target's corpus."""
    return FOLDER / f"{name}.txt"


def load(name: str) -> list[bytes]:
    """Return the inputs of a target. Return none if the target has no file yet."""
    path = path_of(name)
    return [ast.literal_eval(line) for line in path.read_text().splitlines()] if path.exists() else []


def store(name: str, inputs: Iterable[bytes]) -> int:
    """Write the inputs of a target, the shortest first, as many as the file may have. Return their number."""
    lines: list[str] = []
    room = MAX_FILE_BYTES
    for each in sorted(set(inputs), key=lambda data: (len(data), data)):
        line = f"{each!r}\n"
        room -= len(line)
        if room < 0:
            break
        lines.append(line)
    FOLDER.mkdir(exist_ok=True)
    path_of(name).write_text("".join(lines))
    return len(lines)


def smallest(target: Target, inputs: Iterable[bytes]) -> list[bytes]:
    """Return few of the inputs, which together take all steps from line to line that the inputs take."""
    reached: set[Arc] = set()
    few: list[bytes] = []
    for data in sorted(set(inputs), key=lambda data: (len(data), data)):
        arcs = arcs_of(target, data)
        if not arcs <= reached:
            reached |= arcs
            few.append(data)
    return few


def arcs_of(target: Target, data: bytes) -> set[Arc]:
    """Run a target with one input. Return the steps from line to line in the packages under test."""
    arcs: set[Arc] = set()
    before = sys.gettrace()
    sys.settrace(_tracer(arcs))
    try:
        target.check(data)
    finally:
        sys.settrace(before)
    return arcs


def _tracer(arcs: set[Arc]) -> Callable[[FrameType, str, Any], Any]:
    def on_call(frame: FrameType, event: str, _: Any) -> Any:
        file = frame.f_code.co_filename
        if not file.startswith(_PACKAGES):
            return None
        last = 0

        def on_line(inner: FrameType, event: str, _: Any) -> Any:
            nonlocal last
            arcs.add((file, last, inner.f_lineno))
            last = inner.f_lineno
            return on_line

        return on_line

    return on_call
