"""The command line: ``greenroom``."""

from transport.cli._main import main

__all__ = ["main"]
