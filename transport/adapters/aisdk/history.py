"""The messages of a chat, made of the events of its session. Pure."""

from __future__ import annotations

import itertools
from collections import deque
from typing import TYPE_CHECKING, Any

import attrs
import orjson

from actors.events.types import EventType
from transport.adapters.aisdk.body import message_key, message_key_of
from transport.adapters.aisdk.encoder import Encoder
from transport.adapters.aisdk.reader import MessageReader

if TYPE_CHECKING:
    from transport.adapters.aisdk.encoder import Event

MAX_TURNS = 250
"""Maximum number of answers in the messages of a chat. Older ones are left out."""
MAX_BYTES = 8 * 1024 * 1024
"""Size of the events in bytes from which older answers are left out. The newest answer is always there."""
_STARTED = orjson.dumps(EventType.AGENT_STARTED)


@attrs.define(eq=False)
class _Turn:
    """A message of the user, and the answer to it."""

    key: str
    """The id of the user's message."""
    input: Any
    encoder: Encoder
    reader: MessageReader = attrs.field(factory=MessageReader)
    size: int = 0

    def user(self) -> dict[str, Any]:
        """Return the message of the user: its text, or the input of the agent if that is no text."""
        is_text = isinstance(self.input, str)
        part = {"type": "text", "text": self.input} if is_text else {"type": "data-input", "data": self.input}
        return {"id": self.key, "role": "user", "parts": [part]}


class ChatHistory:
    """The messages of one chat with one agent. Feed it all events of the session, in their order.

    Each run that has no parent is a message of the user and, when it has ended, its answer. A run that was started for
    the same message again (another answer, or an edited text) replaces the first one and all that follows, as in a
    page. Of the runs that are still open, the newest one has its message of the user at the end: the page gets its
    answer as a stream.

    Args:
        agent: Name of the agent.
    """

    def __init__(self, agent: str) -> None:
        self._agent = agent
        self._turns: deque[_Turn] = deque()
        self._open: dict[str, _Turn] = {}
        self._size = 0

    def feed(self, line: bytes) -> None:
        """Take the next event, as the log stores it."""
        event: Event = orjson.loads(line)
        if event["type"] == EventType.AGENT_STARTED and event.get("parent_run_id") is None:
            if event["data"]["agent"] != self._agent:
                return
            self._begin(event)
        for run, turn in list(self._open.items()):
            chunks = turn.encoder.feed(event)
            if chunks:
                turn.reader.take(chunks)
                turn.size += len(line)
                self._size += len(line)
            if turn.encoder.over:
                del self._open[run]
        while len(self._turns) > 1 and (len(self._turns) > MAX_TURNS or self._size > MAX_BYTES):
            self._drop(self._turns.popleft())

    def messages(self) -> list[dict[str, Any]]:
        """Return the messages, as the SDK has them."""
        made: list[dict[str, Any]] = []
        for turn in self._turns:
            if turn.encoder.over:
                made += [turn.user(), turn.reader.message]
        newest = next(reversed(self._open.values()), None)
        return made if newest is None else [*made, newest.user()]

    def _begin(self, event: Event) -> None:
        run, key = str(event["run_id"]), _key_of(event)
        place = next((number for number, turn in enumerate(self._turns) if turn.key == key), None)
        if place is not None:
            for turn in list(itertools.islice(self._turns, place, None)):
                self._turns.remove(turn)
                self._drop(turn)
        turn = _Turn(key, event["data"].get("input"), Encoder(run))
        self._turns.append(turn)
        self._open[run] = turn

    def _drop(self, turn: _Turn) -> None:
        self._size -= turn.size
        for run in [run for run, each in self._open.items() if each is turn]:
            del self._open[run]


def answer_to(message_id: str, agent: str, line: bytes) -> Event | None:
    """Return the event of a line if it starts a run of the agent that answers a message of the user. Else None."""
    if _STARTED not in line:
        return None
    event: Event = orjson.loads(line)
    is_answer = event["type"] == EventType.AGENT_STARTED and event.get("parent_run_id") is None
    is_asked = is_answer and event["data"]["agent"] == agent and _key_of(event) == message_key(message_id)
    return event if is_asked else None


def _key_of(event: Event) -> str:
    """Return the id of the user's message from the start of its answer."""
    return message_key_of(event["data"].get("command_id")) or message_key(f"{event['run_id']}:input")
