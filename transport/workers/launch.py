"""How workers are started."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Self

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@attrs.frozen
class Launch:
    """How workers are started: as the parent was, with the same arguments, in the same folder and environment.

    The folder and the environment are those from before the app was imported: the app may change both.
    """

    arguments: Sequence[str]
    """The arguments of the command line, without the name of the program."""
    folder: str
    environment: Mapping[str, str]
    # -P: a file of the current folder must not hide a package of ours.
    program: Sequence[str] = (sys.executable, "-P", "-m", "transport.cli._worker")
    """The program of a worker. Its first argument is the file descriptor of the socket to the parent."""

    @classmethod
    def like_this_process(cls, arguments: Sequence[str]) -> Self:
        """Return a launch with the folder and the environment that this process has now."""
        return cls(tuple(arguments), os.getcwd(), dict(os.environ))  # noqa: PTH109 - a plain text for a process
