"""Private files: only the user that made such a file may read it, for every umask."""

from __future__ import annotations

import logging
import os
import stat
from typing import TYPE_CHECKING

from actors.failures import log_line

if TYPE_CHECKING:
    from pathlib import Path

PRIVATE = stat.S_IRUSR | stat.S_IWUSR
"""The mode of a private file, 0600: its owner may read and write it."""


def make_private(path: Path, content: bytes = b"") -> bool:
    """Make a file that only its owner may read and write. Return False, and change nothing, if the file exists.

    At no moment can another user open the file.

    Raises:
        OSError: If the file cannot be made.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "wb") as file:
        # A umask can only take rights away. One such as 0277 would take away the owner's own.
        os.fchmod(descriptor, PRIVATE)
        file.write(content)
    return True


def warn_if_open_to_others(path: Path, logger: logging.Logger) -> None:
    """Log a warning if every user of this machine may read or write an existing file.

    The file's mode is not changed, since a person may have set it on purpose. A file that only a group may read causes
    no warning.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        text = "%s is open to every user of this machine (mode %04o): chmod o-rwx %s"
        log_line(logger, logging.WARNING, text, path, stat.S_IMODE(mode), path)
