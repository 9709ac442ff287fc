"""A question that an agent asked its user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

if TYPE_CHECKING:
    from actors.events.types import JSON


@attrs.define(eq=False)
class Question:
    """Wait in :meth:`answered` for what :meth:`answer` brings. Made and forgotten by the run that asks."""

    run_id: str
    _answered: trio.Event = attrs.field(factory=trio.Event)
    value: JSON = None
    """The answer, once there is one."""

    @property
    def is_answered(self) -> bool:
        """Whether an answer was taken."""
        return self._answered.is_set()

    def answer(self, value: JSON) -> None:
        """Give the answer; the first one counts."""
        if not self._answered.is_set():
            self.value = value
            self._answered.set()

    async def answered(self) -> None:
        """Wait until there is an answer. Safe to cancel."""
        await self._answered.wait()
