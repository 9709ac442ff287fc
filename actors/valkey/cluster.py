"""Links to all primaries of a Valkey Cluster, which look like one link. Each command goes to the primary of its key."""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Any

import attrs
import trio

from actors.errors import LogUnavailable
from actors.valkey.errors import Moved, NotSent
from actors.valkey.link import Link

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from actors.valkey._wire import Command
    from actors.valkey.address import Address
    from actors.valkey.link import Call

SLOTS = 16_384
"""Number of slots of a cluster. Each key is in one slot, and each slot has one primary."""

_FUNCTIONS = frozenset({"FCALL", "FCALL_RO", "EVAL"})
"""The commands in which a name or script, and the number of keys, come before the first key."""
_ANYWHERE = frozenset({"PUBLISH", "INFO", "FUNCTION", "CLUSTER", "PING"})


def slot_of(key: str) -> int:
    """Return the slot of a key: of the part in braces, if there is one."""
    _, brace, rest = key.partition("{")
    tag, closed, _ = rest.partition("}")
    return binascii.crc_hqx((tag if brace and closed and tag else key).encode(), 0) % SLOTS


def key_of(args: Command) -> str | None:
    """Return the first key of a command. Return None if any primary can do the command."""
    name = args[0].decode() if isinstance(args[0], bytes) else str(args[0])
    if name in _ANYWHERE:
        return None
    return str(args[3] if name in _FUNCTIONS else args[1])


@attrs.define
class Topology:
    """The primaries of a cluster, as the newest connection to one of them has shown."""

    seed: Address
    """The address in the URL of the log. It has the credentials, which are the same for all primaries."""
    ranges: list[tuple[int, int, Address]] = attrs.Factory(list[tuple[int, int, "Address"]])
    """First slot, last slot, primary."""

    @property
    def primaries(self) -> set[Address]:
        """The addresses of all primaries."""
        return {address for _, _, address in self.ranges}

    def addresses(self) -> list[Address]:
        """Return the addresses of all servers that are known, always in the same order."""
        return sorted(self.primaries | {self.seed}, key=str)

    def primary_of(self, slot: int) -> Address | None:
        """Return the address of the primary that has a slot. None if it is not known."""
        return next((address for first, last, address in self.ranges if first <= slot <= last), None)

    def learn(self, slots: list[Any], asked: Address) -> None:
        """Take over the answer to ``CLUSTER SLOTS``. ``asked`` is the address of the server that gave the answer."""
        self.ranges = [(int(first), int(last), self._address(node, asked)) for first, last, node, *_ in slots]

    def _address(self, node: list[Any], asked: Address) -> Address:
        # A server that does not know its own host says so by an empty one.
        host = (node[0] or b"").decode() or asked.host
        return attrs.evolve(self.seed, host=host, port=int(node[1]))


class ClusterLink(Link):
    """A link to each primary of a Valkey Cluster, with the methods of one :class:`Link`.

    It is up while all primaries have a connection. Its generation changes if one of the primaries is restarted or
    replaced. All commands of one :meth:`calls` go to the primary of the first command's key.
    """

    def __init__(self, address: Address, seconds: float, *, prepare: Callable[[Call], Awaitable[str]]) -> None:
        """Make the links. ``address`` is the address of one server of the cluster; see :class:`Link` for the others."""
        super().__init__(address, seconds, prepare=prepare)
        self.topology = Topology(address)
        self._links: dict[Address, Link] = {}
        self._nursery: trio.Nursery | None = None

    @property
    def up(self) -> bool:
        """Whether all primaries are known and have a connection."""
        primaries = self.topology.primaries
        return bool(primaries) and all(each in self._links and self._links[each].up for each in primaries)

    @property
    def failed_at(self) -> Address:
        """The address of the server to which :attr:`failure` belongs. The URL may name another one."""
        return next((link.address for link in self._links.values() if link.failure is not None), self.address)

    async def run(self) -> None:
        """Keep a connection to each primary, and one to the address of the URL, until this is cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                self._start(self.address)
                await self._follow()
            finally:
                self._nursery = None
                self._links.clear()

    async def _follow(self) -> None:
        """Ask for the topology when a primary cannot be connected: another server may have taken its place.

        *A dead primary answers no command with `MOVED`. So the users of its slots waited for ever, though a replica had
        taken its place.*
        """
        while True:
            await self.changed()
            if self.failure is not None and not self.up:
                await self._look_again()

    def drop(self) -> None:
        """Drop all connections. New connections are made at once."""
        for link in self._links.values():
            link.drop()

    async def calls(self, commands: Sequence[Command], seconds: float | None = None) -> list[Any]:
        """Send several commands to the primary of the first command's key. See :meth:`Link.calls`."""
        link = self._link_of(key_of(commands[0]))
        self.commands += len(commands)
        try:
            return await link.calls(commands, seconds)
        except Moved as error:
            await self._look_again()
            raise NotSent(f"the slot of the key has moved to {error.host}:{error.port}") from None

    def _link_of(self, key: str | None) -> Link:
        if key is None:
            found = next((link for link in self._links.values() if link.up), None)
        else:
            primary = self.topology.primary_of(slot_of(key))
            found = None if primary is None else self._links.get(primary)
        if found is None:
            raise NotSent(f"no primary of the Valkey Cluster at {self.address} has the slot{self._reason()}")
        return found

    async def _look_again(self) -> None:
        """Ask the first primary that answers for the topology."""
        for address, link in tuple(self._links.items()):
            if link.up:
                try:
                    self._learn(await link.call("CLUSTER", "SLOTS"), address)
                except LogUnavailable:
                    continue
                return

    def _learn(self, slots: list[Any], asked: Address) -> None:
        self.topology.learn(slots, asked)
        primaries = self.topology.primaries
        for address in primaries:
            self._start(address)
        for address in set(self._links) - primaries - {self.address}:
            self._links.pop(address).stop()
        self._notify()

    def _start(self, address: Address) -> None:
        if address in self._links or self._nursery is None:
            return

        async def prepare(call: Call) -> str:
            generation = await self._prepare(call)
            self._learn(await call("CLUSTER", "SLOTS"), address)
            return generation

        link = self._links[address] = Link(address, self.seconds, prepare=prepare)
        link.on_change = self._on_change
        self._nursery.start_soon(link.run_until_stopped)

    def _on_change(self) -> None:
        links = [self._links[each] for each in sorted(self.topology.primaries, key=str) if each in self._links]
        self.failure = next((link.failure for link in self._links.values() if link.failure is not None), None)
        self.connections = max((link.connections for link in links), default=0)
        if self.up:
            self.generation = " ".join(link.generation for link in links)
        self._notify()
