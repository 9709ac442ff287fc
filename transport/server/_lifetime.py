"""How a connection ends, and the state of it that all its parts share."""

from __future__ import annotations

import logging
import random
import secrets
from typing import TYPE_CHECKING

import attrs
import trio

from actors.failures import log_failure
from transport.protocol import close_codes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger("greenroom.connections")

# Milliseconds until a client is to come back, spread at random. *A thousand clients that are sent away at once would
# otherwise come back in the same instant.*
_RETRY_MS = (200, 2_000)


class End(Exception):
    """The connection is to be closed with ``code`` and ``reason``. Raised by code that handles the client's frames."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


@attrs.frozen
class Closing:
    """The close that a connection is about to make."""

    code: int
    reason: str
    retry_ms: int | None
    """When the client is to come back; None if it is not to."""


class Lifetime:
    """The life of one connection, as its parts see it: whether and how it ends, and the tasks beside its own.

    It exists so that the parts (delivery, requests) can end their connection without knowing it: there is no circle of
    references, and an ended connection is freed at once.
    """

    __slots__ = ("closing", "id", "nursery", "over", "scope")

    def __init__(self) -> None:
        self.id = f"c-{secrets.token_hex(8)}"
        self.scope = trio.CancelScope()
        """The scope in which the connection listens to its client. It is cancelled by the first :meth:`close`."""
        self.nursery: trio.Nursery
        """Where the connection's other tasks run. Set when the connection is run."""
        self.closing: Closing | None = None
        """The close that was decided. Nothing but the goodbye is written from then on."""
        self.over = False
        """Whether the connection has released everything. From then on no call of its parts has an effect."""

    def close(self, code: int, reason: str) -> None:
        """End the connection with ``code``, after a goodbye if possible. Never waits. The first call counts."""
        if self.closing is None:
            self.closing = Closing(code, close_codes.truncate_reason(reason), retry_ms(code))
            self.scope.cancel()

    def note_closed(self, code: int, reason: str) -> bool:
        """Note that the wire itself closes with ``code``. Return False if another close was decided before."""
        if self.closing is not None:
            return False
        self.closing = Closing(code, reason, None)
        return True

    def internal_error(self, error: BaseException, what: str) -> End:
        """Log ``error`` under a reference, and return the end that tells the client this reference and no more."""
        reference = secrets.token_hex(4)
        log_failure(logger, "%s on connection %s, reference %s", what, self.id, reference, error=error)
        return End(close_codes.INTERNAL_ERROR, f"{what}, reference {reference}")

    def fail(self, error: BaseException, what: str) -> None:
        """Log ``error`` and close with 4006. Does nothing after the end.

        ``what`` says what failed, for the log and for the client: "the delivery failed".
        """
        if not self.over:
            end = self.internal_error(error, what)
            self.close(end.code, end.reason)

    def start(self, work: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Do ``work`` in a task beside the connection's own. If it fails, the connection ends with 4006."""
        self.nursery.start_soon(self._contain, work, *arguments)

    async def _contain(self, work: Callable[..., Awaitable[None]], *arguments: object) -> None:
        try:
            await work(*arguments)
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - a log may raise anything, and trio would show it
            self.fail(error, "the delivery failed")


def retry_ms(code: int) -> int | None:
    """Return when a client that is closed with ``code`` is to come back, in ms. Return None if it is not to."""
    return random.randint(*_RETRY_MS) if close_codes.comes_back(code) else None  # noqa: S311 - spread, not secrecy
