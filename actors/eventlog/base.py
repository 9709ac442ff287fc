"""The contract of an event log, which every engine keeps.

A log holds *streams*, one for each session of a user. A stream is a sequence of encoded events (*lines*), numbered from
1 without a gap. A line is one JSON object without a raw line feed that begins ``{"seq":12,"ts":1700000000000``
(:mod:`actors.events.line`). The log treats lines as opaque bytes, with two exceptions: it compares the ``seq`` of each
line that it appends, and it reads ``ts`` for retention by age. ``ts`` never falls within a stream: the stream's writer
ensures that. A line without a ``ts`` raises ``LogCorrupt``, at the latest when it is read.

In addition to its events a stream has an ``epoch`` (a random id, drawn when the stream is made) and a ``state``: opaque
bytes that its writer passes with every batch (the items open after that batch). The log keeps only the newest state of
a stream, and need not write a state that did not change. Epoch, ``latest`` and ``state`` outlive the events: a stream
whose events were all trimmed still has its position and its open items.

Beside the streams a log keeps *revocations*: tokens that are no longer accepted. They are few and small. It can also
keep the positions of *consumers* (:mod:`actors.eventlog._positions`).

Each stream has one writer in one process. The log does not arbitrate between two writers. User and session are text
that UTF-8 can encode.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

import attrs

from actors.errors import LogError
from actors.eventlog._forgetting import Forgettable
from actors.eventlog._limits import BY_AGE_ALONE, CommitLimit, Retention
from actors.eventlog._listing import Head, Listing, UserUsage
from actors.eventlog._names import StreamKey, check_names, check_new
from actors.eventlog._positions import ConsumerPosition, ConsumerPositions, ConsumerUsage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from actors.eventlog._gate import Gate

__all__ = [
    "BY_AGE_ALONE",
    "Batch",
    "CommitLimit",
    "ConsumerPosition",
    "ConsumerUsage",
    "EventLog",
    "Head",
    "LogStatistics",
    "Retention",
    "Revocation",
    "StreamKey",
    "UserUsage",
    "check_names",
    "check_new",
]


@attrs.define
class Batch:
    """Consecutive events to append to one stream. ``lines[i]`` has the seq ``first + i``. A batch is never empty."""

    key: StreamKey
    first: int
    lines: Sequence[bytes]
    state: bytes
    size: int = attrs.Factory(lambda batch: sum(map(len, batch.lines)), takes_self=True)
    """The size of all lines of the batch in bytes. The size is computed once: when the batch is made, or before."""


@attrs.frozen
class LogStatistics:
    """The counters of an event log since it was opened."""

    engine: str
    """The kind of the log: ``memory``, ``sqlite`` or ``valkey``."""
    streams: int
    """Number of streams for which this process has an entry in memory. An entry is small."""
    commits: int
    """Number of calls of ``append`` that were committed. Each call is one transaction."""
    batches: int
    """Number of batches that were committed. All events of one session in one commit are one batch."""
    events: int
    """Number of events that were committed."""
    reads: int
    """Number of calls of ``read``. A client that finds its next events in the server's memory causes no read."""
    trims: int
    """Number of calls of ``trim`` that dropped events."""
    # Not compared: the size of the file does not follow from the calls that the other fields count.
    wal_bytes: int = attrs.field(default=0, eq=False)
    """Size of the file of SQLite's write-ahead log in bytes; 0 if there is none.

    The size is measured after a write, at most once a second. The file grows as long as another program keeps one read
    of the log open, and shrinks after that.
    """


@attrs.frozen(kw_only=True)
class Revocation:
    """A revocation of the tokens of one user, or of one token. Times are in seconds since 1970.

    Raises:
        ValueError: ``user`` and ``token_id`` are both given or both missing, or UTF-8 cannot encode the given one.
    """

    user: str | None = None
    """The user. All tokens of this user that were issued at :attr:`at` or before are revoked."""
    token_id: str | None = None
    """The id of the one token that is revoked."""
    at: float
    """The time of the revocation."""
    until: float
    """The time from which the log may forget the revocation, because the revoked tokens have expired by then."""

    def __attrs_post_init__(self) -> None:
        if (self.user is None) == (self.token_id is None):
            raise ValueError("a revocation has either a user or a token_id")
        self.name.encode()

    @property
    def name(self) -> str:
        """The user, or the id of the token."""
        return self.user if self.user is not None else self.token_id or ""

    def covers(self, user: str, token_id: str | None, issued: float | None) -> bool:
        """Return whether this is a revocation of the token with these values.

        A token without a time of issue counts as issued before.
        """
        if self.user is None:
            return token_id == self.token_id
        return user == self.user and (issued is None or issued <= self.at)

    def joined(self, other: Revocation | None) -> Revocation:
        """Return a revocation with the later ``at`` and the later ``until`` of this one and ``other``.

        ``other`` is a revocation of the same user or token, or None.
        """
        if other is None:
            return self
        return attrs.evolve(self, at=max(self.at, other.at), until=max(self.until, other.until))


class EventLog(ConsumerPositions, Listing, Forgettable, ABC):
    """Base class of all event logs: stores of the events of sessions.

    As an async context manager a log calls :meth:`open` on entry and :meth:`close` on exit. Methods can be called
    concurrently. Errors are :class:`~actors.LogUnavailable` (the log is not open, or fails at the moment),
    :class:`~actors.LogCorrupt` and :class:`~actors.LogSchemaTooNew`. For a stream that does not exist, methods raise
    ``KeyError``.

    Cancellation: a call that raises ``Cancelled`` has done nothing. A call that is cancelled when its work can no
    longer be undone finishes and returns normally; the caller is cancelled at its next checkpoint.
    """

    gather_seconds: float = 0.0
    """Minimum interval between commits of small appends, in seconds.

    Events that arrive sooner go together into the next commit. A good value is the time that one commit takes.
    """

    outlives_process: bool = True
    """Whether the log still has its events after the process ends. False only if closing the log loses its events.

    If True, a run that a client started calls its agent only after ``agent_started`` is committed. So if the process
    crashes before the commit, the agent was not called. If it crashes later, the log has the start, and the server
    recognises the same start when the client sends it again. A wrapper around another log has the value of the wrapped
    log.
    """

    max_commit: CommitLimit | None = None
    """The size of one append at most, for the code that commits. None if the log has no such limit."""

    tries_again: bool = False
    """Whether an append that raises ``LogUnavailable`` was already tried for as long as makes sense."""

    divide: Callable[[StreamKey], int] | None = None
    """A function that returns the part of a stream. One append should only have streams of one part. None: any.

    The parts are appended at the same time.
    """

    tail_of: Callable[[StreamKey, int, int], Sequence[bytes] | None] | None = None
    """A function that returns lines of a stream from the memory of its writer, or None if memory does not have them.

    It gets the stream, the seq before the first line, and the seq of the last. Set by the code that runs sessions, for
    a log whose server can come back with older data.
    """

    gate: Gate | None = None
    """The permission to write, of a node of a cluster. While it is closed, nothing is stored and no tool starts."""

    shared_by_processes: bool = False
    """Whether several processes can use the same log at the same time, each for streams of its own.

    If False, ``greenroom serve`` refuses to start more than one worker. A wrapper around another log has the value of
    the wrapped log.
    """

    @property
    def innermost(self) -> EventLog:
        """The log that stores the events: this log, or the ``innermost`` of the log that this one wraps."""
        return self

    @abstractmethod
    async def open(self) -> None:
        """Open the log. Raise ``RuntimeError`` if it is open already. A log that was closed can be opened again.

        Cancellation: if this is cancelled or raises, nothing stays open.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close the log: finish the calls that were made before, and release all resources. Idempotent.

        Cancellation: a cancelled call closes the log all the same.
        """

    @abstractmethod
    async def make(self, key: StreamKey) -> Head:
        """Return the stream's summary. If the stream does not exist, make it with a new epoch and ``latest`` 0.

        Raises:
            ValueError: UTF-8 cannot encode the name, because the name has a lone surrogate.
        """

    @abstractmethod
    async def append(self, batches: Sequence[Batch]) -> None:
        """Append all batches in one commit. If this raises, the log has none of the batches.

        When this returns, the batches are as durable as the engine is configured to make them.

        Args:
            batches: Each batch's ``first`` must be its stream's ``latest + 1``. If a stream has several batches, each
                of them must begin where the previous batch ends. The batches and their lists of lines must not be
                changed until this returns.

        Raises:
            LogCorrupt: A batch does not follow its stream's ``latest``, or a line has a wrong ``seq``.
            ValueError: A batch is empty.
            KeyError: A stream does not exist.
            Fenced: Another node owns the user of a batch.
            AppendRefused: Some of several batches were refused, and the log knows which. This error is also an instance
                of the class of its first error.
            LogUncertain: It is not known whether the log has the batches. Only a log on another machine raises this.
        """

    def appender(self) -> Callable[[Sequence[Batch]], None] | None:
        """Return a function that appends as :meth:`append` does, but never waits. Return None if an append can wait.

        With such a function, events are committed without a switch of tasks. A caller that has it can still use
        :meth:`append`. This default method returns None.
        """
        return None

    @abstractmethod
    async def mark(self, key: StreamKey, state: bytes) -> None:
        """Replace the stream's state, without an event. The new state is as durable as an append.

        The state is bytes that only the stream's writer understands.
        """

    @abstractmethod
    async def read(self, key: StreamKey, after: int, limit: int, size: int) -> Sequence[bytes]:
        """Return the lines with seq ``after + 1`` and up, in order and without a gap.

        Args:
            key: The stream.
            after: The lines after this seq are returned. If ``after`` is ``latest`` or higher, the result is empty.
            limit: Maximum number of lines.
            size: Maximum bytes of the lines. A first line that is larger is returned alone.

        Raises:
            Trimmed: ``after + 1`` is below ``oldest``. In this case no line is returned, not even the lines that the
                log still has.
        """

    @abstractmethod
    async def trim(self, key: StreamKey, keep: Retention, now: int) -> Head:
        """Drop the stream's events that are beyond the limits ``keep`` at ``now`` (ms since 1970), and no other events.

        Return the stream's new summary.
        """

    @abstractmethod
    async def remove(self, key: StreamKey) -> None:
        """Remove the stream with its events, state and epoch. Do nothing if the stream does not exist."""

    async def revoke(self, revocation: Revocation, now: float) -> None:
        """Store a revocation, as durably as an append. Forget the revocations with an ``until`` of ``now`` or earlier.

        If the log has a revocation of the same user or token, the log keeps one with the later of each of the times.

        An engine that keeps revocations overrides this method and :meth:`revocations`. This default method raises: with
        such an engine, a server forgets the revocations when its process ends.

        Args:
            revocation: The revocation.
            now: The time in seconds since 1970.

        Raises:
            LogError: This engine keeps no revocations.
        """
        del revocation, now
        raise LogError(f"a log of the kind {type(self).__name__} keeps no revocations")

    async def revocations(self) -> Sequence[Revocation]:
        """Return the stored revocations, in any order. Revocations that may be forgotten can be among them.

        This default method returns none.
        """
        return ()

    @abstractmethod
    def statistics(self) -> LogStatistics:
        """Return the counters of the log since it was opened."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
