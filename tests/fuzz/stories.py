"""What the specification says about all that one client has sent: the commands that count, and how it may end."""

from __future__ import annotations

from collections import Counter

import attrs
from fuzz.reference import Limits, expected

from transport.protocol import close_codes
from transport.protocol.client_frames import (
    BadFrame,
    ClientFrame,
    CommandFrame,
    Hello,
    HistoryFrame,
    TokenFrame,
    TypingFrame,
    parse,
)

LIMITS = Limits(fragments=5_000, size=4_096)
REFUSED_TOKENS = {
    None: close_codes.NOT_AUTHENTICATED,
    "expired": close_codes.TOKEN_EXPIRED,
    "forbidden": close_codes.FORBIDDEN,
}
_BURST = 40
"""Requests that a connection may send at once."""
_CONTROLS = 100
"""Control frames that a connection may send at once."""


@attrs.define
class Story:
    """The meaning of a client's bytes, up to the first fault in them."""

    hello: Hello | None = None
    user: str = ""
    commands: Counter[str] = attrs.Factory(Counter[str])
    """How often each command id was sent after the hello."""
    tokens: list[str] = attrs.Factory(list[str])
    """The fresh tokens that were sent after the hello."""
    closes_session: bool = False
    """Whether one of the commands closes the session."""
    histories: Counter[str] = attrs.Factory(Counter[str])
    bad_histories: int = 0
    faults: set[int] = attrs.Factory(set[int])
    """The close codes for the first fault. The server must close with one of them."""
    is_echo: bool = False
    """Whether the client itself closes the connection, with one of these codes."""
    early: bool = False
    """Whether the fault is in a frame that has not arrived completely: the server may still wait for the rest."""
    requests: int = 0
    controls: int = 0

    @property
    def wrong_tokens(self) -> set[int]:
        """The close codes for the fresh tokens that the server must not accept."""
        wrong = [token for token in self.tokens if token != self.user]
        return {REFUSED_TOKENS.get(token, close_codes.NOT_AUTHENTICATED) for token in wrong}

    @property
    def fast(self) -> bool:
        """Whether the client may have exceeded its rate limit for requests."""
        return self.requests > _BURST

    @property
    def floods(self) -> bool:
        """Whether the client may have exceeded its limits so far that it is closed."""
        return self.controls > _CONTROLS


def story_of(data: bytes, users: tuple[str, ...]) -> Story:
    """Return the story of a client that has sent these bytes after the upgrade."""
    story, wire = Story(), expected(data, LIMITS)
    story.controls = wire.controls
    for message in wire.messages:
        if (fault := _take(story, message, users)) is not None:
            story.faults = {fault}
            return story
    story.faults, story.early, story.is_echo = wire.codes, wire.early, wire.is_echo
    return story


def _take(story: Story, message: str | bytes, users: tuple[str, ...]) -> int | None:
    """Add a message to the story. Return the close code for its fault."""
    if isinstance(message, bytes):
        return close_codes.UNSUPPORTED_DATA
    if len(message.encode()) > LIMITS.size:
        return close_codes.MESSAGE_TOO_BIG
    try:
        frame = parse(message)
    except BadFrame:
        return close_codes.BAD_FRAME
    if isinstance(frame, Hello) == (story.hello is not None):
        return close_codes.BAD_FRAME
    return _note(story, frame, len(message), users)


def _note(story: Story, frame: ClientFrame, size: int, users: tuple[str, ...]) -> int | None:
    match frame:
        case Hello():
            story.hello = frame
            if frame.token not in users:
                return REFUSED_TOKENS.get(frame.token, close_codes.NOT_AUTHENTICATED)
            story.user = frame.token
        case CommandFrame():
            story.requests += 1
            story.commands[frame.id] += 1
            story.closes_session |= frame.name == "session.close"
        case HistoryFrame():
            story.requests += 1
            if frame.fault is None:
                story.histories[frame.id] += 1
            else:
                story.bad_histories += 1
        case TypingFrame():
            story.requests += 1
            story.controls += 1
        case TokenFrame():
            story.requests += 1
            # Of several tokens that come at once only the newest is checked.
            story.tokens.append(frame.token)
        case _:
            story.controls += 1 + size // 1024
    return None
