"""What the library knows about one name of the standard library."""

from __future__ import annotations

import re

import attrs


@attrs.frozen(kw_only=True)
class Entry:
    """One module, class, function or method, under the name by which users import it.

    ``file`` is relative to the folder of the standard library and ``line`` to ``end_line`` are counted from 1; a
    name that is written in C has neither (empty, 0). ``code`` is the text of its source without the docstring, for
    searching only.
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

    @property
    def symbol(self) -> str:
        """The whole dotted name: ``csv.DictReader``; a module is its own."""
        return f"{self.module}.{self.name}" if self.name else self.module

    @property
    def summary(self) -> str:
        """The first paragraph of the docstring that is prose, on one line; C functions begin with a signature."""
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
        """Where it is written, as ``file:line``."""
        return f"{self.file}:{self.line}" if self.file else f"{self.module} (built in, written in C)"
