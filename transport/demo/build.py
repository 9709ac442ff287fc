"""``python -m transport.demo.build PATH``: write the index of the standard library of this Python to the file PATH.

The server runs this in a process of its own. The work takes seconds of pure Python: a thread of the server would hold
the interpreter's lock for most of that time, and the server's loop would wait.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from transport.demo.collect import collect
from transport.demo.extract import stdlib
from transport.demo.index import write


def build(path: Path) -> None:
    """Write the index to ``path``, whole or not at all. Raises OSError if the folder cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".building-") as folder:
        unfinished = Path(folder, "index.sqlite")
        write(collect(stdlib()), unfinished)
        unfinished.replace(path)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
