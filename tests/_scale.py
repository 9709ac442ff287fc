"""Sizes of the heavy tests: ``make test`` runs them with small numbers, ``make soak`` with full ones."""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T", int, float)

SOAK = os.environ.get("GREENROOM_SOAK") == "1"
"""Whether this is ``make soak``. Read once: tests run without the variables of Greenroom that a developer has set."""


def scaled(normal: T, soak: T) -> T:
    """Return ``soak`` in ``make soak``, else ``normal``."""
    return soak if SOAK else normal
