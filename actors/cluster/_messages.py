"""The messages between the nodes, and their form: a push is lines as they are, every other message is JSON."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

import attrs
import orjson

from actors.errors import LogCorrupt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

PUSH = b"P"
"""First byte of a push. Every other message begins with ``[``."""
_PART = re.compile(rb"([0-9]+) ([0-9]+) ([0-9]+)\n")
"""The header of a part of a push, as :func:`encode_push` writes it."""
_BATCH = re.compile(rb"([^ \n]*) ([0-9]+) [0-9]+ ([0-9]+)\n")
"""The header of a batch that an engine has published: name of the stream, first seq, number of lines, size."""


class Kind(StrEnum):
    """The kinds of messages between nodes, apart from pushes."""

    ASK = "ask"
    """A question to the owner of a user, or to a node. It is asked again until an answer comes."""
    ANSWER = "answer"
    SIGNAL = "signal"
    """A signal of a watched session."""
    ENDED = "ended"
    """A watched session has ended."""
    DIGEST = "digest"
    """The newest seqs of the watched sessions that had events lately, each second."""
    TYPING = "typing"
    """The user of a client began or stopped typing."""
    UNWATCH = "unwatch"
    """A session need not be pushed any more."""
    REVOKED = "revoked"
    """A user or a token was revoked."""


class Outcome(StrEnum):
    """The outcome of a question, in the field ``is`` of its answer."""

    OK = "ok"
    LATER = "later"
    """The question was understood, and its answer comes later, such as the reply to a start that is queued."""
    NOT_MINE = "not_mine"
    """The node does not own the user."""
    YOURS = "yours"
    """The node has released the user, because it has nothing to do for the user. The asker may claim the user."""
    REFUSED = "refused"
    CLOSED = "closed"
    """The session was closed permanently."""
    LOG = "log"
    """The owner's log failed."""


@attrs.frozen
class Note:
    """A message that is no push."""

    kind: Kind
    data: dict[str, Any]


def encode(kind: Kind, data: Mapping[str, object]) -> bytes:
    """Return a message that is no push."""
    try:
        return orjson.dumps([kind, data])
    except TypeError:
        # A client may send lone surrogates and very large integers. The session refuses them, with a reply.
        return json.dumps([kind, data], default=_of_fragment).encode()


def _of_fragment(fragment: object) -> object:
    """Return the value of a part that is JSON text already."""
    return json.loads(orjson.dumps(fragment))


def decode(body: bytes) -> Note:
    """Return the message in ``body``, which is no push. Raise LogCorrupt if it is not one."""
    try:
        kind, data = _loads(body)
        if isinstance(data, dict):
            return Note(Kind(kind), cast("dict[str, Any]", data))
    except (ValueError, TypeError) as error:
        raise LogCorrupt("a message of another node cannot be read") from error
    raise LogCorrupt("a message of another node has no data")


def _loads(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return json.loads(body)  # text that orjson cannot make: see encode()


def encode_push(parts: Iterable[tuple[int, int, Sequence[bytes]]]) -> bytes:
    """Return a push of committed lines.

    Each part has the number of a mirror, the seq of its first line, and its lines. In the message, a part is the
    number, the seq, the size of its text, a line feed, the lines joined by line feeds, and a line feed.
    """
    pieces = [PUSH]
    for number, first, lines in parts:
        text = b"\n".join(lines)
        pieces.append(b"%d %d %d\n%b\n" % (number, first, len(text), text))
    return b"".join(pieces)


def decode_batches(body: bytes) -> Iterator[tuple[bytes, int, list[bytes]]]:
    """Yield the batches that an engine has published: the name of the stream, the seq of the first line, the lines.

    A batch is ``NAME FIRST COUNT SIZE``, a line feed, and its lines joined by line feeds. Batches are joined by line
    feeds. Raise LogCorrupt if this cannot be read.
    """
    at = 0
    while at < len(body):
        if (found := _BATCH.match(body, at)) is None:
            raise LogCorrupt("a published batch cannot be read")
        name, first, size = found.groups()
        begin = found.end()
        at = begin + int(size) + 1
        if at > len(body) + 1:  # the last one has no line feed behind it
            raise LogCorrupt("a published batch is cut")
        yield name, int(first), body[begin : at - 1].split(b"\n")


def decode_push(body: bytes) -> Iterator[tuple[int, int, list[bytes]]]:
    """Yield the parts of a push as :func:`encode_push` gets them. Raise LogCorrupt if it is not one."""
    at = len(PUSH)
    while at < len(body):
        if (found := _PART.match(body, at)) is None:
            raise LogCorrupt("a push of another node cannot be read")
        number, first, size = map(int, found.groups())
        begin = found.end()
        at = begin + size + 1
        if at > len(body):
            raise LogCorrupt("a push of another node is cut")
        yield number, first, body[begin : at - 1].split(b"\n")
