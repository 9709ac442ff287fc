"""The settings of a node, beside those of its sessions: each has a name, a default and bounds."""

from __future__ import annotations

import os
import secrets
import socket
from typing import TYPE_CHECKING, Any

import attrs

from actors.checks import number_from, whole_from
from actors.cluster._times import NodeTimes
from actors.cluster.interfaces import MAX_NODE_NAME, NOT_IN_NAMES, check_node_name
from actors.sessions import SessionSettings

if TYPE_CHECKING:
    from attrs import Attribute


def default_node_name() -> str:
    """Return a name that no other process has: the name of the host, the process id, and random digits."""
    ending = f"-{os.getpid()}-{secrets.token_hex(4)}"
    host = NOT_IN_NAMES.sub("-", socket.gethostname())[: MAX_NODE_NAME - len(ending)]
    return (host or "node") + ending


def _node_name(_: object, field: Attribute[Any], value: object) -> None:
    del field
    if value != "":  # the default, for a name that is made at the start
        check_node_name(value)


@attrs.frozen(kw_only=True)
class ClusterSettings(SessionSettings):
    """The settings of a node of a cluster: of its sessions, and of its part in the cluster. Times are in seconds."""

    node_name: str = attrs.field(default="", validator=_node_name)
    """Name of this process among the servers on one log in Valkey. By default host, process id and random digits."""
    lease_seconds: float = attrs.field(default=8.0, validator=number_from(0.5, 3600))
    """Time after which a silent server counts as dead. All servers on one log need the same."""
    forward_seconds: float = attrs.field(default=5.0, validator=number_from(0.1))
    """Time for which a command is sent to the server that runs the session. Beyond it ``owner_unreachable``."""
    patience_seconds: float = attrs.field(default=30.0, validator=number_from(0))
    """Time for which a server that is cut off from Valkey keeps its clients. Beyond it they are closed with 4005."""
    failover_per_second: int = attrs.field(default=500, validator=whole_from(1))
    """Maximum number of users of dead servers that this server takes over per second, to close their open runs."""

    @property
    def times(self) -> NodeTimes:
        """The times in the life of a node, from ``lease_seconds``."""
        return NodeTimes(self.lease_seconds)
