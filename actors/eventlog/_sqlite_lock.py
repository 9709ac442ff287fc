"""The lock of a SQLite log against other processes, and the paths of the files beside the log file."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from actors.errors import LogUnavailable
from actors.private_files import PRIVATE, make_private

if TYPE_CHECKING:
    from pathlib import Path


def beside(target: Path, ending: str) -> Path:
    """Return the path of the file beside the log file ``target`` that has the same name with ``ending`` added."""
    return target.with_name(f"{target.name}{ending}")


def lock_path(target: Path) -> Path:
    """Return the path of the lock file of the log file ``target``."""
    return beside(target, "-lock")


def is_locked(target: Path) -> bool:
    """Return whether a server, in this or another process, has the log open."""
    try:
        descriptor = os.open(lock_path(target), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def lock(path: Path, target: Path) -> int:
    """Lock the log for this process. Return the descriptor that holds the lock.

    If another process has the lock, the error names that process. The lock is on a separate file next to the log:
    closing a second descriptor of the log itself would release SQLite's own locks (POSIX). The lock always ends with
    the process; the lock file stays.
    """
    try:
        make_private(lock_path(target))
        descriptor = os.open(lock_path(target), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    except OSError as error:
        raise LogUnavailable(f"{path} cannot be locked: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    except OSError as error:
        owner = os.pread(descriptor, 20, 0).decode(errors="replace")
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise LogUnavailable(
                f"{path} is in use by process {owner or 'unknown'}: stop that process, or give this one another log. "
                "A web server with several workers must run one worker"
            ) from error
        raise LogUnavailable(f"{path} cannot be locked: {error.strerror}") from error
    return descriptor
