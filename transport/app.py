"""``Greenroom``, an agent server in one object: its agents, its settings, its log and its endpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import trio

from actors import (
    ConfigError,
    EventLog,
    Redact,
    Sessions,
    open_log,
    redact_keys,
)
from actors.failures import shown
from actors.spi import needs_asyncio
from transport._app_hooks import AppHooks
from transport._app_sessions import AppAsyncioSessions
from transport._clustering import join_cluster
from transport._loopback import require_auth
from transport._process import Reporter, kept_signal_handlers
from transport._running import Bound, Host, Server, open_server
from transport.auth import anonymous
from transport.server.listening import listening
from transport.settings import Settings

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from actors import Forgotten, SessionHandle, SessionInfo
    from actors.spi import AgentHost, Tracer
    from transport._app_hooks import Lifespan
    from transport._sources import Given
    from transport.auth import Authenticate

F = TypeVar("F", bound="Callable[..., Awaitable[object]]")


class Greenroom(AppHooks):
    """The agents and the configuration of a server. :meth:`running` or :meth:`serve` runs it.

    Args:
        log: ``"memory:"``, ``"sqlite:PATH"``, ``"valkey://HOST:PORT"`` or an :class:`~actors.EventLog`. With None, the
            setting ``log`` counts.
        auth: A :class:`~transport.TokenAuth`, or any async function that takes :class:`~transport.Credentials` and
            returns a :class:`~transport.User`. With None every user is ``anonymous``, and the server can listen only on
            loopback addresses.
        settings: A :class:`~transport.Settings` or a mapping of names to values. These values override the environment
            and ``greenroom.toml``.
        redact: Names of more keys that hold secrets. The values of such keys are removed from tool arguments. Or a
            function that takes the arguments and returns the arguments without secrets. Such a function replaces the
            search for keys.
        pages: A folder with the application's own pages, which ``greenroom serve`` serves instead of its page for
            developers. The pages load the client for browsers as ``/greenroom.js``. The path is relative to the current
            folder, and must not be that folder itself.
        lifespan: A function that takes the app and returns an async context manager on trio, usually an async generator
            with :func:`contextlib.asynccontextmanager`. It opens before the first agent, and closes after the last run
            has ended. Put objects that agents share into :attr:`state`. If it raises, :meth:`running` raises the same.
        agents: The library that agents and functions of :meth:`on` are written for, ``trio`` or ``asyncio``.
            ``@app.agent(host=…)`` and ``@app.on(…, host=…)`` override it.

    Raises:
        ConfigError: If an argument or a setting cannot be used. The message names the argument or setting.
    """

    def __init__(  # noqa: PLR0913 - each is described above, and only one is usual
        self,
        log: str | EventLog | None = None,
        auth: Authenticate | None = None,
        settings: Settings | Mapping[str, object] | None = None,
        redact: Redact | list[str] | tuple[str, ...] | None = None,
        pages: str | os.PathLike[str] | None = None,
        *,
        lifespan: Lifespan | None = None,
        agents: AgentHost = "trio",
    ) -> None:
        super().__init__(lifespan, agents)
        keywords = settings.explicit() if isinstance(settings, Settings) else settings
        if keywords is not None and not isinstance(keywords, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # as below
            raise ConfigError(f"settings must be Settings or a mapping of names to values, not {shown(settings)}")
        self._log: EventLog | None = None
        if isinstance(log, str):
            keywords = {**(keywords or {}), "log": log}
        elif log is None or isinstance(log, EventLog):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may have no types
            self._log = log
        else:
            raise ConfigError(f"log must be a URL or an EventLog, not {shown(log)}")
        self.settings = Settings.load(keywords)
        self.auth = auth
        if auth is not None and not callable(auth):
            raise ConfigError(f"auth must be None, a TokenAuth or an async function, not {shown(auth)}")
        self._redact = redact
        _redaction(redact, self.settings)  # a wrong argument is refused here, where it was given
        if pages is not None and not isinstance(pages, (str, os.PathLike)):  # pyright: ignore[reportUnnecessaryIsInstance]  # as above
            raise ConfigError(f"pages must be the path of a folder, not {shown(pages)}")
        self.pages = None if pages is None else Path(pages)

    def override(self, given: Sequence[Given]) -> None:
        """Replace settings by values of the command line, which have priority over all other sources.

        Raises:
            ConfigError: If a value is not allowed. The message names the source and the setting.
        """
        self.settings = self.settings.overridden(given)
        if any(each.name == "log" for each in given):
            self._log = None

    @property
    def log(self) -> str | EventLog:
        """The event log that the next :meth:`running` uses.

        This is the log object that was passed to ``Greenroom``, or else a log for the URL in the settings.
        """
        return self._log or self.settings.log

    @property
    def server(self) -> Server:
        """The running server.

        Raises:
            ConfigError: The app is not running.
        """
        return self._one_run.server

    @property
    def sessions(self) -> AppSessions:
        """Sessions of the running server: ``await app.sessions.get(user, session)``."""
        return AppSessions(self)

    @property
    def sessions_aio(self) -> AppAsyncioSessions:
        """Sessions for asyncio code of the web server around the app: ``app.sessions_aio.get(user, session)``."""
        return AppAsyncioSessions(lambda: self.server.sessions)

    async def revoke(self, *, user: str | None = None, token_id: str | None = None, until: float | None = None) -> int:
        """Revoke the tokens of a user, or one token: live connections are closed with 4501, and later ones refused.

        The revocation counts at once. It is stored in the log, so it also counts after a restart. With ``user``, all
        tokens are revoked that were issued before this call: those for which the auth function returns a
        :class:`User` without ``issued``, or with an ``issued`` up to the present time. Since the claim ``iat`` of a JWT
        has whole seconds, a token that is issued in the same second after this call is refused, too. Runs of the user
        go on.

        Args:
            user: The user's id.
            token_id: The id of one token: the ``token_id`` of its :class:`User`.
            until: The time from which the revocation is forgotten, in seconds since 1970: give the time when the last
                revoked token expires. By default ``revocation_memory_seconds`` from now. With a time that has passed,
                connections are closed, and nothing is remembered.

        Returns:
            The number of connections that are closed.

        Raises:
            ValueError: Not exactly one of ``user`` and ``token_id`` is given, or a value cannot be used.
            ConfigError: The app is not running.
            CommandRefused: The server has ``max_revocations``. The live connections are closed, later ones not refused.
            LogError: The log failed. The revocation counts, but not after a restart: call this again.

        Cancellation: the revocation counts, but perhaps not after a restart.
        """
        return await self.server.sessions.revoke(user=user, token_id=token_id, until=until)

    async def forget(self, user: str, *, thorough: bool = True) -> Forgotten:
        """Remove everything of a user: sessions with all their events and state, positions, and all memory of them.

        The user's runs are cancelled, and the user's connections closed with 4506, at all servers of a cluster. Nothing
        of the user stays in the log. Copies of the log, such as backups, are not changed, and a revocation of the user
        stays until its time. Let the auth function refuse the user first, or revoke the user's tokens: a user who comes
        back gets new, empty sessions.

        Args:
            user: The user's id.
            thorough: Whether a SQLite log looks at its whole file, in small lots between which it commits events. If
                False, copies that SQLite made when it moved rows may stay in unused parts of the file for some time.

        Returns:
            The numbers of removed sessions and closed connections. Both can be 0.

        Raises:
            ValueError: ``user`` is no text, or is empty.
            ConfigError: The app is not running.
            CommandRefused: The server that has the user's sessions cannot be reached: call this again.
            LogError: The log failed, or another program reads its file for too long: call this again.

        Cancellation: the removal goes on. An agent can forget its own user: its run is cancelled.
        """
        sessions = self.server.sessions
        sessions.require_task("forget()")
        return await sessions.removal.forget(user, thorough=thorough)

    @asynccontextmanager
    async def running(
        self,
        *,
        host: str | None = None,
        port: int | None = None,
        log: str | EventLog | None = None,
        origins: tuple[str, ...] = (),
        listeners: Sequence[socket.socket] = (),
    ) -> AsyncGenerator[Server]:
        """Run the server on trio inside the ``async with`` block.

        When the block begins, the port is bound, the log is open and connections are accepted. At the end of the block
        the server drains: it closes the connections, waits up to ``drain_seconds`` for runs to finish, and flushes the
        log. If the block ends by an exception or a cancellation, runs are ended at once.

        Args:
            host: A name or an address of this machine. With None, the setting ``host`` counts.
            port: The port. With 0, a free port is taken; :attr:`Server.url` contains it. With None, the setting
                ``port`` counts.
            log: The log to use in place of the log that was passed to ``Greenroom``.
            origins: Origins of pages that this process serves too. Such pages are always allowed to connect. The host
                ``0.0.0.0`` or ``[::]`` in an origin stands for the IP address at which a client reaches the endpoint.
                The setting ``allowed_origins`` adds others.
            listeners: Listening sockets to accept connections on, in place of sockets of the server's own. The server
                closes them. By default it listens on ``host`` and ``port``.

        Raises:
            ConfigError: If the app is running already, needs ``auth`` for this host, or has settings that do not fit.
            OSError: If the port cannot be bound.
            LogError: If the log cannot be opened.
            RestartLimit: If the server failed again and again and its supervision gave up. The block is cancelled and
                the port is closed. The process manager should then start the process again.

        An exception that the block itself raises is raised unchanged, not inside a group.
        """
        host, port = self._address(host, port)
        with listening(host, port, given=listeners) as opened:
            bound = Bound(host, opened)
            async with self._one_run.of(
                lambda nursery: self._open(Host("trio", nursery), log, bound, origins)
            ) as server:
                yield server

    @asynccontextmanager
    async def running_in(
        self, make_host: Callable[[trio.Nursery], Host], *, log: str | EventLog | None = None
    ) -> AsyncGenerator[Server]:
        """Run the server on trio inside the block, without a port. :mod:`transport.hosting` calls this.

        Args:
            make_host: Returns the description of the event loop around the server. It is called with the nursery that
                the :class:`Host` is to have.
            log: As for :meth:`running`, which has the errors, too.
        """
        self._one_run.require_stopped()
        async with self._one_run.of(lambda nursery: self._open(make_host(nursery), log, Bound(), ())) as server:
            yield server

    def _address(self, host: str | None, port: int | None) -> tuple[str, int]:
        """Return the host and port of a server that is about to start. Raise ConfigError if it must not start."""
        self._one_run.require_stopped()
        host = self.settings.host if host is None else host
        require_auth(host, self.auth)
        return host, self.settings.port if port is None else port

    def serve(self, *, host: str | None = None, port: int | None = None, log: str | EventLog | None = None) -> None:
        """Run the server until SIGTERM or SIGINT, then drain and return. A second signal ends the process at once.

        Arguments and errors: see :meth:`running`.
        """
        with kept_signal_handlers():
            trio.run(self._serve, host, port, log)

    async def _serve(self, host: str | None, port: int | None, log: str | EventLog | None) -> None:
        async with self.running(host=host, port=port, log=log) as server:
            await server.until_signal(Reporter())

    @asynccontextmanager
    async def _open(
        self, place: Host, log: str | EventLog | None, bound: Bound, origins: tuple[str, ...]
    ) -> AsyncGenerator[Server]:
        names = (*self._agents.on_asyncio(), *(hook.name for hook in self._hooks if hook.host == "asyncio"))
        if names and place.asyncio is None:
            raise needs_asyncio(names[0])
        log = log or self.log
        redact = _redaction(self._redact, self.settings)
        engine = open_log(log, valkey=self.settings.valkey_options()) if isinstance(log, str) else log
        self._agents.tracer = _tracer(self.settings, redact)
        sessions = Sessions(engine, self._agents, self.settings, redact, host=place.asyncio, hooks=self._hooks)
        cluster = join_cluster(sessions, engine, self.settings)
        authenticate = self.auth or anonymous
        opened = open_server(
            place, sessions, authenticate, self.settings, bound=bound, origins=origins, cluster=cluster
        )
        async with self._resources(), opened as server:
            yield server


class AppSessions:
    """The sessions of an app, for server code that starts runs by itself, without a client."""

    def __init__(self, app: Greenroom) -> None:
        self._app = app

    async def get(self, user: str, session: str) -> SessionHandle:
        """Return a handle to a session of the user. The session is made if it does not exist.

        See :meth:`actors.Sessions.get`.

        Raises:
            ConfigError: If the app is not running.
        """
        return await self._app.server.sessions.get(user, session)

    async def list(self, user: str, *, after: str = "", limit: int = 100) -> Sequence[SessionInfo]:
        """Return the user's sessions in the log, sorted by name. Sessions in memory are among them.

        For the next page pass the name of the last session as ``after``. After the last page the result is empty.

        Args:
            user: Id of the user.
            after: Only sessions with a name that sorts behind this one are returned.
            limit: Maximum number of sessions, from 1 to 1,000.

        Raises:
            ConfigError: If the app is not running.
            ValueError: ``limit`` is not within its bounds.
            LogError: The log failed, or the stored state of a session is damaged.
        """
        return await self._app.server.sessions.list(user, after=after, limit=limit)


def _tracer(settings: Settings, redact: Redact) -> Tracer | None:
    """Return the tracer of a server, if runs are traced. Raise ConfigError if the extra is missing."""
    if not settings.traces:
        return None
    # Imported here: other servers need nothing of OpenTelemetry.
    made: Tracer = import_module("transport._tracing").Tracing(redact, content=settings.trace_content)
    return made


def _redaction(redact: Redact | list[str] | tuple[str, ...] | None, settings: Settings) -> Redact:
    if redact is None:
        return redact_keys(settings.redact_keys)
    if callable(redact):
        return redact
    # A string would be taken for a list of letters, and nearly every key contains one of them.
    if not isinstance(redact, (list, tuple)) or not all(isinstance(key, str) for key in redact):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may have no types
        raise ConfigError(f"redact must be a list of strings or a function, not {shown(redact)}")
    return redact_keys((*settings.redact_keys, *redact))
