"""A question that a run asks its user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from actors.loop.one_shot import OneShot

if TYPE_CHECKING:
    from actors.events.types import JSON


@attrs.define(eq=False)
class Question:
    """An open question to the user. The run that asks it makes and removes it; the session sets the answer."""

    run_id: str
    """Id of the run that asks."""
    _answer: OneShot[JSON] = attrs.field(factory=OneShot["JSON"])

    @property
    def is_answered(self) -> bool:
        """Whether there is an answer."""
        return self._answer.is_set

    @property
    def value(self) -> JSON:
        """The answer. Raises :class:`trio.WouldBlock` while there is none."""
        return self._answer.result()

    def answer(self, value: JSON) -> None:
        """Set the answer. Do nothing if there is an answer already."""
        self._answer.set(value)

    async def answered(self) -> None:
        """Wait until there is an answer. Safe to cancel."""
        await self._answer.wait()
