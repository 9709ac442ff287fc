"""The log in a Valkey or Redis server, which several processes can share. It needs the extra ``valkey``."""

# ruff: noqa: D102 - the methods' contract is EventLog's

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from actors.errors import LogUnavailable, LogUncertain
from actors.eventlog._valkey_append import Call, Watchers, build_call, refusal
from actors.eventlog._valkey_calls import AWAY, FULL, Attempts, code_of, shown_refusal
from actors.eventlog._valkey_options import ValkeyOptions
from actors.eventlog._valkey_positions import ValkeyPositions
from actors.eventlog._valkey_restore import Repair, Written
from actors.eventlog.base import CommitLimit, LogStatistics
from actors.valkey.errors import NotSent, Refused, Unanswered
from actors.valkey.keys import Keyspace, StreamKeys, partition_of
from actors.valkey.server import Valkey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actors.eventlog.base import Batch, StreamKey
    from actors.valkey.address import Address

HOLD_SECONDS = 30.0
"""Default time in seconds for which an append waits while the server is away or its memory is full.

Meanwhile code that emits events waits, and nothing is lost.
"""

UNKNOWN_SECONDS = 6.0
"""Default time in seconds for which an append that got no answer is sent again, if the log has no gate."""


class ValkeyLog(ValkeyPositions):
    """An event log in a Valkey or Redis server.

    Each append is one call of a function in the server, which is done completely or not at all. The function compares
    the *token* of each user with the stored one: a process that no longer owns a user cannot append.

    If a call gets no answer, it is sent again. Then the function recognises the batches that it has already stored. If
    there is no answer while :attr:`gate` is open, the append raises ``LogUncertain``. An append is tried for
    :attr:`hold_seconds` if the gate is closed, if it did not reach the server, or if the server has no memory for it.

    How durable an append is depends on the server: with ``appendonly yes`` it outlives the server's process, with
    ``appendfsync always`` also a loss of power.
    """

    gather_seconds = 0.002
    max_commit = CommitLimit(512, 1 << 20)
    tries_again = True
    shared_by_processes = True

    def __init__(self, address: Address, options: ValkeyOptions | None = None, *, read_only: bool = False) -> None:
        """Make the log. Nothing is connected before :meth:`open`.

        Args:
            address: The address of the server.
            options: The options.
            read_only: Refuse each call that would change the log.
        """
        options = options or ValkeyOptions()
        self.valkey = Valkey(address, seconds=options.timeout_seconds, keys=Keyspace(options.prefix))
        """The links to the server."""
        self.tokens: Mapping[str, str] = {}
        """The token of each user that this process owns."""
        self.no_token = ""
        """The token with which this process writes for a user without an entry: "" works if the user has no owner.

        The processes of a cluster have a text that no token is. *A process that had just lost all its users made a
        session of a user that had no owner yet. The session lived on beside the session of the next owner.*
        """
        self.opens = None
        """A function that returns whether a stream's state has open runs. None: nothing needs to know."""
        self.watchers = Watchers()
        """The nodes that get the events of streams of this process."""
        self.unknown_seconds = UNKNOWN_SECONDS
        """Time in seconds for which an append that got no answer is sent again, if the log has no gate."""
        self.hold_seconds = HOLD_SECONDS
        """Time in seconds for which an append that the server has not got, or could not do, is tried."""
        if address.cluster:
            # The primaries of a cluster do not commit together, so an append can only have streams of one partition.
            self.divide = lambda key: partition_of(key.user)
        self.keeps_acknowledged = options.keeps_acknowledged
        self._wait_replicas = options.wait_replicas
        self._read_only = read_only
        self._repairing = trio.Lock()
        self._opened = False
        self._reset()

    def _reset(self) -> None:
        self._keys: dict[StreamKey, StreamKeys] = {}
        self._written: dict[StreamKey, Written] = {}
        self._in_doubt: set[StreamKey] = set()  # of appends that were sent, and had no answer yet
        self._generation: str = ""
        self._commits = self._batches = self._events = self._reads = self._trims = 0
        self.epochs_renewed = 0
        """Number of streams that got a new epoch since the log was opened, because the server was restarted."""
        self.restored = 0
        """Number of events that were appended again since the log was opened, because a restarted server lost them."""
        self.full = 0
        """Number of attempts to append that were refused since the log was opened, because the memory was full."""

    async def open(self) -> None:
        if self._opened:
            raise RuntimeError("the log is open already")
        await self.valkey.open()
        self._reset()
        self._generation = self.valkey.commits.generation
        self._opened = True

    async def close(self) -> None:
        self._opened = False
        await self.valkey.close()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def append(self, batches: Sequence[Batch]) -> None:
        self._require_writable()
        await trio.lowlevel.checkpoint_if_cancelled()
        if not batches:
            return
        if self.divide is not None and len({self.divide(batch.key) for batch in batches}) > 1:
            raise ValueError("an append to a Valkey Cluster has streams of one partition only: see EventLog.divide")
        # Once sent, a call cannot be taken back. It ends in time by itself.
        keys = {batch.key for batch in batches}
        with trio.CancelScope(shield=True):
            try:
                await self._append(batches)
                if doubtful := keys & self._in_doubt:
                    await self._settle(doubtful)
            finally:
                self._in_doubt -= keys
        self._commits += 1
        self._batches += len(batches)
        self._events += sum(len(batch.lines) for batch in batches)
        for batch in batches:
            if (written := self._written.get(batch.key)) is not None:
                written.latest, written.state = batch.first + len(batch.lines) - 1, batch.state

    async def repair(self) -> None:
        """Compare the streams of this process with the server, if it was restarted since the last comparison.

        Acknowledged events that the server has lost are appended again from memory (:attr:`tail_of`), with the same
        numbers. If memory does not have them, the stream gets a new epoch. Each append does this first.

        Raises:
            LogUnavailable: The server did not answer. The next call tries again.
        """
        if self.valkey.commits.generation == self._generation:
            return
        async with self._repairing:
            generation = self.valkey.commits.generation
            if generation == self._generation:
                return
            repair = self._repair(generation)
            try:
                await repair.run(self._written)
            finally:
                self.restored += repair.restored
                self.epochs_renewed += repair.renewed
            self._generation = generation

    def _repair(self, generation: str) -> Repair:
        return Repair(
            self.valkey, self.tokens, self._token_of, self.opens, self.tail_of, self.gate, generation, self._in_doubt
        )

    async def _settle(self, keys: set[StreamKey]) -> None:
        """Give streams the present generation. Their append was in doubt, and is there now.

        If that fails, the next owner gives them a new epoch, and their clients begin anew.
        """
        repair = self._repair(self.valkey.commits.generation)
        with suppress(LogUnavailable):
            for key in keys & self._written.keys():
                await repair.settle(key, self._written[key])

    async def _append(self, batches: Sequence[Batch]) -> None:
        begun = trio.current_time()
        attempts = Attempts(self.valkey.commits, begun + self.hold_seconds)
        unknown, call = False, self._built(batches)
        while True:
            asked = False
            try:
                if await self._prepare(attempts) and not unknown:
                    call = self._built(batches)  # the process may have lost its tokens in that time
                asked = True
                await self._send(call, again=unknown)
            except Unanswered as error:
                failure: LogUnavailable = error
                unknown = unknown or asked
                if unknown:
                    self._in_doubt.update(batch.key for batch in batches)
                    attempts.until = begun + self.unknown_seconds if self.gate is None else self.gate.until()
            except (NotSent, Refused) as error:
                failure = self._understood(error, [batch.key for batch in batches], attempts)
            else:
                return
            if not await attempts.wait():
                break
        reason = str(failure) if self._opened else "the valkey log was closed"
        if unknown:
            raise LogUncertain(f"it is not known whether events were stored: {reason}") from None
        raise LogUnavailable(reason) from None

    def _built(self, batches: Sequence[Batch]) -> Call:
        streams = [self._of(batch.key) for batch in batches]
        return build_call(batches, streams, self._token_of, self.watchers, self.opens)

    async def _prepare(self, attempts: Attempts) -> bool:
        """Wait until the gate is open and the streams are compared with a restarted server. Return whether it waited.

        *A node that was cut off may have lost its users before the server was restarted. If it put back what it knows
        before a beat was answered, it could put back the streams of a former owner.*
        """
        waited = await self._pass_gate(attempts.until)
        await self.repair()
        while await self._pass_gate(attempts.until):
            waited = True
            await self.repair()
        return waited

    def _understood(self, error: NotSent | Refused, keys: Sequence[StreamKey], attempts: Attempts) -> LogUnavailable:
        """Return the error for an append that the server has not done. Raise if the function refused its batches."""
        if isinstance(error, NotSent):
            return error
        if error.code == "REFUSED":
            raise refusal(error.text, keys) from None
        code = code_of(error)
        self.full += code in FULL
        if code not in FULL | AWAY:
            attempts.until = 0.0  # the server would answer the same again
        return shown_refusal(error)

    async def _send(self, call: Call, *, again: bool) -> None:
        link = self.valkey.commits
        command = ("FCALL", "gr1_append", len(call.keys), *call.keys, *call.arguments(link.generation, again=again))
        if not self._wait_replicas:
            await link.call(*command)
            return
        # WAIT blocks only this link, on which the next append waits for this one anyhow.
        limit = int(self.valkey.seconds * 500)
        _, copies = await link.calls([command, (b"WAIT", self._wait_replicas, limit)])
        if copies < self._wait_replicas:
            raise Unanswered(f"only {copies} of {self._wait_replicas} replicas have the events in time")

    def statistics(self) -> LogStatistics:
        return LogStatistics(
            engine="valkey",
            streams=len(self._keys),
            commits=self._commits,
            batches=self._batches,
            events=self._events,
            reads=self._reads,
            trims=self._trims,
        )
