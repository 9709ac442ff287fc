"""A Valkey server as the other rooms see it: three links, checked and prepared after each connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import attrs
import trio
from coredis.exceptions import AuthenticationError, AuthorizationError

from actors.errors import ConfigError, LogSchemaTooNew, LogUnavailable
from actors.failures import is_a, shown, text_of
from actors.loop.boundary import report
from actors.valkey.cluster import ClusterLink
from actors.valkey.errors import CertificateRefused, Moved, Refused
from actors.valkey.keys import PARTITIONS, Keyspace
from actors.valkey.library import LIBRARY, SCHEMA, source
from actors.valkey.link import Link

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from actors.valkey.address import Address
    from actors.valkey.link import Call

DEFAULT_SECONDS = 2.0
"""Default time limit of a call, in seconds."""


@attrs.frozen
class LinkStatistics:
    """The counters of the links to a Valkey server."""

    commands: int
    """Number of commands that were sent."""
    reconnects: int
    """Number of connections that were made after the first ones."""


class Valkey:
    """The links to one Valkey server: for commits, for reads and beats, and for messages of channels.

    Three, so that a commit of a megabyte does not delay a beat, and messages delay neither. Methods can be called by
    any task after :meth:`open`. Without a connection they raise at once, and never wait for a connection.
    """

    def __init__(self, address: Address, *, seconds: float = DEFAULT_SECONDS, keys: Keyspace | None = None) -> None:
        """Make the links. Nothing is connected before :meth:`open`.

        Args:
            address: The address of the server.
            seconds: The time limit of each call and of each attempt to connect.
            keys: The names of all keys.
        """
        self.address = address
        self.seconds = seconds
        self.keys = keys or Keyspace()
        self._listeners: dict[bytes, Callable[[bytes], None]] = {}
        self._confirmed: dict[bytes, Callable[[], None]] = {}
        self._scope: trio.CancelScope | None = None
        self._over = trio.Event()
        self._make_links()

    def _make_links(self) -> None:
        def prepare(call: Call) -> Awaitable[str]:
            return prepared(call, self.keys)

        kind = ClusterLink if self.address.cluster else Link
        self.commits = kind(self.address, self.seconds, prepare=prepare)
        """The link for calls that change events. Its ``generation`` is the generation of the server."""
        self.reads = kind(self.address, self.seconds, prepare=prepare)
        """The link for reads, beats, claims and messages to other nodes."""
        self.messages = Link(self.address, self.seconds, prepare=prepare, on_push=self._on_push)
        """The link on which messages of channels arrive."""
        if isinstance(self.reads, ClusterLink):
            # A message that is published at one primary reaches the subscribers at all of them.
            self.messages.alternatives = self.reads.topology.addresses

    @property
    def links(self) -> tuple[Link, ...]:
        """All links."""
        return self.commits, self.reads, self.messages

    @property
    def is_up(self) -> bool:
        """Whether all links have a connection."""
        return all(link.up for link in self.links)

    async def open(self) -> None:
        """Connect. Raise ``RuntimeError`` if the links are open already.

        The links are kept by a system task, because :meth:`open` and :meth:`close` can be called by different tasks.

        Raises:
            LogUnavailable: The server cannot be reached in time, or refuses the user and password. Or its certificate
                is refused.
            ConfigError: The server is too old, or evicts keys when its memory is full.
            LogSchemaTooNew: The data were written by a newer version.

        Cancellation: if this is cancelled or raises, nothing stays open.
        """
        if self._scope is not None:
            raise RuntimeError("the links to Valkey are open already")
        self._scope, self._over = trio.CancelScope(), trio.Event()
        trio.lowlevel.spawn_system_task(self._serve, self._scope, self._over)
        try:
            await self._wait_until_up()
        except BaseException:
            await self.close()
            raise

    async def _wait_until_up(self) -> None:
        with trio.move_on_after(self.seconds):
            for link in self.links:
                while not link.up:
                    _raise_if_final(link)
                    await link.changed()
            return
        silence = "no answer over TLS" if self.address.tls else "no answer"
        failed = next((link for link in self.links if link.failure is not None), None)
        address, reason = (self.address, silence) if failed is None else (failed.failed_at, text_of(failed.failure))
        raise LogUnavailable(f"cannot reach the Valkey server at {address}: {reason}")

    async def close(self) -> None:
        """Drop the connections. Calls that wait for their answers fail. Idempotent.

        Cancellation: a cancelled call closes the links all the same.
        """
        if self._scope is None:
            return
        scope, self._scope = self._scope, None
        scope.cancel()
        with trio.CancelScope(shield=True):
            await self._over.wait()
        self._make_links()  # the next open() begins without the failures and the channels of this one
        self._listeners.clear()
        self._confirmed.clear()

    async def function(self, name: str, keys: list[str], *args: bytes | str | float) -> Any:
        """Call a function of the library on the link for commits. Raises the errors of :meth:`Link.call`."""
        return await self.commits.call(b"FCALL", name, len(keys), *keys, *args)

    async def aside(self, name: str, keys: list[str], *args: bytes | str | float) -> Any:
        """Call a function of the library on the link for reads and beats. Raises the errors of :meth:`Link.call`."""
        return await self.reads.call(b"FCALL", name, len(keys), *keys, *args)

    async def publish(self, messages: Sequence[tuple[str, bytes]]) -> list[int]:
        """Send messages at once, each to its channel, in their order. Raises the errors of :meth:`Link.call`.

        Return for each message the number of connections that got it from this server.
        """
        return await self.reads.calls([(b"PUBLISH", channel, message) for channel, message in messages])

    def listen(self, channel: str, on_message: Callable[[bytes], None], on_begun: Callable[[], None]) -> None:
        """Subscribe to a channel until :meth:`close`, also after each lost connection.

        Args:
            channel: The channel.
            on_message: A function that gets each message. It must not wait.
            on_begun: A function that is called each time when the server has confirmed the subscription. Messages that
                were sent before that can be lost.
        """
        self._listeners[channel.encode()] = on_message
        self._confirmed[channel.encode()] = on_begun
        self.messages.subscribe(channel)

    def stop_listening(self, channel: str) -> None:
        """Undo :meth:`listen`."""
        self._listeners.pop(channel.encode(), None)
        self._confirmed.pop(channel.encode(), None)
        self.messages.unsubscribe(channel)

    def statistics(self) -> LinkStatistics:
        """Return the counters of the links since they were opened."""
        return LinkStatistics(
            sum(link.commands for link in self.links),
            sum(max(0, link.connections - 1) for link in self.links),
        )

    def _on_push(self, push: list[Any]) -> None:
        kind, channel = push[0], push[1]
        if kind == b"message" and channel in self._listeners:
            self._listeners[channel](push[2])
        elif kind == b"subscribe" and channel in self._confirmed:
            self._confirmed[channel]()

    async def _serve(self, scope: trio.CancelScope, over: trio.Event) -> None:
        links = self.links
        try:
            with scope:
                async with trio.open_nursery() as nursery:
                    for link in links:
                        nursery.start_soon(link.run)
        except Exception as error:  # noqa: BLE001 - an error that leaves a system task would end trio
            report("the task of the links to Valkey", error)
        finally:
            for link in links:
                link.end()
            over.set()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


def _raise_if_final(link: Link) -> None:
    """Raise the error because of which the link has no connection, if a later attempt would fail in the same way."""
    failure = link.failure
    if failure is None:
        return
    if is_a(failure, (ConfigError, LogSchemaTooNew)):
        raise failure
    if is_a(failure, CertificateRefused):
        raise LogUnavailable(f"cannot reach the Valkey server at {link.failed_at}: {text_of(failure)}")
    if is_a(failure, (AuthenticationError, AuthorizationError)):
        raise LogUnavailable(
            f"the Valkey server at {link.failed_at} refuses the user or password of the URL: {text_of(failure)}"
        )


async def prepared(call: Call, keys: Keyspace) -> str:
    """Check the server, and load the library of functions if it is missing. Return the generation of the server.

    Raises:
        ConfigError: The server is older than version 7, evicts keys, or has another number of partitions.
        LogSchemaTooNew: The data were written by a newer version.
        LogUnavailable: A call failed.
    """
    about = _fields(await call(b"INFO", "server", "memory"))
    version = about.get("redis_version", "")
    if not version.partition(".")[0].isdigit() or int(version.partition(".")[0]) < 7:  # noqa: PLR2004 - first with functions
        raise ConfigError(f"the Valkey server has version {version or 'unknown'}: Valkey or Redis 7 or newer is needed")
    policy = about.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise ConfigError(
            f"the Valkey server has maxmemory-policy {policy}, with which it drops events when its memory is full: "
            "set maxmemory-policy to noeviction"
        )
    try:
        await call(b"SET", keys.schema, f"{SCHEMA} {PARTITIONS}", b"NX")
        _check_schema(await call(b"GET", keys.schema))
    except Moved:
        pass  # another primary of the cluster has this key, and is asked too
    if not await call(b"FUNCTION", "LIST", "LIBRARYNAME", LIBRARY):
        try:
            await call(b"FUNCTION", "LOAD", source())
        except Refused as error:
            if "already exists" not in error.text:  # another connection was faster
                raise
    return about.get("run_id", "")


def _fields(info: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


def _check_schema(stored: bytes | None) -> None:
    match (stored or b"").split():
        case [version, partitions] if version.isdigit() and partitions.isdigit():
            if int(version) > SCHEMA:
                raise LogSchemaTooNew(
                    f"the events in Valkey have layout {int(version)}: this version of Greenroom reads up to {SCHEMA}"
                )
            if int(partitions) != PARTITIONS:
                raise ConfigError(f"the events in Valkey have {int(partitions)} partitions, not {PARTITIONS}")
        case _:
            raise ConfigError(f"the key of the layout has the value {shown(stored)}: use another prefix or database")
