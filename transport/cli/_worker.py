"""The program of a worker: ``greenroom serve`` in one of several processes, which the first process starts."""

from __future__ import annotations

import sys

from transport.cli._main import main
from transport.workers.place import take_place


def work() -> int:
    """Run the command of a worker. Return its exit status.

    The arguments of the process are the file descriptor of the socket to the parent, and the parent's own arguments.
    """
    _, descriptor, *arguments = sys.argv
    return main(arguments, take_place(int(descriptor)))


if __name__ == "__main__":
    sys.exit(work())
