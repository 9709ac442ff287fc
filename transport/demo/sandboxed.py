"""The other side of ``run_example``: a script for a process of its own, run as ``python -I sandboxed.py SECONDS``.

It limits itself, reads code from its input and runs it as ``__main__``. Code that starts with ``>>>`` is a session: it
is echoed, and what an expression gives is shown, as at the prompt. Ends with 1 when the code raised.
"""

from __future__ import annotations

import linecache
import sys
import traceback
from types import ModuleType, TracebackType

MEMORY, FILE_SIZE, OPEN_FILES = 1 << 30, 1 << 20, 64
"""Address space (a Python with some threads reserves 200 MiB), bytes in one file, files open at once."""


def main() -> int:
    """Run what comes in; the one argument is the limit of its CPU time in seconds."""
    _limit(int(sys.argv[1]))
    code = sys.stdin.read()
    sys.argv[:] = ["example.py"]
    own = sys.modules["__main__"]  # held: a module that nobody holds is taken apart
    sys.modules["__main__"] = ModuleType("__main__")
    names = vars(sys.modules["__main__"])
    linecache.cache["example.py"] = (len(code), None, code.splitlines(keepends=True), "example.py")
    try:
        if code.lstrip().startswith(">>>"):
            _session(code, names)
        else:
            exec(compile(code, "example.py", "exec"), names)  # noqa: S102 - this is what this process is for
    except Exception as error:  # noqa: BLE001 - whatever the example raises is its result
        sys.stdout.flush()
        traceback.print_exception(type(error), error, _its_frames(error.__traceback__))
        return 1
    finally:
        sys.modules["__main__"] = own
    return 0


def _limit(seconds: int) -> None:
    """Set the limits that this system has."""
    try:
        import resource  # noqa: PLC0415 - not there on Windows
    except ImportError:
        return
    limits = (
        ("RLIMIT_CPU", seconds),
        ("RLIMIT_AS", MEMORY),
        ("RLIMIT_FSIZE", FILE_SIZE),
        ("RLIMIT_NOFILE", OPEN_FILES),
        ("RLIMIT_CORE", 0),
    )
    for name, limit in limits:
        try:
            resource.setrlimit(getattr(resource, name), (limit, limit))
        except (AttributeError, ValueError, OSError):
            continue


def _session(text: str, names: dict[str, object]) -> None:
    import doctest  # noqa: PLC0415 - it takes 60 ms, and few need it

    for example in doctest.DocTestParser().get_examples(text):
        first, *rest = example.source.rstrip("\n").split("\n")
        print(f">>> {first}", *(f"... {line}" for line in rest), sep="\n", flush=True)  # noqa: T201 - its output is its purpose
        linecache.cache["example.py"] = (
            len(example.source),
            None,
            example.source.splitlines(keepends=True),
            "example.py",
        )
        exec(compile(example.source, "example.py", "single"), names)  # noqa: S102 - as above


def _its_frames(frames: TracebackType | None) -> TracebackType | None:
    """Return the traceback from the example on, without this file."""
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return frames


if __name__ == "__main__":
    sys.exit(main())
