"""The process that fuzzes one target: atheris adds counters to the packages under test, and libFuzzer drives them.

Usage: ``python tests/fuzz/instrumented.py MODULE FUNCTION [an option or a folder of libFuzzer …]``
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import atheris

_PACKAGES = ["actors", "fuzz", "transport", "wsproto", "h11", "jwt", "trio_websocket"]


def main() -> None:
    """Call a function with any bytes, until it raises an exception: then the process ends with an error."""
    program, module, function, *options = sys.argv
    sys.path.insert(0, str(Path(__file__).parent.parent))
    with atheris.instrument_imports(include=_PACKAGES):
        check = getattr(importlib.import_module(module), function)
    atheris.Setup([program, *options], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
