"""Entries: the knowledge about one name of the standard library."""

import re
import sysconfig
from pathlib import Path
from typing import Any

import attrs

DATA = Path(__file__).with_name("data")
STDLIB = Path(sysconfig.get_path("stdlib"))
"""The folder of the standard library of this Python."""


@attrs.frozen
class Entry:
    """A module, or a name in a module by which users import it: a class, a function, a method or a value.

    ``file`` is relative to ``STDLIB``, and lines are counted from 1. A name written in C has neither (empty, 0).
    """

    module: str
    name: str
    kind: str
    signature: str = ""
    doc: str = ""
    file: str = ""
    line: int = 0
    end_line: int = 0

    @property
    def symbol(self) -> str:
        """The whole dotted name: ``csv.DictReader``. The symbol of a module is its name."""
        return f"{self.module}.{self.name}" if self.name else self.module

    @property
    def summary(self) -> str:
        """The first paragraph of prose in the docstring, on one line. Functions in C begin with a signature."""
        paragraphs = [" ".join(part.split()) for part in self.doc.strip().split("\n\n")]
        not_prose = re.compile(rf"(\w+ = )?(\w+\.)?{re.escape(self.name.rpartition('.')[2])}\(|>>>")
        return next((part for part in paragraphs if not not_prose.match(part)), paragraphs[0])

    def described(self) -> dict[str, Any]:
        """Return the entry as JSON for the results of tools. ``at`` is the place of its source, as ``file:line``."""
        at = f"{self.file}:{self.line}" if self.file else f"{self.module} (built in, written in C)"
        fields = {field: getattr(self, field) for field in ("symbol", "module", "name", "kind", "signature")}
        return {**fields, "summary": self.summary[:400], "at": at}
