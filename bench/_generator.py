"""The load generator ``_loadgen.c``: compiled with the C compiler when needed, one process on its own core."""

from __future__ import annotations

import json
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

SOURCE = Path(__file__).with_name("_loadgen.c")
Report = dict[str, Any]
"""One line of the generator. The top of its source describes the fields."""


class Failed(SystemExit):
    """The generator ended with an error, which the message has."""


@contextmanager
def compiled() -> Generator[Path]:
    """Compile the generator and return its program, which exists inside the block.

    Raises SystemExit with one line if there is no C compiler.
    """
    compiler = which("cc")
    if compiler is None:
        raise SystemExit("the load generator is written in C: a C compiler is needed, as cc")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "loadgen"
        subprocess.run([compiler, "-O2", "-o", program, SOURCE, "-lm"], check=True)  # noqa: S603 - our own source
        yield program


def reports(program: Path, core: int | str | None, **options: object) -> Iterator[Report]:
    """Run the generator on ``core`` (several as ``0,1``) and yield its lines as they come.

    ``options`` are listed at the top of its source: True makes a flag, False leaves the option out. Raises Failed
    with the generator's message if it fails.
    """
    command = [str(program)]
    for name, value in options.items():
        word = f"--{name.replace('_', '-')}"
        if value is not False:
            command += [word] if value is True else [word, str(value)]
    if core is not None:
        command = ["taskset", "-c", str(core), *command]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:  # noqa: S603 - our own program
        assert running.stdout is not None
        assert running.stderr is not None
        for line in running.stdout:
            yield cast("Report", json.loads(line))
        complaint = running.stderr.read().strip()
    if running.returncode:
        raise Failed(f"the load generator: {complaint or f'exit status {running.returncode}'}")
