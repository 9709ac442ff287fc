"""Sizes of the heavy tests: ``make test`` runs them with small numbers, ``make soak`` with large ones."""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T", int, float)

SOAK = os.environ.get("GREENROOM_SOAK") == "1"
"""Whether this is ``make soak``.

This is read once at the start, because each test removes the variables of Greenroom that a developer has set.
"""


def scaled(normal: T, soak: T) -> T:
    """Return ``soak`` in ``make soak``, and ``normal`` at any other time."""
    return soak if SOAK else normal
