"""A question that a run asks its user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from actors.loop.one_shot import OneShot

if TYPE_CHECKING:
    from actors.events.types import JSON


@attrs.define(eq=False)
class Question:
    """An open question to the user. A run makes this object to ask the question, and removes it later.

    The session sets the answer.
    """

    run_id: str
    """Id of the run that asks the question."""
    _answer: OneShot[JSON] = attrs.field(factory=OneShot["JSON"])

    @property
    def is_answered(self) -> bool:
        """Whether the question has an answer."""
        return self._answer.is_set

    @property
    def value(self) -> JSON:
        """The answer to the question. Reading it raises :class:`trio.WouldBlock` while there is no answer."""
        return self._answer.result()

    def answer(self, value: JSON) -> None:
        """Set the answer to the question. Do nothing if the question has an answer already."""
        self._answer.set(value)

    async def answered(self) -> None:
        """Wait until the question has an answer. Cancelling this wait changes nothing."""
        await self._answer.wait()
