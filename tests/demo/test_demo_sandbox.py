"""Examples run apart from the server, within limits. Their output comes back, and nothing else is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from _processes import started
from demo.asking import ask, events_of_kind
from demo.attacking import run_script
from trio.testing import wait_all_tasks_blocked

from actors import AgentCompleted, ToolExecuting
from transport.demo import sandbox
from transport.demo.sandbox import CUT, MAX_OUTPUT, NOT_RUN, PLACES, SCRIPT, Outcome, run, run_example
from transport.demo.sandboxed import DISK, FILE_SIZE, MEMORY, NO_SANDBOX, OPEN_FILES, PROCESSES
from transport.demo.serving import build_app

SERVER = """
import subprocess, sys
code = sys.stdin.read()
command = [sys.executable, "-I", "-S", sys.argv[1], "60", str(len(code))]
with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, text=True) as script:
    print(script.pid, flush=True)
    script.stdin.write(code)
    script.stdin.flush()
    script.wait()
"""
"""A program that starts the script as the server does, and leaves the output to its own parent."""
FAIL = """
import sys
sys.path.insert(0, {folder!r})
import sandboxed
real = sandboxed._call
def call(name, *arguments):
    if name == {step!r}:
        raise OSError(f"{{name}}: Operation not permitted")
    return real(name, *arguments)
sandboxed._call = call
sandboxed.MACHINE = {machine!r} or sandboxed.MACHINE
sys.exit(sandboxed.main())
"""
"""A program that is the script of the sandbox on a machine where one step fails."""


@pytest.fixture
def mark() -> str:
    """Return a text that occurs in the command line of no other process."""
    return f"mark-{uuid.uuid4()}"


def running(mark: str) -> list[int]:
    """Return the processes of this machine that have ``mark`` in their command line."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            found += [int(folder.name)] if mark.encode() in (folder / "cmdline").read_bytes() else []
    return found


def sleeper(mark: str) -> str:
    """Return code that starts a process with ``mark``, which leaves its session, blocks all signals and stays."""
    lines = (
        "import signal",
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
        "print('here', flush=True)",
        "open('started', 'w').close()",  # a named pipe: opens when it is read
        "signal.sigtimedwait([], 60)",
        f"# {mark}",
    )
    return f"""
import os, signal, sys
os.mkfifo("started")
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", {chr(10).join(lines)!r}])
    os._exit(0)
os.wait()
open("started").read()
"""


async def test_printed_output() -> None:
    """The output of an example is the text that the example prints."""
    assert (await run_example("print('tea')"))["output"] == "tea"


async def test_session() -> None:
    """If an example has ``>>>`` prompts, its output has the same prompts, and after them the real results."""
    outcome = await run(">>> x = 20\n>>> for i in range(2):\n...     x += i\n...\n>>> x * 2\n99\n")
    assert outcome.output == ">>> x = 20\n>>> for i in range(2):\n...     x += i\n>>> x * 2\n42"
    assert outcome.status == "ok"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("def (", "SyntaxError"),
        (">>> 1 / 0", "ZeroDivisionError"),
        ("raise SystemExit(3)", ""),
        (f"raise SystemExit({NO_SANDBOX})", ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", ""),
    ],
)
async def test_failing_example(code: str, said: str) -> None:
    """The outcome of a failing example is an error, with a traceback that has no frames of the sandbox."""
    outcome = await run(code)
    assert outcome.status == "error"
    assert said in outcome.output
    assert "sandboxed" not in outcome.output


@pytest.mark.parametrize(
    "code",
    [
        "import asyncio; print(asyncio.run(asyncio.to_thread(str, 'tea')))",
        "import subprocess, sys; print(subprocess.check_output([sys.executable, '-c', 'print(\"tea\")'], text=True))",
        "import multiprocessing as m; print(m.get_context('fork').Pool(2).map(str.lower, ['TEA', 'MILK'])[0])",
        "import ssl, sqlite3, ctypes, zoneinfo; zoneinfo.ZoneInfo('Europe/Paris'); print('tea')",
        "import getpass, pathlib; pathlib.Path('f').write_text('tea'); print(pathlib.Path('f').read_text())",
        "import signal; signal.signal(signal.SIGALRM, lambda *_: print('tea')); signal.raise_signal(14)",
        "import threading as t; [t.Thread(target=t.Event().wait, args=(0.1,)).start() for _ in range(5)]; print('tea')",
        "import os; os.umask(0); print('tea' if exit and help else '')",
    ],
)
async def test_ordinary_example(code: str) -> None:
    """In the sandbox an example can use event loops, processes, threads, extension modules, files and signals."""
    outcome = await run(code)
    assert (outcome.status, outcome.output) == ("ok", "tea")


async def test_timeout() -> None:
    """An example that takes too long is killed, and its output until then is kept."""
    outcome = await run("print('before', flush=True)\nwhile True:\n  try:\n    while True: pass\n  except: pass", 0.8)
    assert (outcome.status, outcome.output) == ("timeout", "before")


async def test_endless_output() -> None:
    """An example with endless output is stopped. Its output is cut at the limit, and a mark at the end shows this."""
    outcome = await run("while True: print('x' * 1000)")
    assert outcome.output.endswith(CUT)
    assert len(outcome.output) <= MAX_OUTPUT + len(CUT)
    assert outcome.status == "error"


async def test_largest_file() -> None:
    """A file may have ``FILE_SIZE`` bytes and no more."""
    assert (await run(f"with open('f', 'wb') as f: f.write(bytes({FILE_SIZE}))")).status == "ok"
    assert "File too large" in (await run(f"with open('f', 'wb') as f: f.write(bytes({FILE_SIZE + 1}))")).output


@pytest.mark.parametrize("after", ["", "; os.unlink(str(n))"])
async def test_disk(after: str) -> None:
    """All files of an example together have at most ``DISK`` bytes.

    An open file that was already deleted counts too.
    """
    code = (
        "import os\nfiles = []\ntry:\n  for n in range(50):\n"
        f"    files.append(open(str(n), 'wb', buffering=0)){after}; files[n].write(bytes(1 << 20))\n"
        "except OSError as error: print(n, error)"
    )
    written, _, error = (await run(code)).output.partition(" ")
    assert 0 < int(written) <= DISK >> 20
    assert "No space left" in error


async def test_number_of_files() -> None:
    """The number of files is limited too, even if the files are empty: a further file raises "No space left"."""
    assert "No space left" in (await run("for n in range(5000): open(str(n), 'w').close()")).output


async def test_memory() -> None:
    """An example that needs memory above the limit gets ``MemoryError``."""
    assert (await run(f"bytearray({MEMORY // 2})")).status == "ok"
    assert "MemoryError" in (await run(f"bytearray({MEMORY})")).output


async def test_fork_bomb() -> None:
    """An example can have at most ``PROCESSES`` processes, including the processes of the sandbox itself."""
    code = """
import os, signal
try:
    for n in range(500):
        os.fork() or signal.sigtimedwait([], 60)
except OSError as error:
    print(n, error.strerror)
"""
    count, _, error = (await run(code)).output.partition(" ")
    assert PROCESSES // 2 < int(count) < PROCESSES
    assert error == "Resource temporarily unavailable"


async def test_exponential_fork_bomb() -> None:
    """If all processes of an example start further processes, the example still ends with a timeout.

    The example tries to make 256 processes at most, so that the machine survives this test even without the sandbox.
    """
    bomb = "import os\nfor _ in range(8):\n  try: os.fork()\n  except OSError: pass\nwhile True: pass"
    assert (await run(bomb, 1)).status == "timeout"


async def test_threads() -> None:
    """The threads of an example count towards the limit of its processes. A further thread cannot be started."""
    code = "import threading\nfor _ in range(500): threading.Thread(target=threading.Event().wait, daemon=True).start()"
    assert "can't start new thread" in (await run(code)).output


async def test_open_files() -> None:
    """A process of an example has no more than ``OPEN_FILES`` open files."""
    code = """
files = []
try:
    while True:
        files.append(open('f', 'w'))
except OSError as error:
    print(len(files), error.strerror)
"""
    assert (await run(code)).output == f"{OPEN_FILES - 3} Too many open files"


async def test_places() -> None:
    """If the allowed number of examples already runs, a further example waits until one of them has ended.

    The time limit of an example begins when the example begins to run.
    """
    others = [object() for _ in range(int(PLACES.total_tokens))]
    outcomes: list[Outcome] = []

    async def example() -> None:
        outcomes.append(await run("print('tea')"))

    for other in others:
        PLACES.acquire_on_behalf_of_nowait(other)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(example)
        await wait_all_tasks_blocked()
        assert PLACES.statistics().tasks_waiting == 1
        for other in others:
            PLACES.release_on_behalf_of(other)
    assert outcomes[0].output == "tea"


async def test_processes_end_with_the_example(mark: str) -> None:
    """When an example ends, all processes that it started are gone, even a process in a new process session."""
    outcome = await run(sleeper(mark))
    assert outcome.output == "here"
    assert running(mark) == []


@pytest.mark.parametrize("how", ["timeout", "cancelled", "output"])
async def test_processes_end_with_the_run(how: str, mark: str) -> None:
    """All processes of an example are gone when it times out, is cancelled or prints too much."""
    code = sleeper(mark) + ("\nwhile True: print('x' * 1000)" if how == "output" else "\nsignal.sigtimedwait([], 60)")
    with trio.move_on_after(2 if how == "cancelled" else 60):
        outcome = await run(code, 2 if how == "timeout" else 60)
        assert outcome.output.startswith("here")
    assert running(mark) == []


@pytest.mark.parametrize("killed", ["server", "script"])
def test_processes_end_with_the_server(killed: str, mark: str) -> None:
    """If the server or the sandbox's script is killed, all processes of an example end.

    None of them keeps the output pipe open.
    """
    command = [sys.executable, "-c", SERVER, str(SCRIPT)]
    with started(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(sleeper(mark) + "signal.sigtimedwait([], 60)")
        server.stdin.close()
        script = int(server.stdout.readline())
        assert server.stdout.readline() == "here\n"
        assert len(running(mark)) == 1
        os.kill(server.pid if killed == "server" else script, signal.SIGKILL)
        assert server.stdout.read() == ""
    assert running(mark) == []


STEPS = ("unshare", "mount", "pivot_root", "umount2", "syscall", "sethostname", "ioctl", "capset", "prctl")


@pytest.mark.parametrize(("step", "machine"), [*((step, "") for step in STEPS), ("", "vax")])
def test_machine_without_sandbox(step: str, machine: str) -> None:
    """If one step of making the sandbox fails, the code of the example is not run.

    The script prints the step that failed, or the type of the machine.
    """
    program = FAIL.format(folder=str(SCRIPT.parent), step=step, machine=machine)
    output, status = run_script(program, "print('it ran')")
    assert status == NO_SANDBOX
    assert output.startswith("this machine offers no sandbox (")
    assert (step or machine) in output
    assert "it ran" not in output


async def test_examples_are_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> None:
    """On a machine without the sandbox the answer says that examples are not run.

    After the first failure the demo does not try a second example.
    """
    script = tmp_path / "script.py"
    script.write_text(
        f"print('this machine offers no sandbox (unshare: not permitted)')\nraise SystemExit({NO_SANDBOX})"
    )
    monkeypatch.setattr(sandbox, "SCRIPT", script)
    said = "xamples are not run here: this machine offers no sandbox (unshare: not permitted)"
    outcome = await run("print('tea')")
    assert (outcome.status, outcome.output) == (NOT_RUN, f"e{said}")
    events = await ask(build_app(pace=0, cache=cache, log="memory:"), "median of a list of numbers")
    assert f"\n\nE{said}.\n" in events_of_kind(AgentCompleted, events)[-1].result["answer"]
    assert [event.tool for event in events_of_kind(ToolExecuting, events)].count("run_example") == 1


async def test_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system other than Linux, examples are not run, and the script of the sandbox is not started."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(sandbox, "SCRIPT", Path("/nowhere"))
    assert (await run("print('tea')")).status == NOT_RUN
