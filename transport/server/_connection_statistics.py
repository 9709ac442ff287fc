"""The state of one connection, as a value for operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

if TYPE_CHECKING:
    from actors.spi import Attachment
    from transport.auth import User
    from transport.server._delivery import Delivery
    from transport.server._lifetime import Lifetime
    from transport.server._wire import Wire


@attrs.frozen(kw_only=True)
class ConnectionStatistics:
    """The state of one connection to the endpoint."""

    connection: str
    """Id of the connection, as in its welcome and in the log."""
    state: Literal["greeting", "open", "closing"]
    """``greeting`` until the welcome was sent; ``closing`` when a goodbye is being said."""
    address: str
    """Network address of the client."""
    since: float
    """Time at which the connection was accepted, in seconds since 1970."""
    user: str | None
    """Id of the user. None until the auth function has returned."""
    session: str | None
    """Name of the session. None until the connection is attached to it."""
    position: int | None
    """Seq of the newest event that was sent. None before the welcome."""
    lag_events: int
    """Number of committed events of the session that were not sent yet."""
    waiting_bytes: int
    """Number of bytes that wait to be sent. Events are not counted, since they are not queued."""
    blocked_seconds: float
    """Seconds for which the client has taken nothing, although data waits to be sent. 0 if the client takes data."""


def statistics_of(
    life: Lifetime, wire: Wire, delivery: Delivery, user: User | None, attachment: Attachment | None
) -> ConnectionStatistics:
    """Return the state of the connection with these parts."""
    position = delivery.position
    state: Literal["greeting", "open", "closing"] = "greeting" if position is None else "open"
    return ConnectionStatistics(
        connection=life.id,
        state=state if life.closing is None else "closing",
        address=wire.address,
        since=life.since,
        user=None if user is None else user.id,
        session=None if attachment is None else attachment.session,
        position=position,
        lag_events=delivery.lag_events,
        waiting_bytes=delivery.waiting_bytes,
        blocked_seconds=wire.blocked_seconds,
    )
