"""Common to all scripts of measurements: their options, and the output of their tables."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import _results

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def parser(description: str | None, repetitions: int) -> argparse.ArgumentParser:
    """Return a parser with the options ``--repetitions`` and ``--results``."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--repetitions", type=_at_least_one, default=repetitions, help="(default: %(default)s)")
    made.add_argument("--results", type=Path, help="write the tables into this file, and a plot beside it")
    return made


def publish(
    results: Path | None, section: str, title: str, parts: Sequence[str], plot: Callable[[Path], None] | None = None
) -> None:
    """Print the parts. With ``results``, write them into their section, and the plot beside it."""
    print("\n\n".join(part.strip() for part in parts))
    if results is None:
        return
    text = "\n\n".join(part.strip() for part in parts)
    if plot is not None:
        image = results.with_name(f"{section}.svg")
        plot(image)
        text = f"{text}\n\n![{title}]({image.name})"
    _results.write(results, section, title, text)


def _at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"at least 1, not {value}")
    return value
