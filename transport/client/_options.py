"""The arguments of ``connect``, checked when it is called. Otherwise the server would refuse wrong values later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import attrs

from actors.checks import is_whole
from actors.events.encoding import is_text
from actors.events.types import MAX_SEQ
from actors.failures import shown
from transport.errors import TokenUnavailable
from transport.protocol.client_frames import Hello
from transport.protocol.limits import SESSION_NAME, SESSION_NAME_RULE
from transport.protocol.names import StartFrom

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actors.events.types import Position

Token: TypeAlias = "str | Callable[[], str | Awaitable[str]] | None"  # noqa: S105  a type
"""A token, or a callable (sync or async) that returns a token, or None."""
From: TypeAlias = Literal["oldest", "latest"]


@attrs.frozen
class Options:
    """The limits and times of one client."""

    buffer_events: int
    """Maximum number of received events that wait for the application. Beyond this number, the client stops reading.

    The number can be exceeded by one message.
    """
    buffer_bytes: int
    """Maximum bytes of received events that wait for the application. Beyond this number, the client stops reading."""
    max_commands: int
    """Maximum number of commands that wait for a reply. One more command is refused with ``overloaded``."""
    signals: int
    """Maximum number of signals that wait for the application. If there are more, the oldest signals are dropped."""
    patience: float
    """Seconds for which the client stops reading while its buffer is full. Then it reads again, but skips events."""
    connect_seconds: float
    """Time limit in seconds of the TCP, TLS and WebSocket handshakes together."""
    token_seconds: float
    """Time limit in seconds of one call of the token callable. A longer call is cancelled, and made again later."""
    max_message_size: int
    """Maximum size of a message from the server, in characters. A larger message ends the client.

    The limit must be above the server's setting ``max_event_bytes``.
    """

    def __attrs_post_init__(self) -> None:
        """Raise ``ValueError`` for NaN, and for a limit with which the client could never do anything."""
        for name, value in attrs.asdict(self).items():
            # Without one event, byte or second nothing ever moves. A client may do without commands and signals.
            lowest = 0 if name in {"max_commands", "signals", "patience"} else 1e-9
            if not value >= lowest:
                raise ValueError(f"{name} must be {'0 or more' if lowest == 0 else 'more than 0'}, not {shown(value)}")


def make_hello(  # noqa: PLR0913  the arguments of `connect` that the server gets
    session: str, token: Token, resume: Position | None, from_: From, client: str, *, strict: bool
) -> Hello:
    """Return the first frame of each connection, without a token. ``token`` is only checked.

    Raise ``ValueError`` if no server would accept one of these values.
    """
    if not SESSION_NAME.fullmatch(session):
        raise ValueError(f"a session's name is {SESSION_NAME_RULE}, not {shown(session)}")
    if resume is not None and not (is_whole(resume.seq, 0, MAX_SEQ) and _is_string(resume.epoch)):
        raise ValueError(f"resume must have an epoch and a seq from 0 to 2^53-1, not {shown(resume)}")
    if from_ not in {StartFrom.OLDEST, StartFrom.LATEST}:
        raise ValueError(f"from_ must be 'oldest' or 'latest', not {shown(from_)}")
    for name, value in {"client": client, "token": None if callable(token) else token}.items():
        if value is not None and not _is_string(value):
            raise ValueError(f"{name} must be a string that UTF-8 can hold")
    return Hello(session, None, resume, from_latest=from_ == "latest", strict=strict, client=client)


def checked_token(token: object) -> str | None:
    """Return ``token`` if it is a string or None. Raise :class:`~transport.errors.TokenUnavailable` if it is not."""
    if token is not None and not _is_string(token):
        raise TokenUnavailable(f"the token callable returned no string but {type(token).__name__}")
    return cast("str | None", token)


def _is_string(value: object) -> bool:
    return isinstance(value, str) and is_text(value)
