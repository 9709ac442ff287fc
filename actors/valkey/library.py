"""The functions that run in the server: their source, and their names. Pure.

The version is in the name of the library and of each function. While nodes are upgraded one after another, two versions
of the library are in the server.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

LIBRARY = "greenroom1"
"""Name of the library of functions. A function that changes its keys, arguments or result needs a new name."""

SCHEMA = 1
"""Version of the layout of the stored data."""


@cache
def source() -> str:
    """Return the source of the library, in Lua."""
    return files("actors.valkey").joinpath("functions.lua").read_text("utf-8")
