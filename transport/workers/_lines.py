"""Lines of a worker on stderr, with the number of the worker."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TextIO


class NumberedLines:
    """A text stream that writes each line to another stream, with a prefix.

    A line is written as a whole, in one call: lines of several processes are not mixed.
    """

    def __init__(self, stream: TextIO, prefix: str) -> None:
        self._stream = stream
        self._prefix = prefix
        self._begun = ""
        """The line that has no end yet."""
        # Threads may write, too. A signal handler may write while its own thread holds the lock.
        self._lock = threading.RLock()

    def write(self, text: str) -> int:
        """Write the lines that end in ``text``, and keep the rest. Return the length of ``text``."""
        with self._lock:
            whole, end, self._begun = (self._begun + text).rpartition("\n")
            if end:
                self._stream.write("".join(f"{self._prefix}{line}\n" for line in whole.split("\n")))
                self._stream.flush()
        return len(text)

    def drop_prefix(self) -> None:
        """Write all further lines without the prefix: lines of JSON have the number of the worker in a field."""
        self._prefix = ""

    def flush(self) -> None:
        """Write a line that has no end yet, and end it."""
        with self._lock:
            if self._begun:
                self.write("\n")
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the other stream, such as ``encoding`` or ``fileno``."""
        return getattr(self._stream, name)
