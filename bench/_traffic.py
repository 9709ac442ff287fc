"""Agents whose events are like those of real agents: text in tokens, and runs with thoughts and tools."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from actors import Run

_TREE = Path(__file__).parent.parent
_PIECES = re.findall(r"\s*\S{1,6}", "\n\n".join(one.read_text() for one in sorted(_TREE.glob("actors/*/GUIDE.md"))))
"""English prose in pieces of the size of a model's tokens."""
OF_A_STEP = 10
"""Events of one step of :func:`runs`: a thought, the two of a tool, and seven of the answer."""


@attrs.frozen
class Count:
    """The number of ``events`` to emit, beside the start and the end of the run."""

    events: int


@attrs.define
class _Prose:
    """Prose that begins elsewhere for each run, and again from the start at its end."""

    _at: int = attrs.Factory(lambda: random.randrange(len(_PIECES)))  # noqa: S311 - no secret

    def words(self, number: int) -> str:
        """Return the next pieces."""
        found = "".join(_PIECES[self._at : self._at + number])
        self._at = (self._at + number) % len(_PIECES)
        return found

    async def search(self, query: str) -> list[dict[str, str]]:
        """Return three documents, as a tool would."""
        return [{"title": query, "url": f"https://example.org/docs/{at}", "text": self.words(25)} for at in range(3)]


async def tokens(run: Run, count: Count) -> None:
    """Answer in tokens, as a model does."""
    prose = _Prose()
    for _ in range(count.events):
        await run.output(prose.words(1))


async def runs(run: Run, count: Count) -> None:
    """Think, call a tool that finds three documents, and answer in pieces of sentences, step for step."""
    prose = _Prose()
    for _ in range(count.events // OF_A_STEP):
        await run.thinking(prose.words(30))
        await run.call_tool(prose.search, query=prose.words(6), timeout=10)
        for _ in range(OF_A_STEP - 3):
            await run.output(prose.words(12))
