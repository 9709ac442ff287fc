"""A row of a table of cases: bytes that a client sends, and all that the server may answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs
import pytest
from _scale import scaled
from rfc6455.peer import HELLO, UPGRADE, Heard
from rfc6455.target import EVERYWHERE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from _pytest.mark import ParameterSet
    from rfc6455.peer import Peer
    from rfc6455.target import Target

BYTE_BY_BYTE = 1_500
"""Maximum size of the bytes that are also delivered byte by byte. More would count as a flood."""
STRIDE = scaled(4, 1)
"""Of this many rows that follow each other in a table, one is also delivered byte by byte. With 1, all rows are."""
START = len(UPGRADE) + len(HELLO)
"""Number of bytes that a client has sent before the bytes of its row."""


class Outcome(Protocol):
    """What the server must do."""

    def check(self, peer: Peer) -> None:
        """Read the answers, and fail if they are not the right ones."""


def by_kind(heard: Iterable[Heard]) -> dict[object, list[Heard]]:
    """Return what was heard, with the order kept within each kind only."""
    found: dict[object, list[Heard]] = {}
    for one in heard:
        found.setdefault(one[0], []).append(one)
    return found


@attrs.frozen
class Lives:
    """The server sends these frames, and the connection goes on: a ping is answered, and a close frame too.

    Pongs come in order, and replies too. A pong may come before the reply to an earlier message (section 5.5.3).
    """

    heard: tuple[Heard, ...] = ()

    def check(self, peer: Peer) -> None:
        assert by_kind([peer.hear() for _ in self.heard]) == by_kind(self.heard)
        assert peer.finish() == []


@attrs.frozen
class Ends:
    """The server says goodbye with a code and a reason, sends a close frame with the same, and ends the connection."""

    code: int
    before: tuple[Heard, ...] = ()
    """Answers to earlier frames. They are not promised: the connection may end before they are written."""

    def check(self, peer: Peer) -> None:
        heard = peer.hear_all()
        assert len(heard) >= 2, heard
        *before, goodbye, close = heard
        assert (goodbye[:2], close[:2]) == (("goodbye", self.code), ("close", self.code))
        assert tuple(before) == self.before[: len(before)]
        assert goodbye[2] == close[2] != ""


@attrs.frozen
class Echoes:
    """The server answers a close frame with the same code and reason, without a goodbye, and ends the connection."""

    code: int | None
    reason: str = ""
    before: tuple[Heard, ...] = ()
    """Answers to earlier frames, which are not promised."""

    def check(self, peer: Peer) -> None:
        heard = peer.hear_all()
        *before, close = heard or [()]
        assert close == ("close", self.code, self.reason), heard
        assert tuple(before) == self.before[: len(before)]


class Case(Protocol):
    """A row of a table."""

    @property
    def id(self) -> str:
        """A name for the row."""

    def byte_by_byte(self) -> Case | None:
        """Return the same row with its bytes delivered byte by byte. None if they cannot be."""

    def play(self, target: Target) -> None:
        """Send the bytes to the server, and check what it does."""


@attrs.frozen
class Row:
    """One case."""

    id: str
    data: bytes
    """What the client sends after its welcome."""
    outcome: Outcome
    cuts: Sequence[int] = ()
    """Numbers of bytes of the data at which a read of the server ends."""

    def byte_by_byte(self) -> Row | None:
        """Return the same row with its bytes delivered byte by byte. None if they are too many or cut already."""
        if len(self.data) > BYTE_BY_BYTE or self.cuts:
            return None
        return attrs.evolve(self, id=f"{self.id}, byte by byte", cuts=EVERYWHERE)

    def play(self, target: Target) -> None:
        """Send the bytes on a new connection, and check the answers and the state of the server."""
        cuts = self.cuts if self.cuts == EVERYWHERE else [START + cut for cut in self.cuts]
        with target.connect(cuts) as peer:
            peer.upgrade()
            peer.hello()
            peer.send(self.data)
            self.outcome.check(peer)
            target.check_no_connection_is_left()
        target.check_neighbour()


def deliveries(*tables: Callable[[], Iterable[Case]]) -> list[ParameterSet]:
    """Return the rows of each table twice: all bytes of a row come at once, and byte by byte.

    Only each fourth row comes byte by byte, and each row in ``make soak``: that takes twice as long as the rest.

    All rows of a table are one test, because thousands of tests would take longer than their rows.
    """
    found: list[ParameterSet] = []
    for table in tables:
        rows = list(table())
        found.append(pytest.param(rows, id=table.__name__))
        slow = [row for row in (row.byte_by_byte() for row in rows) if row is not None][::STRIDE]
        if slow:
            found.append(pytest.param(slow, id=f"{table.__name__}, byte by byte"))
    return found
