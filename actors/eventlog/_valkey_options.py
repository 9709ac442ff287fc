"""The options of a log in Valkey. Pure: it needs no client library."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class ValkeyOptions:
    """The options of a log in a Valkey or Redis server. Its address is in its URL."""

    timeout_seconds: float = 2.0
    """The time limit of one call. If no answer comes in time, the connection is made anew."""
    prefix: str = "gr"
    """The beginning of all names of keys. Logs with different prefixes can share a server."""
    wait_replicas: int = 0
    """Number of replicas that must have each append before it succeeds."""
    keeps_acknowledged: bool = False
    """Whether the server has all acknowledged events after a restart, as with ``appendfsync always``.

    If False, a stream gets a new epoch when it is opened after a restart of the server: perhaps the server came back
    with older data.
    """
