"""Entries: the knowledge about one name of the standard library."""

from __future__ import annotations

import re
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class Entry:
    """A module, class, function or method, under the name by which users import it.

    ``file`` is relative to the folder of the standard library, and lines are counted from 1. A name written in C has
    neither (empty, 0). ``code`` is its source without the docstring, for searching only.
    """

    module: str
    name: str
    kind: str
    signature: str = ""
    doc: str = ""
    file: str = ""
    line: int = 0
    end_line: int = 0
    code: str = ""

    @classmethod
    def of(cls, *columns: Any) -> Entry:
        """Return the entry of a row of the index, which has all fields but ``code``, in their order."""
        return cls(**dict(zip((field.name for field in attrs.fields(cls)), columns, strict=False)))

    @property
    def symbol(self) -> str:
        """The whole dotted name: ``csv.DictReader``. The symbol of a module is its name."""
        return f"{self.module}.{self.name}" if self.name else self.module

    @property
    def summary(self) -> str:
        """The first paragraph of prose in the docstring, on one line. Functions in C begin with a signature."""
        paragraphs = [" ".join(part.split()) for part in self.doc.strip().split("\n\n")]
        last = re.escape(self.name.rpartition(".")[2])
        prose = [
            part
            for part in paragraphs
            if not re.match(rf"(\w+ = )?(\w+\.)?{last}\(", part) and not part.startswith(">>>")
        ]
        return (prose or paragraphs)[0] if self.doc else ""

    @property
    def place(self) -> str:
        """The place of the source, as ``file:line``."""
        return f"{self.file}:{self.line}" if self.file else f"{self.module} (built in, written in C)"
