"""A session in the terminal: its events as they come."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import orjson

from transport.client import Reset, connect

if TYPE_CHECKING:
    from actors import Event


async def follow(url: str, session: str, token: str | None, latest: bool, as_json: bool) -> None:  # noqa: FBT001 - from the command line, in its order
    """Print a session's events until cancelled, or until its server sends this client away for good."""
    async with connect(url, session, token, from_="latest" if latest else "oldest", client="greenroom-tail") as client:
        async for event in client.events():
            if isinstance(event, Reset):
                line = orjson.dumps({"reset": event.reason}).decode() if as_json else f"-- reset: {event.reason}"
            else:
                line = _json(event) if as_json else _line(event)
            print(line, flush=True)


def _json(event: Event) -> str:
    envelope = {
        name: getattr(event, name)
        for name in ("seq", "ts", "type", "run_id", "parent_run_id", "call_id")
        if getattr(event, name) is not None
    }
    return orjson.dumps({**envelope, "data": event.data}).decode()


def _line(event: Event) -> str:
    """One line, whatever is in it: what a terminal would obey is escaped."""
    when = dt.datetime.fromtimestamp(event.ts / 1000, dt.UTC).astimezone().strftime("%H:%M:%S")
    whose = event.call_id or event.run_id or "-"
    return f"{event.seq:>6} {when} {event.type:<16} {whose:<22} {orjson.dumps(event.data).decode()}"
