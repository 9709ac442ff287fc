"""Shift the time of day of a process by the seconds in the file that ``CHAOS_CLOCK`` names, at any time.

Python imports this module before any other one of the process, if its folder is in PYTHONPATH.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path

FORM = struct.Struct("d")

real, real_ns = time.time, time.time_ns

with Path(os.environ["CHAOS_CLOCK"]).open("r+b") as file:
    shared = mmap.mmap(file.fileno(), FORM.size)


def shift() -> float:
    """Return the present shift in seconds."""
    (seconds,) = FORM.unpack(shared)
    return float(seconds)


def shifted() -> float:
    """Return the shifted time of day in seconds."""
    return real() + shift()


def shifted_ns() -> int:
    """Return the shifted time of day in nanoseconds."""
    return real_ns() + int(shift() * 1e9)


time.time, time.time_ns = shifted, shifted_ns
