"""Plots as SVG without a background, in greys that show on white and on black. Equal figures make equal files."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

GREY, OURS = "#808080", "#2a9d5c"
YOUNGEST_MS = 0.05
"""Start of the axes of ages: too few events are younger to be visible."""
COLOURS = (OURS, "#c1666b", "#5b8fd6", "#d69e2e", "#8f6fc1", "#3aa6a6", GREY)


@contextmanager
def figure(target: Path, columns: int, height: float = 3.2) -> Generator[Any]:
    """Draw ``columns`` axes in a row inside the block, then write them to ``target``."""
    matplotlib: Any = import_module("matplotlib")
    matplotlib.use("svg")
    names = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "legend.labelcolor")
    matplotlib.rcParams.update(dict.fromkeys(names, GREY))
    matplotlib.rcParams.update({"svg.hashsalt": "greenroom", "legend.frameon": False, "font.size": 9})
    pyplot: Any = import_module("matplotlib.pyplot")
    drawn, axes = pyplot.subplots(1, columns, figsize=(10, height), layout="constrained", squeeze=False)
    for axis in axes[0]:
        axis.patch.set_alpha(0)
    try:
        yield list(axes[0])
        drawn.savefig(target, transparent=True, metadata={"Date": None})
    finally:
        pyplot.close(drawn)
