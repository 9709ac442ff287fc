"""Every exception that ``transport`` adds to the tree of :mod:`actors.errors`.

::

    GreenroomError
    ├── CommandRefused                    (of actors)
    │   └── OutcomeUnknown                a command that was sent, and may not be sent again to learn its outcome
    └── TransportError
        ├── NotAuthenticated              who is there is not known
        │   └── TokenExpired              it was known until the token's time was over
        ├── Forbidden                     who is there is known, and refused
        ├── ClientClosed                  a call on a client after its ``async with`` block
        ├── TokenUnavailable              the application's own token callable raised
        └── ConnectionClosedForGood       the connection ended and coming back would not help
            ├── HandshakeRejected         the server answered the upgrade with an HTTP error
            ├── PositionLost              a strict client's position cannot be recovered (4410)
            └── ServerBrokeProtocol       the server sent what is no frame of the protocol
"""

from __future__ import annotations

from actors.errors import CommandRefused, GreenroomError
from transport.protocol.close_codes import UNRECOVERABLE_POSITION

_PROTOCOL_ERROR = 1002


class TransportError(GreenroomError):
    """Something about a connection."""


class ClientClosed(TransportError):
    """The client's ``async with`` block has ended; whether a command without a reply was done is not known."""


class TokenUnavailable(TransportError):
    """The token callable raised (its exception is the cause) or returned something that is no string."""


class OutcomeUnknown(CommandRefused):
    """A command was sent and its reply got lost, and the server may have forgotten the command's id by now.

    Sending it again might do it twice, so the client does not. Its ``code`` is ``outcome_unknown``: the command may or
    may not have been done. Unlike other refusals it is no reason to try again unseen.
    """

    def __init__(self, code: str = "outcome_unknown", message: str = "the reply was lost and its time is over") -> None:
        super().__init__(code, message)


class ConnectionClosedForGood(TransportError):
    """The connection ended with ``code`` and ``reason`` and the client does not come back.

    What had arrived before was handed out first; a command without a reply may or may not have been done.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"closed for good with {self.code}: {self.reason or 'no reason given'}"


class HandshakeRejected(ConnectionClosedForGood):
    """The server answered the upgrade with an HTTP error; ``code`` is its status, ``reason`` what it said."""

    def __str__(self) -> str:
        return f"the server answered HTTP {self.code}: {self.reason or 'no reason given'}"


class PositionLost(ConnectionClosedForGood):
    """A client that connected with ``strict=True`` cannot have the events after its position.

    The same ``resume`` would be refused each time: drop the state that was built from it and connect without one.
    """

    def __init__(self, code: int = UNRECOVERABLE_POSITION, reason: str = "unrecoverable position") -> None:
        super().__init__(code, reason)


class ServerBrokeProtocol(ConnectionClosedForGood):
    """The server sent something that is no frame of the protocol; ``reason`` says what. Its ``code`` is 1002."""

    def __init__(self, code: int = _PROTOCOL_ERROR, reason: str = "the server broke the protocol") -> None:
        super().__init__(code, reason)


class NotAuthenticated(TransportError):
    """The credentials show nobody; the connection is closed with 4501. The message reaches the client."""


class TokenExpired(NotAuthenticated):
    """The token was good until its time was over; the connection is closed with 4004: come back with a fresh one."""


class Forbidden(TransportError):
    """The user is known and may not have this; the connection is closed with 4502. The message reaches the client."""
