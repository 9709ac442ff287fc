"""Three nodes in place of each server of a test: one owns all users, and each client is served by any of the three.

The nodes are in one process, and share the transport of the first: its port, and its limits and counts of connections.
"""

# ruff: noqa: SLF001 - the tests of this run must see one server

from __future__ import annotations

import copy
import random
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio
from engines import logs

from actors.testing import FaultyLog
from transport import Greenroom
from transport._running import Host, OneRun

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager

    from actors import Sessions
    from actors.cluster.assembly import Membership
    from actors.sessions._custody import Custody
    from transport import Server

NODES = 3

own_running = Greenroom.running
dice = random.Random(0)
"""The choice of nodes. Each test begins with the same one."""


@asynccontextmanager
async def running(self: Any, *, log: Any = None, **arguments: Any) -> AsyncGenerator[Server]:
    """Do as :meth:`Greenroom.running`, with more nodes."""
    log = log or self.log
    log = logs.open_log(log, valkey=self.settings.valkey_options()) if isinstance(log, str) else log
    async with AsyncExitStack() as stack:
        others: list[Server] = []
        if isinstance(log.innermost, logs.Log):
            # They begin before the first node and end after it, so that they serve its clients until it has drained.
            others = [await stack.enter_async_context(_other(self, log)) for _ in range(NODES - 1)]
        async with own_running(self, log=log, **arguments) as server:
            for other in others:
                _share_transport(stack, server, other.sessions)
            _deal(server, [server.sessions, *(other.sessions for other in others)])
            yield server


@asynccontextmanager
async def _other(app: Any, log: Any) -> AsyncGenerator[Server]:
    """Run another node with the agents of an app. It claims no user: the first node does."""
    other = copy.copy(app)
    other._one_run, other._hooks, other._lifespan = OneRun(), [], None
    async with other.running_in(lambda nursery: Host("trio", nursery), log=_again(log)) as server:
        yield server


def _again(log: Any) -> Any:
    """Return the log of another node. Calls that a test makes fail, or wait, do so at whichever node they are made."""
    if not isinstance(log, FaultyLog):
        return log.innermost.again()
    other: Any = FaultyLog(_again(log._inner))
    other._faults = log._faults
    return other


def _share_transport(stack: AsyncExitStack, server: Server, sessions: Sessions) -> None:
    """Let the connections of a server show what another node delivers."""
    context = server.endpoint._context
    stack.enter_context(sessions.calling_after_commits(context.flusher.visit))
    stack.enter_context(sessions.revocations.notifying(context.connections.close_revoked))


def _deal(server: Server, nodes: list[Sessions]) -> None:
    """Give each later connection of a server to a random node."""
    endpoint: Any = server.endpoint
    own_context = endpoint._context_with
    endpoint._context_with = lambda authenticate: attrs.evolve(own_context(authenticate), sessions=dice.choice(nodes))


def joined(sessions: Sessions, log: Any, membership: Membership) -> None:
    """Note the node of a log, and let the first node of the log own all users, and clean all logs."""
    if not isinstance(log, logs.Log):
        return
    log.membership = membership
    sessions.cleaner.custody = _Custody(sessions.cleaner.custody, is_first=log.first is None)
    if log.first is None:
        _keep_users(membership)
    else:
        _claim_for(log.first, membership)


@attrs.frozen
class _Custody:
    """The custody of one of the nodes."""

    _own: Custody
    _is_first: bool = attrs.field(kw_only=True)

    def falls_here(self, user: str) -> bool:
        """Return whether this is the first node: only it has the faults that a test has put around its log."""
        del user
        return self._is_first

    def has(self, user: str) -> bool:
        """Do as the custody of the node."""
        return self._own.has(user)

    async def claim(self, user: str) -> bool:
        """Do as the custody of the node."""
        return await self._own.claim(user)

    def held(self, user: str) -> AbstractAsyncContextManager[bool]:
        """Do as the custody of the node."""
        return self._own.held(user)


def _keep_users(membership: Membership) -> None:
    """Let a node keep its idle users, although a node with a client of theirs asks for them."""
    owned: Any = membership.router.owned

    async def give_up(user: str) -> bool:
        await trio.lowlevel.checkpoint()
        return not owned.is_mine(user)

    owned.give_up = give_up


def _claim_for(first: logs.Log, membership: Membership) -> None:
    """Let a node claim users in the name of the first one, which it must know then."""
    node: Any = membership.node

    async def own(user: str, *_: object) -> Any:
        token = await first.membership.router.owned.own(user)
        if token is not None and not node.heart.is_registered(token.incarnation):
            await node.heart.look()
        return token

    node.own = own


def install() -> None:
    """Make each server three nodes, from now on."""
    changed: Any = Greenroom
    changed.running = running
