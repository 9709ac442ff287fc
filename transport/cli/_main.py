"""The ``greenroom`` command: its parser, and the exit statuses."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from actors import GreenroomError, RestartLimit
from actors.failures import describe
from transport._border import leaves
from transport.cli import demo, log_commands, serve, tail, token
from transport.cli._errors import in_one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

FAILED, USAGE_ERROR = 1, 2
# As a shell reports a program that a signal ended.
INTERRUPTED, BROKEN_PIPE = 128 + signal.SIGINT, 128 + signal.SIGPIPE


class _Parser(argparse.ArgumentParser):
    """A parser that reports a usage error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE_ERROR, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status of the process.

    Args:
        arguments: The arguments without the name of the program; those of the process if None.

    Returns:
        0: The command did its work.

        1: ``verify`` or ``export`` found a fault in the log, or a server failed again and again. The supervisor of the
        process (systemd, Kubernetes) is to start such a server again.

        2: The arguments, the configuration or the system do not allow the command. One line on stderr says why.

        130: Ctrl-C interrupted a command whose normal end is not Ctrl-C.

        141: The reader of the output closed the pipe.
    """
    options = _parser().parse_args(arguments)
    level = options.log_level.upper()
    logging.basicConfig(stream=sys.stderr, level=level, format="%(levelname)s %(name)s: %(message)s")
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
        print(f"greenroom: {_with_cause(group)}", file=sys.stderr)
        status = FAILED
    except* (GreenroomError, OSError) as group:
        print(f"greenroom: {in_one_line(group)}", file=sys.stderr)
        status = USAGE_ERROR
    return status


def _with_cause(error: BaseException) -> str:
    cause = next(leaves(error)).__cause__
    return in_one_line(error) if cause is None else f"{in_one_line(error)}: {' '.join(describe(cause).split())}"


def _parser() -> argparse.ArgumentParser:
    epilog = "example: greenroom demo; options of a command: greenroom serve --help"
    parser = _Parser(prog="greenroom", description="Every user session a supervised actor.", epilog=epilog)
    levels = ["debug", "info", "warning", "error"]
    parser.add_argument("--log-level", default="warning", choices=levels, help="on stderr (default: %(default)s)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve.add_to(commands.add_parser)
    demo.add_to(commands.add_parser)
    token.add_to(commands.add_parser)
    log_commands.add_to(commands.add_parser)
    tail.add_to(commands.add_parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
