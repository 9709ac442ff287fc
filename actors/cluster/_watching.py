"""The way from a client to the mirror of its session: the owner is asked, and the mirror gets the answer's state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from actors.cluster._mirror import EpochChanged
from actors.cluster._remote import raise_refusal
from actors.streams._ahead import is_ahead
from actors.streams._cursor import SessionEnding

if TYPE_CHECKING:
    from actors.cluster._mirror import Mirror
    from actors.cluster._mirrors import Mirrors
    from actors.cluster._questions import Questions
    from actors.events.types import Position
    from actors.sessions._settings import SessionSettings


@attrs.frozen
class Watching:
    """The questions to the owners of mirrors."""

    mirrors: Mirrors
    questions: Questions
    settings: SessionSettings

    async def begin(self, mirror: Mirror, resume: Position | None) -> dict[str, Any] | None:
        """Bring a mirror to the present state of its session, for a client with the position ``resume``.

        Return the state of the session. Return None if the user or the session has moved. Raise the owner's refusal, or
        LogUnavailable.
        """
        state = await self._ask(mirror, resume)
        if state and resume is not None and is_ahead(resume, mirror.epoch, mirror.committed_seq):
            # A restarted server may have lost an event that the owner is about to send again. *Another node looked into
            # the log, and told the client to drop all its events.*
            state = await self._ask(mirror, resume, ahead=resume.seq)
        return state

    async def _ask(self, mirror: Mirror, resume: Position | None, ahead: int = 0) -> dict[str, Any] | None:
        """Ask the owner to push the events. If the log lacks the event ``ahead``, the owner waits until it is sure."""
        key = mirror.key
        data = {"op": "watch", "user": key.user, "session": key.session, "number": mirror.number, "ahead": ahead}
        answer = await self.questions.ask_owner(key.user, data, mirror.owner)
        if answer is None:
            return None  # the user is this node's now
        raise_refusal(key, answer)
        return answer if await self._take(mirror, answer, resume) else None

    async def _take(self, mirror: Mirror, answer: dict[str, Any], resume: Position | None) -> bool:
        """Bring a mirror to the state that its owner has answered. Return False if the session has moved."""
        if answer["from"] != mirror.owner or mirror.ended:
            self.mirrors.unwatch(answer["from"], [mirror.number])
            return False
        if not mirror.epoch:
            settings = self.settings
            mirror.begin(answer["epoch"], answer["latest"], settings.ring_events, settings.ring_bytes)
        try:
            mirror.note_head(answer["latest"], answer["epoch"])
            await mirror.catch_up()
            if resume is not None and is_ahead(resume, mirror.epoch, mirror.committed_seq):
                await mirror.look()  # the log may have an event of which the owner does not know yet
            self.mirrors.deliver()
        except EpochChanged:
            self.mirrors.end(mirror, SessionEnding.MOVED)
        return not mirror.ended
