"""The search for an AG-UI run in the events of a session."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import attrs
import orjson

from actors import AgentStarted, InputReceived, InputRequested, InputWithdrawn
from actors.events.decoding import decode_line

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from actors import Event
    from actors.spi import Attachment

_PAGE_EVENTS = 1_000
_PAGE_BYTES = 1024 * 1024


@attrs.frozen
class Asked:
    """A question to the user, as the events of its session tell it."""

    root: str
    """Id of the topmost run above the question."""
    started: int
    """Seq of the start of that run."""
    closed_by: str | None
    """The sender of the answer. None while the question is open; "" if it was withdrawn."""


async def find_start(attachment: Attachment, command_id: str) -> int | None:
    """Return the seq of the start of the run that a command has started. Return None if no event tells it."""
    needle = b'"command_id":' + orjson.dumps(command_id)
    async with aclosing(_events(attachment, (needle,))) as events:
        async for event in events:
            if isinstance(event, AgentStarted) and event.command_id == command_id:
                return event.seq
    return None


async def find_question(attachment: Attachment, question: str) -> Asked | None:
    """Return a question of the session. Return None if it is unknown, or if the start of its run was trimmed."""
    call = b'"call_id":' + orjson.dumps(question)
    roots: dict[str, tuple[str, int]] = {}
    found: tuple[str, int] | None = None
    closed_by: str | None = None
    async for event in _events(attachment, (b'"type":"agent_started"', call)):
        match event:
            case AgentStarted():
                own = (str(event.run_id), event.seq)
                top = own if event.parent_run_id is None else roots.get(event.parent_run_id)
                if top is not None:
                    roots[str(event.run_id)] = top
            case InputRequested(call_id=call_id) if call_id == question:
                found = roots.get(str(event.run_id))
            case InputReceived(call_id=call_id) if call_id == question:
                closed_by = event.by or ""
            case InputWithdrawn(call_id=call_id) if call_id == question:
                closed_by = ""
            case _:
                pass
    return None if found is None else Asked(*found, closed_by)


async def find_answered(attachment: Attachment, sender: str) -> str | None:
    """Return the id of the topmost run above a question that this sender has answered. Return None if there is none."""
    by = b'"by":' + orjson.dumps(sender)
    roots: dict[str, str] = {}
    found: str | None = None
    async for event in _events(attachment, (b'"type":"agent_started"', by)):
        if isinstance(event, AgentStarted):
            run = str(event.run_id)
            roots[run] = run if event.parent_run_id is None else roots.get(event.parent_run_id, event.parent_run_id)
        elif isinstance(event, InputReceived) and event.by == sender:
            found = roots.get(str(event.run_id))
    return found


async def _events(attachment: Attachment, needles: Sequence[bytes]) -> AsyncGenerator[Event]:
    """Yield the events, up to the newest one at the attach, of which the JSON text has one of the ``needles``.

    Only these are decoded: a session can have 10,000 events.
    """
    after = attachment.oldest - 1
    while after < attachment.latest:
        lines, _ = await attachment.history(after, _PAGE_EVENTS, _PAGE_BYTES)
        if not lines:
            return
        for line in lines:
            if any(needle in line for needle in needles):
                yield decode_line(line)
        after = _seq(lines[-1])


def _seq(line: bytes) -> int:
    event: dict[str, Any] = orjson.loads(line)
    return int(event["seq"])
