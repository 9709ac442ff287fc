"""The lines of log on stderr: as text for people, or as JSON for programs."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from transport._sources import PREFIX
from transport.cli import _terminal
from transport.logs import JsonFormatter
from transport.workers._lines import NumberedLines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transport._sources import Given

_TEXT = "%(levelname)s %(name)s: %(message)s"


def begin_logging(level: str) -> None:
    """Write lines of at least ``level`` to stderr, as text. Do nothing if the program has handlers already."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextLines(_TEXT))
    logging.basicConfig(level=level, handlers=[handler])


def use_log_format(log_format: str, worker: int | None = None) -> None:
    """Write all further lines in a format, ``text`` or ``json``. The handlers of the app itself are left alone.

    ``worker`` is the number of this process among several workers, from 1 on. Lines of JSON have it as a field.
    """
    is_json = log_format == "json"
    formatter = JsonLines(worker) if is_json else TextLines(_TEXT)
    if is_json and isinstance(sys.stderr, NumberedLines):
        sys.stderr.drop_prefix()
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, (TextLines, JsonLines)):
            handler.setFormatter(formatter)
    _terminal.write_as(formatter.written if isinstance(formatter, JsonLines) else _terminal.as_text)


def early_format(given: Sequence[Given]) -> str:
    """Return the format that the command line or the environment names, for lines before the app is loaded."""
    named = [str(each.value) for each in given if each.name == "log_format"]
    return named[-1] if named else os.environ.get(f"{PREFIX}LOG_FORMAT", "text")


class TextLines(logging.Formatter):
    """The text format of the commands."""


class JsonLines(JsonFormatter):
    """The JSON format of the commands. ``worker`` is the number of this process among several workers."""

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._more = {"worker": worker} if worker else {}

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """Return the fields of a line, with the number of the worker."""
        return {**super().fields(record), **self._more}

    def written(self, line: str) -> str:
        """Return a line for the person at the terminal in the form of a log line."""
        return self.format(logging.LogRecord("greenroom.cli", logging.INFO, __file__, 0, line, None, None))
