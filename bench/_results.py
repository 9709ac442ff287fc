"""``RESULTS.md``: each script writes its own section between two marks, and leaves the others as they are."""

from __future__ import annotations

import os
import platform
import re
import shlex
import statistics
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

TITLE = (
    "# Measured\n\nEach section was written by the command that stands in it; ratios travel, absolute figures do not.\n"
)
ORDER = (
    "users",
    "peers",
    "hosted",
    "compression",
    "where",
    "runs",  # written by hand: it counts instructions under valgrind
    "actors",
    "log",
    "resume",
    "scale",
    "watched",
    "stall",
    "hostile",
    "cores",
    "cluster",
)

_SECTION = re.compile(r"<!-- (?P<name>\w+) -->\n(?P<text>.*?)<!-- /(?P=name) -->\n", re.DOTALL)


def write(results: Path, section: str, title: str, text: str, packages: Sequence[str] = ()) -> None:
    """Write a section, whose name is in ``ORDER``, into ``results``, with the versions of ``packages``.

    Raises:
        ValueError: The file has text outside of all sections, which would be lost.
    """
    sections = _sections(results.read_text() if results.exists() else TITLE)
    said = f"`{command()}`, on {machine(packages)}"
    sections[section] = f"## {title}\n\n{said}\n\n{text.strip()}\n"
    parts = [f"<!-- {name} -->\n{sections[name]}<!-- /{name} -->\n" for name in ORDER if name in sections]
    results.write_text("\n".join([TITLE, *parts]))


def command() -> str:
    """Return the command line of this script, as a reader would type it."""
    return f"python bench/{Path(sys.argv[0]).name} {shlex.join(sys.argv[1:])}".strip()


def machine(packages: Sequence[str] = ()) -> str:
    """Return the machine, with the versions of the measured packages."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), "unknown processor")
    versions = [f"{name} {_version(name)}" for name in ("trio", "trio-websocket", "orjson", *packages)]
    python = f"Python {platform.python_version()}"
    return ", ".join(
        [f"{os.cpu_count()} cores ({model})", f"{platform.system()} {platform.release()}", python, *versions]
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values: Sequence[float], digits: int) -> str:
    """Return the median, and the range of all values."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def _sections(text: str) -> dict[str, str]:
    outside = _SECTION.sub("", text.removeprefix(TITLE)).split()
    if outside:
        raise ValueError(f"text outside of the sections would be lost: {' '.join(outside)[:80]}")
    return {match["name"]: match["text"] for match in _SECTION.finditer(text)}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"
