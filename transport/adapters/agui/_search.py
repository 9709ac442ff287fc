"""The search for an AG-UI run in the events of a session."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import attrs
import orjson

from actors import AgentStarted, InputReceived, InputRequested, InputWithdrawn
from actors.events.decoding import decode_line
from transport.adapters.agui._run_view import first_id, id_behind
from transport.adapters.agui.frontend import frontend_call
from transport.adapters.past import past_lines

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Sequence

    from actors import Event
    from actors.spi import Attachment


@attrs.frozen
class Asked:
    """A question to the user, as the events of its session tell it."""

    root: str
    """Id of the topmost run above the question."""
    started: int
    """Seq of the start of that run."""
    closed_by: str | None
    """The sender of the answer. None while the question is open; "" if it was withdrawn."""
    is_tool: bool
    """Whether it is the call of a frontend tool."""


async def find_start(attachment: Attachment, command_id: str) -> int | None:
    """Return the seq of the start of the run that a command has started. Return None if no event tells it."""
    needle = b'"command_id":' + orjson.dumps(command_id)
    async with aclosing(_events(attachment, (needle,))) as events:
        async for event in events:
            if isinstance(event, AgentStarted) and event.command_id == command_id:
                return event.seq
    return None


async def find_questions(attachment: Attachment, questions: Collection[str]) -> dict[str, Asked]:
    """Return questions of the session by their ids. Leave out unknown ones, and those without the start of their run.

    The events are read once. *A request with thousands of ids made as many readings.*
    """
    wanted, roots = frozenset(questions), dict[str, tuple[str, int]]()
    found: dict[str, Asked] = {}
    async with aclosing(_events(attachment, (b'"type":"agent_started"', b'"type":"input_'))) as events:
        async for event in events:
            call = str(event.call_id)
            if isinstance(event, AgentStarted):
                own = (str(event.run_id), event.seq)
                top = own if event.parent_run_id is None else roots.get(event.parent_run_id)
                if top is not None:
                    roots[str(event.run_id)] = top
            elif isinstance(event, InputRequested) and call in wanted and (root := roots.get(str(event.run_id))):
                found[call] = Asked(*root, None, frontend_call(event) is not None)
            elif isinstance(event, (InputReceived, InputWithdrawn)) and call in found:
                by = event.by if isinstance(event, InputReceived) else None
                found[call] = attrs.evolve(found[call], closed_by=by or "")
    return found


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


async def find_running(attachment: Attachment) -> list[str]:
    """Return the ids of the AG-UI runs that are open, in the order of their starts.

    A run that waits for its user has no open AG-UI run.
    """
    still_open = {run.id for run in attachment.runs}
    if not still_open:
        return []
    ids: dict[str, str] = {}  # topmost run -> the newest AG-UI run of it
    roots: dict[str, str] = {}
    questions: dict[str, set[str]] = {}  # topmost run -> its open questions
    async with aclosing(_events(attachment, (b'"type":"agent_started"', b'"type":"input_'))) as events:
        async for event in events:
            run, call = str(event.run_id), str(event.call_id)
            if isinstance(event, AgentStarted):
                root = run if event.parent_run_id is None else roots.get(event.parent_run_id)
                if root is not None:
                    roots[run] = root
                if root == run:
                    ids[run], questions[run] = first_id(event), set()
            elif (root := roots.get(run)) is None:
                continue
            elif isinstance(event, InputRequested):
                questions[root].add(call)
            elif call in questions[root]:
                questions[root].discard(call)
                ids[root] = id_behind(root, event)
    return [id_ for root, id_ in ids.items() if root in still_open and not questions[root]]


async def _events(attachment: Attachment, needles: Sequence[bytes]) -> AsyncGenerator[Event]:
    """Yield the events, up to the newest one at the attach, of which the JSON text has one of the ``needles``.

    Only these are decoded: a session can have 10,000 events.
    """
    async with aclosing(past_lines(attachment)) as pages:
        async for lines in pages:
            for line in lines:
                if any(needle in line for needle in needles):
                    yield decode_line(line)
