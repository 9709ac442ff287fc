"""The repair of a restarted Valkey server that came back with older data: acknowledged events are appended again."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

import attrs

from actors.eventlog._valkey_append import Watchers, build_call
from actors.eventlog.base import Batch, StreamKey
from actors.valkey.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from actors.eventlog._gate import Gate
    from actors.valkey.keys import StreamKeys
    from actors.valkey.server import Valkey

PAGE = 200
"""Number of streams that are compared at once."""


@attrs.define
class Written:
    """The newest state of a stream that the server has acknowledged to this process."""

    epoch: str
    latest: int
    state: bytes
    token: str = ""
    """The token with which the stream was opened."""


@attrs.define
class Repair:
    """One comparison of the streams of this process with a restarted server."""

    valkey: Valkey
    tokens: Mapping[str, str]
    token_of: Callable[[str], str]
    opens: Callable[[bytes], bool] | None
    tail_of: Callable[[StreamKey, int, int], Sequence[bytes] | None] | None
    gate: Gate | None
    generation: str
    in_doubt: Collection[StreamKey] = ()
    """The streams of appends that had no answer, and will be sent again. Clients may have got their events.

    Only that append gives the stream the new generation. *If the server had lost its events, and the process died
    before it sent them again, the next owner would give their numbers to other events in the same epoch.*
    """
    restored: int = 0
    """Number of events that were appended again."""
    renewed: int = 0
    """Number of streams that got a new epoch, because events are lost that are no longer in memory."""

    async def run(self, written: Mapping[StreamKey, Written]) -> None:
        """Compare the streams, and append again all events that the server has lost. Safe to repeat.

        A stream is left alone if another process owns it now, or this process has given up its user since it opened
        the stream. *Another owner may have stored more events since then. The old epoch, put back without them, would
        give their numbers to other events.* Raises the errors of the link.
        """
        written = {key: each for key, each in written.items() if self.token_of(key.user) == each.token}
        for user in tuple(self.tokens):
            await self._claim_again(user, written)
        by_partition: dict[int, list[tuple[StreamKey, StreamKeys]]] = {}
        for key in written:
            keys = self.valkey.keys.of_stream(*key)
            by_partition.setdefault(keys.user.partition, []).append((key, keys))
        for streams in by_partition.values():
            for begin in range(0, len(streams), PAGE):
                page = streams[begin : begin + PAGE]
                heads = await self._call("gr1_heads", [keys.meta for _, keys in page])
                for (key, keys), head in zip(page, heads, strict=True):
                    await self._repair(key, keys, written[key], head)

    async def settle(self, key: StreamKey, written: Written) -> None:
        """Give a stream that has lost nothing the present generation. Raises the errors of the link."""
        keys = self.valkey.keys.of_stream(*key)
        token = self.token_of(key.user)
        await self._call("gr1_epoch", [keys.user.token, keys.meta], token, written.epoch, self.generation)

    async def _claim_again(self, user: str, written: Mapping[StreamKey, Written]) -> None:
        """Put the token of this process back if the server has none, or one with which no process can write.

        The owner of another token keeps the user, and this process is told so. If the token is from before this process
        claimed the user, :meth:`_renew` makes sure that no epoch goes on without the events of this process.
        """
        key, token = self.valkey.keys.token(user), self.tokens.get(user)
        if token is None:  # lost meanwhile
            return
        done, found = await self._call("gr1_claim", [key], "", token)
        if done or found.decode() == token or self.gate is None:
            return
        is_over = await self.gate.is_over(found.decode())
        if self.tokens.get(user) != token:  # lost meanwhile
            return
        if is_over:
            await self._call("gr1_claim", [key], found, token)
            return
        if _term(found.decode()) < _term(token):
            await self._renew(user, found, token, {key: each for key, each in written.items() if key.user == user})
        self.gate.lost(user, token)

    async def _renew(self, user: str, found: bytes, token: str, written: Mapping[StreamKey, Written]) -> None:
        """Give the streams of a user new epochs, and leave the user without an owner.

        The server has data from before this process claimed the user from the owner of the token ``found``, so it lacks
        the events of this process. *The former owner was registered again, and gave their numbers to other events.*
        """
        key = self.valkey.keys.token(user)
        metas = [self.valkey.keys.of_stream(*stream).meta for stream in written]
        heads: list[list[Any] | None] = await self._call("gr1_heads", metas) if metas else []
        # A stream with another epoch was made again. Its owner is left alone.
        same = [
            meta
            for meta, each, head in zip(metas, written.values(), heads, strict=True)
            if head is not None and head[0].decode() == each.epoch
        ]
        if not same or not (await self._call("gr1_claim", [key], found, token))[0]:
            return
        for meta in same:
            await self._call("gr1_epoch", [key, meta], token, secrets.token_hex(8), self.generation)
            self.renewed += 1
        await self._call("gr1_release", [key], token)

    async def _repair(self, key: StreamKey, keys: StreamKeys, written: Written, head: list[Any] | None) -> None:
        token = self.token_of(key.user)
        if token != written.token:  # the user was lost meanwhile
            return
        try:
            if head is None:
                await self._make_again(key, keys, written, token)
            elif head[0].decode() == written.epoch:
                await self._continue(key, keys, written, token, int(head[2]))
        except Refused as error:
            if error.code != "REFUSED":
                raise
            # Another process owns the user. The stream's own next append finds that out.

    async def _make_again(self, key: StreamKey, keys: StreamKeys, written: Written, token: str) -> None:
        """Make a stream that is gone with its old epoch, if memory has all of its events. Otherwise leave it gone.

        The stream gets its generation with its events. *If it had the generation before, and the process lost the user
        between the two steps, the next owner kept the old epoch, and gave the numbers of the events to other events.*
        """
        lines = self._tail(key, 0, written.latest)
        if lines is None:
            return
        now = time.time_ns() // 1_000_000
        opening, generation = [keys.user.token, keys.user.index, keys.meta], "" if lines else self._generation_of(key)
        await self._call("gr1_open", opening, token, generation, 1, written.epoch, now, keys.member)
        await self._append(key, keys, written, 0, lines)

    async def _continue(self, key: StreamKey, keys: StreamKeys, written: Written, token: str, latest: int) -> None:
        epoch = written.epoch
        if latest < written.latest:
            lines = self._tail(key, latest, written.latest)
            if lines is not None:
                await self._append(key, keys, written, latest, lines)
                return
            # Clients have seen events that are gone for good, and must not get other events under their numbers.
            epoch = secrets.token_hex(8)
        elif key in self.in_doubt:
            return
        await self._call("gr1_epoch", [keys.user.token, keys.meta], token, epoch, self.generation)
        self.renewed += epoch != written.epoch

    def _generation_of(self, key: StreamKey) -> str:
        return "" if key in self.in_doubt else self.generation

    def _tail(self, key: StreamKey, after: int, until: int) -> Sequence[bytes] | None:
        if after == until:
            return ()
        return None if self.tail_of is None else self.tail_of(key, after, until)

    async def _append(
        self, key: StreamKey, keys: StreamKeys, written: Written, after: int, lines: Sequence[bytes]
    ) -> None:
        if not lines:
            return
        batch = Batch(key, after + 1, lines, written.state)
        call = build_call([batch], [keys], self.token_of, Watchers(), self.opens)
        self.restored += len(lines) * await self._call(
            "gr1_append", call.keys, *call.arguments(self._generation_of(key), again=True)
        )

    async def _call(self, name: str, keys: list[str], *args: bytes | str | float) -> Any:
        return await self.valkey.function(name, keys, *args)


def _term(token: str) -> int:
    """Return the term of a token, which begins with it. Each claim of a user has a higher term than the one before."""
    return int(token.partition(" ")[0])
