"""Nodes of a cluster in one process, without servers for clients: their sessions, on a real Valkey server."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from actors import Agents, Sessions, SessionSettings, SupervisorSpec, open_system
from actors.cluster._settings import ClusterSettings
from actors.cluster.assembly import Membership, join
from actors.eventlog.valkey import ValkeyLog
from actors.valkey.address import parse_address

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from _valkey import Server


@asynccontextmanager
async def nodes(
    server: Server, *names: str, lease: float, agents: Agents | None = None, settings: SessionSettings | None = None
) -> AsyncGenerator[list[tuple[Sessions, Membership]]]:
    """Run nodes with these names inside the block. All have the same agents, settings and lease in seconds."""
    async with AsyncExitStack() as stack:
        made: list[tuple[Sessions, Membership]] = []
        for name in names:
            log = ValkeyLog(parse_address(server.url))
            sessions = Sessions(log, agents, settings)
            membership = join(sessions, log, ClusterSettings(node_name=name, lease_seconds=lease))
            system = await stack.enter_async_context(open_system())
            await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()), name)
            made.append((sessions, membership))
        yield made
