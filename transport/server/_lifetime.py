"""The end of a connection, and the state that all parts of the connection share."""

from __future__ import annotations

import logging
import random
import secrets
import time
from typing import TYPE_CHECKING, Any

import attrs
import trio

from actors import FailureKind
from actors.failures import log_failure
from transport.protocol import close_codes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actors import RecentFailures

logger = logging.getLogger("greenroom.connections")

# Milliseconds until a client should reconnect, spread at random. *A thousand clients that are sent away at once would
# otherwise come back in the same instant.*
_RETRY_MS = (200, 2_000)


class End(Exception):
    """An instruction to close the connection with ``code`` and ``reason``.

    Code that handles a client's frame raises this exception.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


@attrs.frozen
class Closing:
    """The decision to close a connection: the code, the reason, and the delay before the client reconnects."""

    code: int
    reason: str
    retry_ms: int | None
    """Delay in ms before the client reconnects. None if the client should not reconnect."""

    @property
    def is_refusal(self) -> bool:
        """Whether the connection is closed because its user is refused. Such a client gets no more events."""
        return self.code in (close_codes.NOT_AUTHENTICATED, close_codes.FORBIDDEN)


class Lifetime:
    """The state of one connection: whether and how the connection is ending, and the tasks that it has started.

    The parts of a connection (delivery, requests) use this object to end the connection, so that they need no reference
    to the connection itself. Since there is no cycle of references, an ended connection is freed at once.
    """

    __slots__ = ("_failures", "closing", "id", "nursery", "origin", "over", "scope", "since")

    def __init__(self, failures: RecentFailures) -> None:
        self._failures = failures
        self.id = f"c-{secrets.token_hex(8)}"
        self.since = time.time()
        """Time at which the connection was accepted, in seconds since 1970."""
        self.scope = trio.CancelScope()
        """The scope of the present work of the connection's task. The first :meth:`close` cancels it.

        First this is reading from the client, then the goodbye, then the time in which the client reads the last words.
        """
        self.nursery: trio.Nursery
        """The nursery of the connection's other tasks. The nursery is set when the connection begins to run."""
        self.closing: Closing | None = None
        """The decision to close the connection, or None.

        When it is set, only the last events and a goodbye frame are still written.
        """
        self.origin: str | None = None
        """The ``traceparent`` of the upgrade, if runs are traced: the trace of starts that name no other."""
        self.over = False
        """Whether the connection has ended and released everything. If so, methods of its parts do nothing."""

    def close(self, code: int, reason: str) -> None:
        """Close the connection with ``code``. If possible, first send a goodbye frame with the reason. Never waits.

        If this is called more than once, the first call decides the code and reason.
        """
        if self.closing is None:
            self.closing = Closing(code, close_codes.truncate_reason(reason), retry_ms(code))
            self.scope.cancel()

    def note_closed(self, code: int, reason: str) -> bool:
        """Record that the WebSocket itself closes the connection with ``code``.

        Return False if another close was decided before.
        """
        if self.closing is not None:
            return False
        self.closing = Closing(code, reason, None)
        return True

    def internal_error(self, error: BaseException, what: str) -> End:
        """Log ``error`` with a reference number.

        Return an ``End`` to raise, which tells the client only this number.
        """
        reference = secrets.token_hex(4)
        fields: dict[str, Any] = {"connection": self.id, "reference": reference}
        log_failure(logger, "%s on connection %s, reference %s", what, self.id, reference, error=error, fields=fields)
        self._failures.add(FailureKind.CONNECTION, what, error, **fields)
        return End(close_codes.INTERNAL_ERROR, f"{what}, reference {reference}")

    def fail(self, error: BaseException, what: str) -> None:
        """Log ``error`` and close the connection with 4006. Do nothing if the connection has ended.

        ``what`` is a sentence for the log and for the client, such as "the delivery failed".
        """
        if not self.over:
            end = self.internal_error(error, what)
            self.close(end.code, end.reason)

    def start(self, work: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Run ``work`` in a new task of the connection. If the work fails, the connection is closed with 4006."""
        self.nursery.start_soon(self._contain, work, *arguments)

    async def _contain(self, work: Callable[..., Awaitable[None]], *arguments: object) -> None:
        try:
            await work(*arguments)
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - a log may raise anything, and trio would show it
            self.fail(error, "the delivery failed")


def retry_ms(code: int) -> int | None:
    """Return a random delay in ms before a client reconnects after ``code``. Return None for no reconnect."""
    return random.randint(*_RETRY_MS) if close_codes.comes_back(code) else None  # noqa: S311 - spread, not secrecy
