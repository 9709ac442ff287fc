"""Helpers that ask the librarian a question, as a client does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors import JSON, AgentCompleted, Event
from transport.client import connect

if TYPE_CHECKING:
    from transport import Greenroom


async def ask(app: Greenroom, question: JSON) -> list[Event]:
    """Ask one question over a socket and return the events of the run."""
    events: list[Event] = []
    async with app.running(port=0) as server, connect(server.url, "s1") as client:
        run_id = await client.start("librarian", question)
        async for event in client.events():
            assert isinstance(event, Event)
            events.append(event)
            if isinstance(event, AgentCompleted) and event.run_id == run_id:
                break
    return events


def events_of_kind(kind: type[Any], events: list[Event]) -> list[Any]:
    """Return the events of one class."""
    return [event for event in events if isinstance(event, kind)]
