"""The script that ``run_example`` runs in a process of its own: ``python -I sandboxed.py CPU_SECONDS``.

It limits itself, reads code from its input and runs it as ``__main__``. Code that starts with ``>>>`` is a session: it
is echoed, and the value of an expression is printed, as at the prompt. The exit status is 1 if the code raised.
"""

from __future__ import annotations

import linecache
import sys
import traceback
from types import ModuleType, TracebackType

# Address space in bytes (a Python with some threads reserves 200 MiB), bytes in one file, files open at once.
MEMORY, FILE_SIZE, OPEN_FILES = 1 << 30, 1 << 20, 64


def main() -> int:
    """Run the code that is read from stdin. The only command-line argument is the limit of CPU time in seconds."""
    _limit(int(sys.argv[1]))
    code = sys.stdin.read()
    sys.argv[:] = ["example.py"]
    own = sys.modules["__main__"]  # kept alive: the names of a module without references are set to None
    sys.modules["__main__"] = ModuleType("__main__")
    names = vars(sys.modules["__main__"])
    try:
        if code.lstrip().startswith(">>>"):
            _run_session(code, names)
        else:
            _run(code, "exec", names)
    except Exception as error:  # noqa: BLE001 - an exception of the example is its result
        sys.stdout.flush()
        traceback.print_exception(type(error), error, _without_this_file(error.__traceback__))
        return 1
    finally:
        sys.modules["__main__"] = own
    return 0


def _limit(seconds: int) -> None:
    """Set limits for this process, as far as the system supports them."""
    try:
        import resource  # noqa: PLC0415 - not there on Windows
    except ImportError:
        return
    limits = {"CPU": seconds, "AS": MEMORY, "FSIZE": FILE_SIZE, "NOFILE": OPEN_FILES, "CORE": 0}
    for name, limit in limits.items():
        try:
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))
        except (AttributeError, ValueError, OSError):
            continue


def _run_session(text: str, names: dict[str, object]) -> None:
    import doctest  # noqa: PLC0415 - importing it takes 60 ms, and plain code does not need it

    for example in doctest.DocTestParser().get_examples(text):
        first, *rest = example.source.rstrip("\n").split("\n")
        print(f">>> {first}", *(f"... {line}" for line in rest), sep="\n", flush=True)  # noqa: T201 - its output is its purpose
        _run(example.source, "single", names)


def _run(code: str, mode: str, names: dict[str, object]) -> None:
    # In the cache, so that a traceback shows the lines.
    linecache.cache["example.py"] = (len(code), None, code.splitlines(keepends=True), "example.py")
    exec(compile(code, "example.py", mode), names)  # noqa: S102 - this is the purpose of the process


def _without_this_file(frames: TracebackType | None) -> TracebackType | None:
    """Return the part of the traceback that belongs to the example: without the frames of this file."""
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return frames


if __name__ == "__main__":
    sys.exit(main())
