"""The script of the sandbox, run as the server runs it, also as another user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from _processes import started

from transport.demo.sandbox import SCRIPT

PYTHON = str(Path(sys.executable).resolve())
SHARED_PYTHON = "/usr/bin/python3"
"""A Python that every user may read, if it exists. The Python that runs the tests may be in root's folder."""
OTHER_USER = 1000


def has_other_user() -> bool:
    """Return whether the tests may run programs as another user, with a Python that is new enough."""
    if os.geteuid() or not Path(SHARED_PYTHON).exists():
        return False
    check = "import sys, ctypes; sys.exit(sys.version_info < (3, 11))"
    return subprocess.run([SHARED_PYTHON, "-I", "-c", check], check=False).returncode == 0


def run_script(program: str, code: str, *, seconds: int = 5, umask: int = -1, other: bool = False) -> tuple[str, int]:
    """Run ``program`` as the script of the sandbox. Return the output and the exit status. Its input stays open."""
    command = [
        SHARED_PYTHON if other else PYTHON,
        "-I",
        "-S",
        "-X",
        "utf8",
        "-c",
        program,
        str(seconds),
        str(len(code)),
    ]
    user = OTHER_USER if other else None
    groups = None if os.geteuid() else [] if other else [0]
    with started(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        env={},
        start_new_session=True,
        umask=umask,
        user=user,
        group=user,
        extra_groups=groups,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(code)
        process.stdin.flush()
        return process.stdout.read().rstrip(), process.wait()


def attack(code: str, *, other: bool = False) -> tuple[str, int]:
    """Run ``code`` in the sandbox, started by this user or by another one. Return the output and the exit status."""
    return run_script(SCRIPT.read_text(encoding="utf-8"), code, other=other)
