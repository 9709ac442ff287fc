"""A running server: how it is opened, and the event loop around it."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Literal

import attrs
import trio

from actors import ActorTerminated, ConfigError, Strategy, SupervisorSpec, open_system
from actors.spi import report_crash
from transport._border import the_one
from transport._kept import kept
from transport._process import Reporter, run_until_signal
from transport.protocol.health import Health
from transport.server.endpoint import Endpoint
from transport.server.tls import Certificate

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from actors import ActorSystem, ClusterStatistics, Sessions, SupervisorRef
    from actors.cluster.assembly import Membership
    from actors.loop.asyncio_host import AsyncioHost
    from transport.auth import Authenticate
    from transport.settings import Settings


# How long the goodbyes may take, and then the end of all actors, if the server's block is cancelled or interrupted.
# *Without a limit, one client that reads nothing, or one agent that ignores its cancellation, would hold up the end.*
_HURRY_SECONDS = 3.0


@attrs.frozen
class Bound:
    """The sockets on which an endpoint listens, and the host that was configured. Empty for an app without a port."""

    host: str = ""
    listeners: Sequence[socket.socket] = ()

    def url(self, certificate: Certificate | None) -> str:
        """Return the URL of the endpoint. Empty if the endpoint does not listen."""
        if not self.listeners:
            return ""
        scheme, port = "ws" if certificate is None else "wss", self.listeners[0].getsockname()[1]
        return f"{scheme}://[{self.host}]:{port}/" if ":" in self.host else f"{scheme}://{self.host}:{port}/"


@attrs.frozen(eq=False)
class Host:
    """The event loop in which a server runs: ``server.host``.

    Code that is called by the web server in its own library (an ASGI call, ``app.sessions_aio``) enters trio by this
    object. With the library ``asyncio``, it starts trio tasks by ``server.host.asyncio.soon(…)`` or ``run(…)``. With
    the library ``trio``, the caller is a trio task already, and :attr:`nursery` is for tasks that outlive it.
    """

    library: Literal["trio", "asyncio"]
    """The library of the web server's own tasks: ``asyncio`` if trio runs as its guest (uvloop counts as asyncio)."""
    nursery: trio.Nursery
    """A nursery for trio tasks of hosting, such as connections. It is cancelled when the server has drained.

    A task in it must not raise: that would end the server.
    """
    asyncio: AsyncioHost | None = None
    """The calls between asyncio and trio. None with the library ``trio``."""


@attrs.frozen(eq=False)
class Server:
    """A running server. Get one by ``async with app.running() as server``. The server stops at the end of the block."""

    url: str
    """The URL that clients connect to, with the port that was bound. Empty if the app is hosted without a port."""
    system: ActorSystem
    """The actor system: the tree of all actors of the server."""
    sessions: Sessions
    """The sessions of the server: ``await server.sessions.get(user, session)``."""
    endpoint: Endpoint
    """The WebSocket endpoint, which serves the connections of clients."""
    host: Host
    """The event loop around the server. Code of :mod:`transport.hosting` and of asyncio agents needs it."""
    _supervisor: SupervisorRef
    certificate: Certificate | None = None
    """The TLS certificate. ``certificate.reload()`` reads its files again, as SIGHUP does. None without TLS."""
    _cluster: Membership | None = None
    started_at: float = attrs.field(factory=time.time)
    """Time of the start, in seconds since 1970."""

    def cluster_statistics(self) -> ClusterStatistics | None:
        """Return the state and the counters of this server as a node of a cluster. Return None if its log is its own.

        A server with a log in Valkey is a node, also while it is the only one.
        """
        return None if self._cluster is None else self._cluster.statistics()

    def health(self) -> Health:
        """Return whether the server works, and whether it takes new clients: the answers to /healthz and /readyz."""
        if self.system.limit is not None:
            return Health(failed="the supervision of the server has given up")
        return self.endpoint.health()

    async def until_signal(self, reporter: Reporter, page_url: str | None = None) -> None:
        """Report that the server is ready, wait for SIGTERM or SIGINT, and report the runs that are still open.

        With TLS, SIGHUP reads the certificate again.

        Args:
            reporter: Gets the two reports: the server is ready, the server drains.
            page_url: The address of the pages that the same process serves; None if there are none.
        """
        settings = self.endpoint.settings
        on_hangup = None if self.certificate is None else self.certificate.reload
        name = await run_until_signal(lambda: reporter.on_ready(self.url, page_url), settings.gc_threshold, on_hangup)
        runs = [(agent, each.session) for each in self.sessions.of() for agent in each.agents]
        reporter.on_drain(name, runs, settings.drain_seconds)

    async def drain(self, seconds: float) -> None:
        """Refuse new runs, close the connections, and meanwhile wait up to ``seconds`` for the runs to finish.

        Clients that do not answer their goodbye are waited for up to 2 s, but not for longer than ``seconds``.

        At its end, a ``running()`` block drains by itself, and then closes unfinished runs as ``cancelled``. A second
        drain does not wait for longer than the first.

        Cancellation: perhaps some clients are still connected, and some runs unfinished. New clients and runs are still
        refused.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.endpoint.say_goodbye, seconds)
            await self.sessions.drain(seconds)

    async def end_runs(self, seconds: float) -> None:
        """Drain, and then end the runs that have not finished, and all sessions. The log stays open.

        Cancellation: as for :meth:`drain`.
        """
        await self.drain(seconds)
        await self._supervisor.terminate_child("sessions")


async def _hurry(server: Server, supervisor: SupervisorRef) -> None:
    """Say goodbye to all clients, and meanwhile end all runs and sessions."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.endpoint.say_goodbye, _HURRY_SECONDS)
        await server.sessions.drain(0)
        with suppress(ActorTerminated):  # the supervision has given up
            await supervisor.terminate_child("sessions")


class OneRun:
    """The present run of an app, of which there is one at a time."""

    def __init__(self) -> None:
        self._server: Server | None = None
        self._is_open = False

    @property
    def server(self) -> Server:
        """The running server. Raises ConfigError if the app is not running."""
        if self._server is None:
            raise ConfigError(
                "the app is not running: use this inside its running() block. In a web server give the web application "
                "lifespan=transport.hosting.lifespan(app), in its tests enter transport.hosting.hosted(app) first"
            )
        return self._server

    def require_stopped(self) -> None:
        """Raise ConfigError if the app is running."""
        if self._is_open:
            raise ConfigError("this app is running already: make a second Greenroom, or use the running one")

    @asynccontextmanager
    async def of(self, opened: Callable[[trio.Nursery], AbstractAsyncContextManager[Server]]) -> AsyncGenerator[Server]:
        """Run the server that ``opened`` returns inside the block.

        An exception that the block itself raises is raised unchanged, not inside a group.

        Args:
            opened: Called with the nursery for the server's :class:`Host`. It returns the block of the server.
        """
        own: BaseException | None = None
        raised: BaseException | None = None
        self._is_open = True
        try:
            async with kept(trio.open_nursery(), _HURRY_SECONDS) as nursery:
                try:
                    async with opened(nursery) as server:
                        self._server = server
                        try:
                            yield server
                        except BaseException as error:
                            own = error
                            raise
                        finally:
                            self._server = None
                except BaseException as error:  # noqa: BLE001 - raised below, where no nursery can wrap it in a group
                    raised = error
                nursery.cancel_scope.cancel()
        except BaseException as error:  # noqa: BLE001 - as above: a cancellation, or the failure of a task in the nursery
            raised = error if raised is None else BaseExceptionGroup("the server failed", [raised, error])
        finally:
            self._is_open = False
        if raised is not None:
            one = the_one(raised, own)
            if one is raised:
                raise raised
            raise one from one.__cause__


@asynccontextmanager
async def open_server(  # noqa: PLR0913 - the parts of a server
    place: Host,
    sessions: Sessions,
    authenticate: Authenticate,
    settings: Settings,
    *,
    bound: Bound,
    origins: tuple[str, ...],
    cluster: Membership | None = None,
) -> AsyncGenerator[Server]:
    """Run a server inside the block. At the end of the block it drains, for at most ``drain_seconds``.

    If the block ends by an exception or a cancellation, runs are ended at once. Also then their ends are committed, and
    clients get a goodbye. After a cancellation this takes at most twice ``_HURRY_SECONDS``, and the time that actors
    have when they are ended by force.
    """
    certificate = Certificate.of(settings)
    allowed = (*origins, *(settings.allowed_origins or ()))
    endpoint = Endpoint(sessions, authenticate, settings, bound.listeners, allowed, certificate=certificate)
    children = [*sessions.children(), endpoint.child()]
    async with AsyncExitStack() as stack:
        # The keeper of the log ends them earlier, but not if it is cancelled, or its supervisor gives up.
        stack.callback(sessions.end_readers)
        system = await stack.enter_async_context(kept(open_system(), _HURRY_SECONDS))
        system.crashes.listener = partial(report_crash, sessions.failures)
        spec = SupervisorSpec(strategy=Strategy.REST_FOR_ONE, children=children)
        supervisor = await system.supervise(spec, "greenroom")
        server = Server(bound.url(certificate), system, sessions, endpoint, place, supervisor, certificate, cluster)
        try:
            yield server
            await server.drain(settings.drain_seconds)
        except BaseException:
            with trio.move_on_after(_HURRY_SECONDS, shield=True):
                await _hurry(server, supervisor)
            raise
