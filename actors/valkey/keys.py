"""The names of all keys that Greenroom has in a Valkey server. Pure.

The keys of one user are in one partition, ``crc32(user) % 32``. The partition is in braces in the name of a key, so a
Valkey Cluster has all keys of a partition in one slot, and one function can use all of them. Names of users and
sessions are percent-encoded in names of keys.
"""

from __future__ import annotations

import re
import zlib
from urllib.parse import quote, unquote

import attrs

PARTITIONS = 32
"""Number of partitions. It is stored with the data, and can never change for these data."""


def quoted(name: str) -> str:
    """Return the percent-encoded name. Raise ``ValueError`` (``UnicodeEncodeError``) for a lone surrogate."""
    return quote(name, safe="")


def partition_of(user: str) -> int:
    """Return the number of the partition that has the keys of a user."""
    return zlib.crc32(quoted(user).encode()) % PARTITIONS


def stream_name(user: str, session: str) -> str:
    """Return the name of a stream in sets, hashes and messages: ``USER/SESSION``, each percent-encoded."""
    return f"{quoted(user)}/{quoted(session)}"


def parse_stream_name(name: str) -> tuple[str, str]:
    """Return the user and the session of the name that :func:`stream_name` has made."""
    user, _, session = name.partition("/")
    return unquote(user), unquote(session)


@attrs.frozen
class UserKeys:
    """The keys of one user."""

    token: str
    """String: the token of the user's owner (its node)."""
    index: str
    """Sorted set of all streams of the partition, in the order of :func:`member_of`."""
    opened: str
    """Set of the names of the partition's streams that have open runs."""
    partition: int


@attrs.frozen
class StreamKeys:
    """The keys of one stream."""

    user: UserKeys
    meta: str
    """Hash: the summary of the stream."""
    lines: str
    """Stream: the events, one entry for each batch."""
    name: str
    """The name of the stream, as of :func:`stream_name`."""
    member: bytes
    """The member of the index that stands for the stream, as of :func:`member_of`."""


@attrs.frozen
class Keyspace:
    """All keys with one prefix in their names. All nodes of one cluster use the same prefix."""

    prefix: str = "gr"

    @property
    def schema(self) -> str:
        """String: the version of the layout and the number of partitions."""
        return f"{self.prefix}:schema"

    @property
    def nodes(self) -> str:
        """Hash of all registered nodes: ``INCARNATION BEAT INFO`` by the node's name."""
        return f"{self.prefix}:{{n}}:nodes"

    @property
    def consumers(self) -> str:
        """Set of the names of all consumers."""
        return f"{self.prefix}:{{n}}:consumers"

    @property
    def revocations(self) -> str:
        """Hash of the revoked tokens."""
        return f"{self.prefix}:{{n}}:revoked"

    def channel(self, node: str) -> str:
        """Return the channel of a node: all messages to this node."""
        return f"{self.prefix}:n:{quoted(node)}"

    def index(self, partition: int) -> str:
        """Return the sorted set of all streams of a partition."""
        return f"{self.prefix}:{{{partition}}}:i"

    def opened(self, partition: int) -> str:
        """Return the set of the names of a partition's streams that have open runs."""
        return f"{self.prefix}:{{{partition}}}:o"

    def consumer(self, partition: int, name: str) -> str:
        """Return the hash of a consumer's positions in the streams of a partition."""
        return f"{self.prefix}:{{{partition}}}:c:{quoted(name)}"

    def token(self, user: str) -> str:
        """Return the string with the token of a user's owner."""
        return f"{self.prefix}:{{{partition_of(user)}}}:u:{quoted(user)}"

    def of_user(self, user: str) -> UserKeys:
        """Return the keys of a user."""
        partition = partition_of(user)
        return UserKeys(self.token(user), self.index(partition), self.opened(partition), partition)

    def of_stream(self, user: str, session: str) -> StreamKeys:
        """Return the keys of a stream. Raise ``ValueError`` if UTF-8 cannot encode a name."""
        keys, name = self.of_user(user), stream_name(user, session)
        begin = f"{self.prefix}:{{{keys.partition}}}"
        return StreamKeys(keys, f"{begin}:m:{name}", f"{begin}:l:{name}", name, member_of(user, session))


# Members of the index sort as their streams do: first by user, then by session. A byte of 0 ends the user, so the bytes
# 0 and 1 in names are escaped, and the escapes sort as these bytes do.
_ESCAPED = {b"\0": b"\1\1", b"\1": b"\1\2"}
_PLAIN = {escape: plain for plain, escape in _ESCAPED.items()}


def member_of(user: str, session: str) -> bytes:
    """Return the member of an index for a stream. Members sort in the order of ``(user, session)``."""
    return b"\0".join(_escaped(name) for name in (user, session))


def range_of_user(user: str, after: bytes | None = None) -> tuple[bytes, bytes]:
    """Return the bounds, for ``ZRANGEBYLEX``, of the members of a user's streams that sort behind ``after``."""
    low = member_of(user, "")
    # Behind the separator of 0 comes the byte 1 at the earliest in another user's name, so this ends the user.
    high = b"(" + low[:-1] + b"\1"
    return (b"[" + low if after is None or after < low else b"(" + after), high


def parse_member(member: bytes) -> tuple[str, str]:
    """Return the user and the session of a member of an index."""
    user, _, session = member.partition(b"\0")
    return _unescaped(user), _unescaped(session)


def _escaped(name: str) -> bytes:
    return re.sub(rb"[\x00\x01]", lambda found: _ESCAPED[found[0]], name.encode())


def _unescaped(name: bytes) -> str:
    return re.sub(rb"\x01[\x01\x02]", lambda found: _PLAIN[found[0]], name).decode()
