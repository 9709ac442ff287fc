"""The ``greenroom`` command: its parser, and the exit statuses."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any, NoReturn

from actors import GreenroomError, RestartLimit
from actors.failures import describe
from transport._border import leaves
from transport.cli import (
    backup_command,
    cluster_command,
    copy_command,
    demo,
    forget_command,
    inspect_command,
    log_commands,
    serve,
    settings,
    tail,
    token,
)
from transport.cli._errors import in_one_line
from transport.cli._logging import begin_logging
from transport.cli._options import DEFAULT_LEVEL, add_log_level
from transport.cli._terminal import say
from transport.workers.launch import Launch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transport.workers.place import WorkerPlace

FAILED, USAGE_ERROR = 1, 2
# As a shell reports a program that a signal ended.
INTERRUPTED, BROKEN_PIPE = 128 + signal.SIGINT, 128 + signal.SIGPIPE

_COMMANDS = (
    serve,
    demo,
    settings,
    token,
    log_commands,
    backup_command,
    copy_command,
    forget_command,
    cluster_command,
    inspect_command,
    tail,
)
"""The modules of the commands, in the order of the help."""


class _Parser(argparse.ArgumentParser):
    """A parser that reports a usage error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE_ERROR, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None, place: WorkerPlace | None = None) -> int:
    """Run the command line and return the exit status of the process.

    Args:
        arguments: The arguments without the name of the program. If None, the arguments of the process.
        place: The place of this process among the workers of ``greenroom serve --workers``; None if it is no worker.

    Returns:
        0: The command did its work.

        1: ``verify`` or ``export`` found a fault in the log, ``export`` found no session of the given user or name, or
        a server failed again and again. The supervisor of the
        process (systemd, Kubernetes) is to start such a server again.

        2: The arguments, the configuration or the system do not allow the command. One line on stderr says why.

        130: Ctrl-C interrupted a command that normally ends by itself.

        141: The reader of the output closed the pipe.
    """
    options = _parser().parse_args(arguments)
    options.place = place
    # Before an app is imported, which may change folder and environment.
    options.launch = Launch.like_this_process(sys.argv[1:] if arguments is None else arguments)
    level = options.log_level.upper()
    begin_logging(level)
    status = 0
    try:
        status = options.run(options) or 0
    except* KeyboardInterrupt:
        status = INTERRUPTED
    except* BrokenPipeError:
        # Python flushes stdout at its end: *a second BrokenPipeError, printed as a traceback*.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = BROKEN_PIPE
    except* RestartLimit as group:
        say(_with_cause(group))
        status = FAILED
    except* (GreenroomError, OSError) as group:
        say(in_one_line(group))
        status = USAGE_ERROR
    return status


def _with_cause(error: BaseException) -> str:
    cause = next(leaves(error)).__cause__
    return in_one_line(error) if cause is None else f"{in_one_line(error)}: {' '.join(describe(cause).split())}"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="greenroom",
        description="Every user session a supervised actor.",
        epilog="example: greenroom demo; options of a command: greenroom serve --help. "
        "Exit status: 0 done, 1 a fault in a log or a server that gave up, 2 a wrong argument or configuration.",
    )
    parser.add_argument("--version", action="version", version=f"greenroom {metadata.version('greenroom')}")
    add_log_level(parser, DEFAULT_LEVEL)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add_command(name: str, **options: Any) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = commands.add_parser(name, **options)
        add_log_level(command, argparse.SUPPRESS)
        return command

    for module in _COMMANDS:
        module.add_to(add_command)
    return parser
