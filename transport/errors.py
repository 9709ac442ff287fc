"""Every exception that ``transport`` adds to the tree of :mod:`actors.errors`.

::

    GreenroomError
    ├── CommandRefused                    (in actors)
    │   └── OutcomeUnknown                the reply got lost, and the client does not repeat the command
    └── TransportError
        ├── NotAuthenticated              the credentials prove no user
        │   └── TokenExpired              the token was valid until it expired
        ├── Forbidden                     the user is known, and refused
        ├── AuthUnavailable               whether the credentials are right cannot be found out at the moment
        ├── ClientClosed                  a call on a client after its ``async with`` block
        ├── TokenUnavailable              the application's own token callable failed
        └── ConnectionClosedForGood       the connection ended, and coming back would not help
            ├── HandshakeRejected         the server answered the upgrade with an HTTP error
            ├── PositionLost              a strict client's position cannot be recovered (4410)
            └── ServerBrokeProtocol       the server sent a message that is not in the protocol
"""

from __future__ import annotations

from actors.errors import CommandRefused, GreenroomError
from transport.protocol.close_codes import PROTOCOL_ERROR, UNRECOVERABLE_POSITION
from transport.protocol.names import OUTCOME_UNKNOWN

UNAVAILABLE = "authentication is not possible now"
"""Beginning of the text with which a client is sent away for now by AuthUnavailable. The server counts it apart."""


class TransportError(GreenroomError):
    """An error of a client's connection: the base class of all errors that this package adds."""


class ClientClosed(TransportError):
    """The client's ``async with`` block has ended, so calls on the client no longer work.

    It is not known whether the server has done a command that had no reply when the block ended.
    """


class TokenUnavailable(TransportError):
    """The token callable raised an exception, or returned a value that is not a string.

    An exception that the callable raised is the cause of this exception.
    """


class OutcomeUnknown(CommandRefused):
    """The reply to a command got lost, and perhaps the server has forgotten the command's id by now.

    The client does not send the command again, because perhaps the server would do it twice. It is not known whether
    the command was done: find out before you repeat it. The ``code`` is ``outcome_unknown``.
    """

    def __init__(self, code: str = OUTCOME_UNKNOWN, message: str = "the reply was lost and its time is over") -> None:
        super().__init__(code, message)


class ConnectionClosedForGood(TransportError):
    """The connection ended with ``code`` and ``reason``, and the client does not reconnect.

    An iterator first returns the events that have arrived, and then raises this error. It is not known whether a
    command without a reply was done.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"closed permanently with {self.code}: {self.reason or 'no reason given'}"


class HandshakeRejected(ConnectionClosedForGood):
    """The server refused the upgrade to WebSocket with an HTTP error.

    ``code`` is the HTTP status, ``reason`` the text of the answer.
    """

    def __str__(self) -> str:
        return f"the server answered HTTP {self.code}: {self.reason or 'no reason given'}"


class PositionLost(ConnectionClosedForGood):
    """The server cannot send the events after the position of a client that connected with ``strict=True``.

    The same ``resume`` would be refused each time. The application should drop the state that it built from events, and
    connect without a ``resume``.
    """

    def __init__(self, code: int = UNRECOVERABLE_POSITION, reason: str = "unrecoverable position") -> None:
        super().__init__(code, reason)


class ServerBrokeProtocol(ConnectionClosedForGood):
    """The server sent a message that the protocol does not allow. ``reason`` describes the fault; ``code`` is 1002."""

    def __init__(self, code: int = PROTOCOL_ERROR, reason: str = "the server broke the protocol") -> None:
        super().__init__(code, reason)


class NotAuthenticated(TransportError):
    """The credentials do not prove the user's identity. The connection is closed with 4501 and this error's message."""


class TokenExpired(NotAuthenticated):
    """The token has expired. The connection is closed with 4004, and the client reconnects with a fresh token."""


class Forbidden(TransportError):
    """The user is known, but is not allowed to connect. The connection is closed with 4502 and this error's message."""


class AuthUnavailable(TransportError):
    """The credentials cannot be checked at the moment, for example because a database does not answer.

    The connection is closed with 4005 and this error's message, and the client reconnects later.
    """
