"""A Valkey server that comes back with older data, or with none: what a process puts back, and what it must not."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from _valkey_logs import KEY, OTHER, claim, lines_of, served_log

from actors.errors import Fenced, LogCorrupt, LogUnavailable
from actors.eventlog.base import Batch
from actors.eventlog.valkey import ValkeyLog
from actors.testing import event_batch, event_line
from actors.testing._tools import TS
from actors.valkey.address import parse_address
from actors.valkey.errors import Unanswered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import _valkey


@pytest.fixture
async def served() -> AsyncIterator[tuple[_valkey.Server, ValkeyLog]]:
    """A server of its own that loses nothing when it is killed, and an open log in it."""
    async with served_log() as made:
        yield made


async def test_forgotten_events_are_appended_again(served: tuple[_valkey.Server, ValkeyLog]) -> None:
    """If the server comes back with an older copy, the next append puts back what it lost: same numbers, same epoch."""
    server, log = served
    memory = {key: [event_line(seq, TS + seq) for seq in range(1, 6)] for key in (KEY, OTHER)}
    log.tail_of = lambda key, after, until: memory[key][after:until]
    log.tokens = {"u": "1 a"}
    await claim(log, "u", "1 a")
    epochs = {key: (await log.make(key)).epoch for key in memory}
    await log.append([Batch(KEY, 1, memory[KEY][:2], b"early")])
    copy = server.copy_data()
    await log.append([Batch(KEY, 3, memory[KEY][2:4], b"late"), Batch(OTHER, 1, memory[OTHER][:3], b"other")])
    server.restart_with(copy)
    await log.append([Batch(KEY, 5, memory[KEY][4:], b"last")])
    assert await lines_of(log) == memory[KEY]
    assert await lines_of(log, OTHER) == memory[OTHER][:3]
    heads = {key: await log.make(key) for key in memory}
    assert {key: head.epoch for key, head in heads.items()} == epochs
    assert [head.state for head in heads.values()] == [b"last", b"other"]
    assert (log.restored, log.epochs_renewed) == (5, 0)


async def test_empty_server_gets_everything_back(served: tuple[_valkey.Server, ValkeyLog]) -> None:
    """If the server comes back empty, streams whose events are all in memory are made again, with token and epoch."""
    server, log = served
    lines = [event_line(seq, TS) for seq in range(1, 4)]
    log.tail_of = lambda key, after, until: lines[after:until] if key == KEY else None
    log.tokens = {"u": "7 a"}
    await claim(log, "u", "7 a")
    epoch = (await log.make(KEY)).epoch
    await log.make(OTHER)
    await log.append([Batch(KEY, 1, lines[:2], b"x"), event_batch(OTHER, 1, 1)])
    server.restart_empty()
    await log.append([Batch(KEY, 3, lines[2:], b"y")])
    head = await log.make(KEY)
    assert (head.epoch, head.latest, await lines_of(log)) == (epoch, 3, lines)
    assert await log.head(OTHER) is None


async def test_given_up_streams_are_not_put_back(served: tuple[_valkey.Server, ValkeyLog]) -> None:
    """If the server comes back empty, a stream of a user that was given up keeps no old epoch.

    Another owner may have stored events in it meanwhile, and clients have them under that epoch.
    """
    server, log = served
    log.tokens = {"u": "1 a"}
    await claim(log, "u", "1 a")
    epoch = (await log.make(KEY)).epoch
    log.tokens = {}
    await log.make(OTHER)
    server.restart_empty()
    await log.append([event_batch(OTHER, 1, 1)])
    assert await log.head(KEY) is None
    await claim(log, "u", "1 b")
    log.tokens = {"u": "1 b"}
    assert (await log.make(KEY)).epoch != epoch


async def test_events_beyond_memory(served: tuple[_valkey.Server, ValkeyLog]) -> None:
    """If forgotten events are no longer in memory, the stream gets a new epoch, and its writer's append is refused."""
    server, log = served
    log.tail_of = lambda key, after, until: None
    epoch = (await log.make(KEY)).epoch
    await log.append([event_batch(KEY, 1, 1)])
    copy = server.copy_data()
    await log.append([event_batch(KEY, 2, 1)])
    server.restart_with(copy)
    with pytest.raises(LogCorrupt):
        await log.append([event_batch(KEY, 3, 1)])
    head = await log.make(KEY)
    assert (head.epoch != epoch, head.latest, log.epochs_renewed) == (True, 1, 1)


async def reconnected(log: ValkeyLog) -> None:
    """Wait until both links of a log are connected to its restarted server."""
    before, read = log.valkey.commits.generation, False
    while log.valkey.commits.generation == before or not read:
        with suppress(LogUnavailable):
            await log.valkey.commits.call("PING")
            await log.head(OTHER)
            read = True
        await trio.lowlevel.checkpoint()  # a link that waits before it tries again fails at once


@pytest.mark.parametrize("loses", ["all", "the newest events"])
@pytest.mark.parametrize("steps", range(6))
async def test_repair_that_ends_early(
    served: tuple[_valkey.Server, ValkeyLog], monkeypatch: pytest.MonkeyPatch, steps: int, loses: str
) -> None:
    """After each step of a repair the process can end, or lose the user. The next owner gives no number twice.

    It has either all events that were acknowledged, or a new epoch. *A stream that was made again without its events
    kept its epoch for the next owner, which gave their numbers to other events.*
    """
    server, log = served
    lines = [event_line(seq, TS) for seq in range(1, 4)]
    log.tail_of = lambda _, after, until: lines[after:until]
    log.tokens = {"u": "1 a"}
    await claim(log, "u", "1 a")
    epoch = (await log.make(KEY)).epoch
    await log.append([Batch(KEY, 1, lines[:1], b"x")])
    copy = server.copy_data()
    await log.append([Batch(KEY, 2, lines[1:], b"y")])
    server.restart_empty() if loses == "all" else server.restart_with(copy)
    await reconnected(log)
    function, done = log.valkey.function, 0

    async def until_the_end(*call: Any) -> Any:
        nonlocal done
        done += 1
        if done > steps:
            raise Unanswered("the process has ended")
        return await function(*call)

    monkeypatch.setattr(log.valkey, "function", until_the_end)
    try:
        await log.repair()
    except LogUnavailable:
        assert done == steps + 1
    async with ValkeyLog(parse_address(server.url)) as other:
        await claim(other, "u", "2 b", expected="1 a" if done > 1 or loses != "all" else "")
        other.tokens = {"u": "2 b"}
        head = await other.make(KEY)
        assert head.latest == 3 or head.epoch != epoch
        if done <= steps:
            assert (head.epoch, head.latest) == (epoch, 3)


@attrs.define
class Claimed:
    """A gate that is open, and notes which users were lost. Other owners live."""

    lost_users: list[tuple[str, str]] = attrs.Factory(list[tuple[str, str]])

    def is_open(self) -> bool:
        """Return True."""
        return True

    def until(self) -> float:
        """Return a time that never comes."""
        return math.inf

    def fence(self, user: str) -> str | None:
        """Return a token."""
        return f"1 {user}"

    async def is_over(self, token: str) -> bool:
        """Return whether a token is the one of the node that has gone."""
        await trio.lowlevel.checkpoint()
        return token == "1 gone"

    def lost(self, user: str, token: str) -> None:
        """Note a lost user."""
        self.lost_users.append((user, token))

    async def wait(self) -> bool:
        """Return True."""
        await trio.lowlevel.checkpoint()
        return True


async def test_tokens_are_compared_after_a_restart(served: tuple[_valkey.Server, ValkeyLog]) -> None:
    """A process puts back the token of each user that it owns, or learns that another process has claimed the user.

    That counts also for users without an open stream. *Their former owner refused them for as long as they came to it.*
    """
    server, log = served
    log.gate = gate = Claimed()
    log.tokens = {"free": "5 a", "mine": "5 a", "over": "5 a", "claimed": "5 a"}
    server.restart_empty()
    await reconnected(log)
    found = {"mine": "5 a", "over": "1 gone", "claimed": "1 b"}
    for user, token in found.items():
        await claim(log, user, token)
    await log.repair()
    for user in log.tokens:
        _, token = await log.valkey.aside("gr1_claim", [log.valkey.keys.token(user)], "none", "none")
        assert token.decode() == ("1 b" if user == "claimed" else "5 a")
    assert gate.lost_users == [("claimed", "5 a")]


@pytest.mark.parametrize("is_first", [True, False])
async def test_copy_from_before_the_user_was_claimed(
    served: tuple[_valkey.Server, ValkeyLog], *, is_first: bool
) -> None:
    """A server comes back with a copy in which a former owner, which still lives, owns the user.

    The events of the present owner are lost. So the stream gets a new epoch, also if the former owner was first to come
    back. It cannot give the numbers of these events to other events, and a third process can claim the user.
    """
    server, log = served
    log.gate, log.tokens = Claimed(), {"u": "1 b"}
    await claim(log, "u", "1 b")
    epoch = (await log.make(KEY)).epoch
    await log.append([event_batch(KEY, 1, 1)])
    copy = server.copy_data()
    async with ValkeyLog(parse_address(server.url)) as present:
        present.gate, present.tokens = (gate := Claimed()), {"u": "2 a"}
        await claim(present, "u", "2 a", "1 b")
        assert (await present.make(KEY)).epoch == epoch
        await present.append([event_batch(KEY, 2, 1)])
        server.restart_with(copy)
        async with trio.open_nursery() as nursery:
            for each in (log, present):
                nursery.start_soon(reconnected, each)
        if is_first:
            await log.append([event_batch(KEY, 2, 1)])
        await present.repair()
        with pytest.raises(Fenced):
            await log.append([event_batch(KEY, 2 + is_first, 1)])
        assert gate.lost_users == [("u", "2 a")]
        head = await log.head(KEY)
        assert head is not None
        assert (head.epoch != epoch, head.latest) == (True, 1 + is_first)
        await claim(log, "u", "3 c", "2 -")


async def test_owner_of_a_stream_that_was_made_again_is_left_alone(served: tuple[_valkey.Server, ValkeyLog]) -> None:
    """After an empty restart another process has claimed the user first, with a lower term. It keeps the user."""
    server, log = served
    log.gate, log.tokens = (gate := Claimed()), {"u": "9 a"}
    await claim(log, "u", "9 a")
    await log.make(KEY)
    await log.append([event_batch(KEY, 1, 1)])
    server.restart_empty()
    await reconnected(log)
    async with ValkeyLog(parse_address(server.url)) as other:
        other.gate, other.tokens = Claimed(), {"u": "1 b"}
        await claim(other, "u", "1 b")
        epoch = (await other.make(KEY)).epoch
        await log.repair()
        await other.append([event_batch(KEY, 1, 1)])
        head = await other.head(KEY)
        assert head is not None
        assert (head.epoch, gate.lost_users) == (epoch, [("u", "9 a")])


async def test_user_that_is_lost_during_a_repair(
    served: tuple[_valkey.Server, ValkeyLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the process loses all users while it compares them, the repair ends, and puts nothing back."""
    server, log = served
    log.tail_of = lambda _, after, until: [event_line(seq, TS) for seq in range(1, 4)][after:until]
    log.tokens = tokens = {"u": "1 a", "v": "1 a"}
    for key in (KEY, OTHER):
        await claim(log, key.user, "1 a")
        await log.make(key)
        await log.append([event_batch(key, 1, 1)])
    server.restart_empty()
    await reconnected(log)
    function = log.valkey.function

    async def losing(*call: Any) -> Any:
        tokens.clear()
        return await function(*call)

    monkeypatch.setattr(log.valkey, "function", losing)
    await log.repair()
    assert (await log.head(KEY), await log.head(OTHER)) == (None, None)
