"""The interfaces between the nodes of a cluster and the engine that connects the nodes, and the values of both.

A *node* is one process. It runs all sessions of the users that it *owns*. The engine (Valkey) is used through three
interfaces: :class:`Owners` (the owner of each user), :class:`Members` (the registered nodes) and :class:`Bus` (messages
between nodes). The fourth is :class:`~actors.eventlog.base.EventLog`.

All methods that wait raise :class:`~actors.LogUnavailable` if the engine did not answer in time. Then it is not known
whether the engine carried out the call.
"""

from __future__ import annotations

import enum
import re
import secrets
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol, Self

import attrs

from actors.errors import ConfigError, LogCorrupt
from actors.failures import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actors.eventlog.base import StreamKey

MAX_NODE_NAME = 128
"""Maximum number of characters in the name of a node."""

NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")
"""The characters that cannot be in the name of a node."""

_NODE_NAME = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_NODE_NAME}}}")
_INCARNATION = re.compile(rf"({_NODE_NAME.pattern})/([0-9]{{1,19}})/([0-9a-f]{{16}})")
_TOKEN = re.compile(r"([1-9][0-9]{0,18}) (-|\S+)")


def check_node_name(name: object) -> None:
    """Raise ConfigError if ``name`` cannot be the name of a node."""
    if not isinstance(name, str) or not _NODE_NAME.fullmatch(name):
        text = (
            f"node_name must be 1 to {MAX_NODE_NAME} ASCII letters, digits and the characters . _ -, not {shown(name)}"
        )
        raise ConfigError(text)


@attrs.frozen
class Incarnation:
    """One life of a node, from its registration until its end or its burial. A buried incarnation never comes back."""

    node: str
    """The name of the node."""
    start: int
    """Time at which the incarnation was made, in ms since 1970. Nothing depends on it; it helps people."""
    random: int
    """64 random bits, which make the incarnation unique even if clocks or data are set back."""

    @classmethod
    def new(cls, node: str, start: int) -> Self:
        """Return a new incarnation of the node. Raise ConfigError if ``node`` cannot be the name of a node."""
        check_node_name(node)
        return cls(node, start, secrets.randbits(64))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the incarnation with this text form. Raise LogCorrupt if the text is not one."""
        if (found := _INCARNATION.fullmatch(text)) is None:
            raise LogCorrupt(f"not an incarnation of a node: {shown(text)}")
        return cls(found[1], int(found[2]), int(found[3], 16))

    def __str__(self) -> str:
        return f"{self.node}/{self.start}/{self.random:016x}"


NO_TOKEN = "-"  # noqa: S105 - a right to write, no secret
"""A text that no token is: a node writes with it for the users that it does not own, and is refused."""


@attrs.frozen
class Token:
    """The right to write the streams of one user. An append with another token than the stored one is refused.

    The text form is ``TERM INCARNATION``, or ``TERM -`` after a release. *With the term alone, an engine that came back
    empty accepted the appends of an old owner, and refused those of the new one.*
    """

    term: int
    """The number of the claim, 1 or more. It grows with each claim, unless the engine lost its data."""
    incarnation: Incarnation | None
    """The owner; None if the user was released."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the token with this text form. Raise LogCorrupt if the text is not one."""
        if (found := _TOKEN.fullmatch(text)) is None:
            raise LogCorrupt(f"not a token of an owner: {shown(text)}")
        return cls(int(found[1]), None if found[2] == "-" else Incarnation.parse(found[2]))

    def released(self) -> Token:
        """Return the token that is stored after this one is released."""
        return Token(self.term, None)

    def __str__(self) -> str:
        return f"{self.term} {self.incarnation or '-'}"


@attrs.frozen
class NodeInfo:
    """A registered node, as the answer to a beat shows it. The text form is ``INCARNATION BEAT INFO``."""

    incarnation: Incarnation
    beat: int
    """The number of beats of this incarnation that the engine has counted."""
    info: str = ""
    """Text that the node sends with each beat, for people and tools. See :mod:`actors.cluster.looking`."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the node with this text form. Raise LogCorrupt if the text is not one."""
        incarnation, _, rest = text.partition(" ")
        beat, _, info = rest.partition(" ")
        if not (beat.isascii() and beat.isdigit()):
            raise LogCorrupt(f"not a registered node: {shown(text)}")
        return cls(Incarnation.parse(incarnation), int(beat), info)

    @property
    def seen(self) -> str:
        """The part of the text form that changes with each beat: ``INCARNATION BEAT``."""
        return f"{self.incarnation} {self.beat}"


@attrs.frozen
class BeatAnswer:
    """The engine's answer to a beat."""

    registered: bool
    """Whether the sender is registered now. False: it was buried, or it wanted to join and the name is in use."""
    nodes: tuple[NodeInfo, ...]
    """All registered nodes. If the sender is not registered: the node of the same name, or nothing."""
    generation: str = ""
    """The generation of the engine: it changes when the engine is restarted, perhaps with other data."""
    time_ms: int | None = None
    """The engine's time of day when it answered, in ms since 1970. None if it has no clock.

    Only the ages of stored events depend on it, never the life of a node.
    """


class Owners(ABC):
    """The owner of each user. The engine compares and sets tokens, and never decides."""

    partitions: int
    """Number of parts into which users are divided; see :meth:`open_of`."""

    @abstractmethod
    async def owner_of(self, user: str) -> Token | None:
        """Return the user's token. Return None if the user was never owned, or the engine lost its data."""

    @abstractmethod
    async def claim(self, user: str, expected: Token | None, token: Token) -> Token | None:
        """Replace the user's token by ``token`` if it is ``expected`` now, in one atomic step.

        Return the user's token after the call: ``token`` if the claim succeeded, otherwise the one that was found.
        """

    @abstractmethod
    async def release(self, user: str, token: Token) -> bool:
        """Replace the user's token by ``token.released()`` if it is ``token`` now. Return whether it was.

        All sessions of the user must have ended, and all their events must be committed.
        """

    @abstractmethod
    async def open_of(self, partition: int) -> Sequence[StreamKey]:
        """Return the streams with open runs of all users of one partition, from 0 to ``partitions - 1``."""

    @abstractmethod
    def partition_of(self, user: str) -> int:
        """Return the partition of a user."""


class Members(ABC):
    """The registered nodes."""

    @abstractmethod
    async def beat(self, incarnation: Incarnation, info: str, *, join: bool) -> BeatAnswer:
        """Count one beat of a node, and return all registered nodes.

        ``join`` registers the incarnation if its node's name is free. The engine also sends the message ``beat`` to the
        node's own channel of the bus, so that a node notices when its channel is deaf.
        """

    @abstractmethod
    async def bury(self, node: NodeInfo) -> bool:
        """Remove a node if its incarnation and its beat are still these. Return whether it was removed by this call."""

    @abstractmethod
    async def leave(self, incarnation: Incarnation) -> None:
        """Remove the caller's own incarnation, because its process ends. Do nothing if it is not registered."""


@attrs.frozen
class Message:
    """A message from another node (or from the node itself)."""

    sender: Incarnation
    body: bytes


@attrs.frozen
class Push:
    """The batches of one commit of another node that this node watches, as the engine published them."""

    sender: Incarnation
    body: bytes


@attrs.frozen
class Gap:
    """A notice that messages or pushes may have been lost before the next ones."""

    sender: Incarnation | None
    """The node that sent the lost messages. None: messages of any node, because this node connected anew."""


class Bus(ABC):
    """Messages between nodes: at most once, in order and counted for each pair of nodes; they may get lost.

    A loss is noticed with the next message of the same sender, and returned as a :class:`Gap`.
    """

    def open(self) -> None:  # noqa: B027 - an engine without a connection has nothing to begin
        """Begin to listen to this node's channel. The engine must be connected. By default nothing has to begin."""

    @abstractmethod
    async def send(self, messages: Sequence[tuple[str, bytes]]) -> int:
        """Send messages at once, in their order. Each is the name of a node and the body for that node.

        Return the number of messages that are lost for sure, because no node of the name listens. A node that listens
        need not handle a message. Raise LogUnavailable if the engine fails: then any of the messages may be lost.
        """

    @abstractmethod
    async def receive(self) -> Sequence[Message | Push | Gap]:
        """Wait for messages to this node, and return all that came since the last call, oldest first.

        Only one task may call this. Cancellation: no message is lost.
        """

    @abstractmethod
    def heard_at(self) -> float:
        """Return the time of the last message on this node's channel, in seconds of ``CLOCK_BOOTTIME``.

        The engine's ``beat`` to the node itself counts, though :meth:`receive` does not return it.
        """

    @abstractmethod
    def reconnect(self) -> None:
        """Connect to the channel anew, because it seems deaf. Never wait. A :class:`Gap` follows."""


class Publisher(Protocol):
    """A log that sends each append to the nodes that watch its streams, in the same step. Each gets a :class:`Push`.

    The body of the push has the batches, each as ``NAME FIRST COUNT SIZE``, a line feed, and the lines joined by line
    feeds; the batches are joined by line feeds.
    """

    def publish_to(self, key: StreamKey, nodes: Sequence[str]) -> None:
        """Send each later append to the stream to these nodes, and to no others."""

    def name_of(self, key: StreamKey) -> bytes:
        """Return the name of a stream, as pushes have it."""
        ...


class NodeState(enum.StrEnum):
    """The states in the life of a node."""

    JOINING = "joining"
    """Not registered yet: the node owns no user."""
    LIVE = "live"
    """Registered, and sure of it: the node may commit, claim, and start runs and tools."""
    SUSPENDED = "suspended"
    """The last answered beat is too long ago: the node starts nothing, until a beat is answered again."""
    STOPPED = "stopped"
    """Removed from the cluster by itself, because its process ends."""


class Node(Protocol):
    """The node of this process, as the router sees it."""

    @property
    def incarnation(self) -> Incarnation:
        """The present incarnation. After a burial the node has a new one."""
        ...

    @property
    def state(self) -> NodeState:
        """The state of the node at this moment."""
        ...

    @property
    def nodes(self) -> Mapping[str, NodeInfo]:
        """The registered nodes by name, as the last answered beat showed them."""
        ...

    async def look(self) -> None:
        """Beat now. Then :attr:`nodes` has each node that was registered before this call, if the beat was answered."""
        ...

    @property
    def unready(self) -> str:
        """The reason why this node should get no new clients now; "" if it can serve them."""
        ...

    @property
    def owned(self) -> Mapping[str, Token]:
        """The tokens of all users that this node owns, by user."""
        ...

    def owns(self, user: str) -> bool:
        """Return whether this node owns the user and may run the user's sessions. Never wait."""
        ...

    async def own(self, user: str, not_mine: Token | None = None) -> Token | None:
        """Claim a user if that is allowed, and return the token that the user has afterwards.

        A claim is allowed if the user has no token, if the token was released, if its incarnation is not registered, or
        if the token is ``not_mine``: the token to which the node in it answered that it does not own the user.

        Return None if the node is not live: it must not claim now. Raise LogUnavailable if the engine does not answer.
        """
        ...

    async def release(self, user: str) -> None:
        """Give up a user. All sessions of the user must have ended, and all their events must be committed.

        Do nothing if this node does not own the user.
        """
        ...

    def close(self) -> None:
        """Claim no more users, because the process ends. Users that the node owns stay its own."""

    def lose(self, user: str, token: Token) -> None:
        """Forget a user, because the log refused an append with ``token``: another node has claimed the user.

        Do nothing if the node owns the user with another token by now.
        """
        ...
