"""``python`` and ``greenroom`` as forks of one process that has already imported the packages.

The documents have more than a hundred commands. Each would import the packages anew, which takes most of its time. A
fork is like a new process for everything else: it has the folder, the environment, the streams and the signals of the
command that was called. ``make soak`` starts the programs themselves, and so do the tests of new users.

``python fork_server.py SOCKET`` is the process. The two programs are :data:`CLIENT`, which sends it their arguments.
"""

from __future__ import annotations

import marshal
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

IMPORTED = ("transport.cli", "transport.http.serving", "jwt")
"""Modules that most commands import."""
PROGRAMS = ("python", "greenroom")
LONGEST = 1 << 20
"""Maximum number of bytes of a command with its environment."""
CLIENT = """#!{python} -IS
import marshal, os, signal, socket, sys
name, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
if name == "python" and arguments[:2] != ["-m", "transport"] and not arguments[0].endswith(".py"):
    os.execv({python!r}, [{python!r}, *arguments])
server = socket.socket(socket.AF_UNIX)
server.connect({path!r})
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: server.send(bytes([number])))
command = marshal.dumps((name, arguments, os.getcwd(), dict(os.environ)))
socket.send_fds(server, [command], [0, 1, 2])
status = int(server.recv(16))
if status < 0:
    signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""


@contextmanager
def forked_programs(folder: Path) -> Iterator[Path]:
    """Run the process inside the block. Return a folder with the programs that are forks of it."""
    path = folder / "socket"
    for name in PROGRAMS:
        program = folder / name
        program.write_text(CLIENT.format(python=sys.executable, path=str(path)))
        program.chmod(0o755)
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen([sys.executable, __file__, str(path)], env=environment, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield folder
    finally:
        server.kill()
        server.communicate()


def serve(path: str) -> None:
    """Fork for each command. Return in each fork, as the program that was called."""
    for module in IMPORTED:
        import_module(module)
    assert threading.active_count() == 1, "a fork has no threads but its own"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        sys.stdout.write("ready\n")
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                break
            connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    start(connection)


def start(connection: socket.socket) -> None:
    """Read a command, fork once more, and return in the fork. The process itself stays between client and program."""
    data, streams, _, _ = socket.recv_fds(connection, LONGEST, 3)
    program = os.fork()
    if program:
        for each in streams:
            os.close(each)
        stand_between(connection, program)
    connection.close()
    for number, each in enumerate(streams):
        os.dup2(each, number)
        os.close(each)
    name, arguments, folder, environment = marshal.loads(data)  # noqa: S302 - of a client in this file
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    run(name, arguments)


def stand_between(connection: socket.socket, program: int) -> NoReturn:
    """Pass on the client's signals, and then the exit status of the program. The program ends with its client."""
    ended, poll = os.pidfd_open(program), select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(connection, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready == ended:
                _, status = os.waitpid(program, 0)
                connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
                os._exit(0)
            numbers = connection.recv(1)
            os.kill(program, numbers[0] if numbers else signal.SIGKILL)
            if not numbers:
                os._exit(0)


def run(name: str, arguments: list[str]) -> None:
    """Do what the program does: the command ``greenroom``, also as a module, or a file of Python."""
    sys.excepthook = show_without_this_file
    if name == "greenroom" or arguments[:2] == ["-m", "transport"]:
        sys.argv = ["greenroom", *arguments[2 * (name == "python") :]]
        sys.path[0] = str(Path.cwd()) if name == "python" else str(Path(sys.executable).parent)
        sys.exit(import_module("transport.cli").main())
    file = Path(arguments[0])
    sys.argv, sys.path[0] = arguments, str(file.absolute().parent)
    module = ModuleType("__main__")
    module.__file__ = arguments[0]
    sys.modules["__main__"] = module
    exec(compile(file.read_text(), arguments[0], "exec"), module.__dict__)  # noqa: S102 - it is a program of a document


def show_without_this_file(kind: type[BaseException], error: BaseException, frames: TracebackType | None) -> None:
    """Print an exception as Python does, without the frames of this file."""
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    sys.__excepthook__(kind, error, frames)


if __name__ == "__main__":
    serve(sys.argv[1])
