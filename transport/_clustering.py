"""The server as a node of a cluster, if other servers can share its log."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actors import EventLog, Sessions
    from actors.cluster.assembly import Membership
    from actors.spi import ClusterSettings


def join_cluster(sessions: Sessions, log: EventLog, settings: ClusterSettings) -> Membership | None:
    """Make the server a node of a cluster if its log is in Valkey, which other servers may use at the same time.

    Alone it is a node too: another server can join at any time. Return None with any other log.
    """
    if log.statistics().engine != "valkey":
        return None
    # Imported here: other logs need nothing of a cluster.
    joined: Membership = import_module("actors.cluster.assembly").join(sessions, log.innermost, settings)
    return joined
