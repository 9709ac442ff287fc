"""Examples run apart from the server. Their output comes back, and nothing else is left."""

from __future__ import annotations

import os
import sys

import pytest
import trio

from transport.demo.sandbox import CUT, MAX_OUTPUT, run, run_example


async def test_printed_output() -> None:
    """The output of an example is the text that the example prints."""
    assert (await run_example("print('tea')"))["output"] == "tea"


async def test_session() -> None:
    """The output of a session has its prompts and the real results."""
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
    ],
)
async def test_failing_example(code: str, said: str) -> None:
    """The outcome of a failing example is an error, with a traceback that has no frames of the sandbox."""
    outcome = await run(code)
    assert outcome.status == "error"
    assert said in outcome.output
    assert "sandboxed" not in outcome.output


async def test_clean_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """An example has an empty folder and none of the server's environment variables."""
    monkeypatch.setenv("OPENAI_API_KEY", "not for examples")
    outcome = await run("import os; print(os.listdir(), 'OPENAI_API_KEY' in os.environ)")
    assert outcome.output == "[] False"


async def test_timeout() -> None:
    """An example that takes too long is killed, and its output until then is kept."""
    outcome = await run("print('before', flush=True)\nwhile True: pass", seconds=0.5)
    assert (outcome.status, outcome.output) == ("timeout", "before")


async def test_endless_output() -> None:
    """An example with endless output is ended. Its output is cut and marked."""
    outcome = await run("while True: print('x' * 1000)")
    assert outcome.output.endswith(CUT)
    assert len(outcome.output) <= MAX_OUTPUT + len(CUT)
    assert outcome.status == "error"


async def test_large_file() -> None:
    """An example that writes a file above the limit fails."""
    outcome = await run("open('f', 'wb').write(bytes(2 << 20))")
    assert outcome.status == "error"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space")
async def test_large_allocation() -> None:
    """An example that needs memory above the limit gets ``MemoryError``."""
    assert "MemoryError" in (await run("bytearray(2 << 30)")).output


@pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX")
@pytest.mark.parametrize("cancelled", [False, True])
async def test_child_processes_are_killed(*, cancelled: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Processes that an example started are killed at its timeout or cancellation."""
    pipe = tmp_path_factory.mktemp("pipe") / "alive"
    os.mkfifo(pipe)
    child = f"import signal\nf = open({str(pipe)!r}, 'w')\nf.write('here')\nf.flush()\nsignal.pause()"
    code = f"import signal, subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {child!r}])\nsignal.pause()"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, code, 60 if cancelled else 1.0)
        async with await trio.open_file(pipe, "rb", buffering=0) as reader:
            assert await reader.read(4) == b"here"
            if cancelled:
                nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                assert await reader.read() == b""  # the end: no writer is left
