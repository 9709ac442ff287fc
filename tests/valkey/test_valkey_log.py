"""The log in Valkey, with a real server: the contract of event logs, owners, unknown outcomes."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import _valkey
import attrs
import pytest
import trio
from _valkey_logs import KEY, LIMIT, OTHER, claim, lines_of, served_log

from actors import Sessions, SupervisorSpec, open_system
from actors.errors import AppendRefused, ConfigError, Fenced, LogCorrupt, LogError, LogUnavailable, LogUncertain
from actors.eventlog import ValkeyOptions, open_log
from actors.eventlog.base import Batch, Retention, StreamKey
from actors.eventlog.valkey import ValkeyLog
from actors.testing import EventLogContract, event_batch, event_line
from actors.testing._tools import TS
from actors.valkey.address import parse_address
from actors.valkey.errors import Unanswered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from actors import Position, SessionHandle
    from actors.eventlog.base import EventLog


@pytest.fixture(scope="module")
def shared() -> Iterator[_valkey.Server]:
    """One server for all tests of the contract. Each test empties it."""
    with _valkey.Server() as server:
        yield server


class TestValkeyLog(EventLogContract):
    """The Valkey log keeps the contract."""

    @pytest.fixture
    async def log(self, shared: _valkey.Server) -> AsyncIterator[EventLog]:
        shared.ask("FLUSHALL")
        with trio.fail_after(LIMIT):
            async with ValkeyLog(parse_address(shared.url), ValkeyOptions(timeout_seconds=LIMIT)) as log:
                yield log


@pytest.fixture
async def served() -> AsyncIterator[tuple[_valkey.Server, ValkeyLog]]:
    """A server of its own that loses nothing when it is killed, and an open log in it."""
    async with served_log() as made:
        yield made


async def test_old_owner_is_fenced(served: tuple[_valkey.Server, ValkeyLog]) -> None:
    """After another node has claimed a user, the old owner can append, mark, open and remove nothing of the user."""
    _, log = served
    await log.make(KEY)
    await log.append([event_batch(KEY, 1, 1)])
    await claim(log, "u", "1 a")
    for call in (log.append([event_batch(KEY, 2, 1)]), log.mark(KEY, b""), log.make(KEY), log.remove(KEY)):
        with pytest.raises(Fenced, match="another node owns this user now"):
            await call
    log.tokens = {"u": "1 a"}
    await log.append([event_batch(KEY, 2, 1)])
    await claim(log, "u", "2 b", "1 a")
    with pytest.raises(Fenced):
        await log.append([event_batch(KEY, 3, 1)])
    assert len(await lines_of(log)) == 2


async def test_owner_of_lost_data_is_fenced(served: tuple[_valkey.Server, ValkeyLog]) -> None:
    """After the server came back empty, the old owner of a user is fenced as soon as a new one has claimed it."""
    server, log = served
    log.tokens = {"u": "1 a"}
    await claim(log, "u", "1 a")
    await log.make(KEY)
    server.ask("FLUSHALL")
    with pytest.raises(Fenced):
        await log.append([event_batch(KEY, 1, 1)])
    await claim(log, "u", "1 b")
    log.tokens = {"u": "1 b"}
    await log.make(KEY)
    await log.append([event_batch(KEY, 1, 1)])
    log.tokens = {"u": "1 a"}
    with pytest.raises(Fenced):
        await log.append([event_batch(KEY, 2, 1)])


async def test_every_refused_batch_is_named(served: tuple[_valkey.Server, ValkeyLog]) -> None:
    """A refused append names each batch that is at fault, with its own error, and stores none."""
    _, log = served
    for user in "abc":
        await log.make(StreamKey(user, "s"))
    await claim(log, "b", "1 x")
    keys = [StreamKey(user, "s") for user in "abcd"]
    batches = [event_batch(keys[0], 1, 1), event_batch(keys[1], 1, 1), event_batch(keys[2], 2, 1)]
    batches += [event_batch(keys[2], 3, 1), event_batch(keys[3], 1, 1)]
    with pytest.raises(AppendRefused) as caught:
        await log.append(batches)
    kinds = {i: type(error) for i, error in caught.value.errors.items()}
    assert kinds == {1: Fenced, 2: LogCorrupt, 3: LogCorrupt, 4: KeyError}
    assert await lines_of(log, keys[0]) == []


async def test_append_over_a_restart(served: tuple[_valkey.Server, ValkeyLog]) -> None:
    """An append whose answer a killed server never sent is sent again after the restart, and is there exactly once."""
    server, log = served
    epoch = (await log.make(KEY)).epoch
    await log.append([event_batch(KEY, 1, 1)])
    async with trio.open_nursery() as nursery:
        server.pause()
        nursery.start_soon(log.append, [event_batch(KEY, 2, 3)])
        await trio.lowlevel.checkpoint()
        server.restart()
    assert len(await lines_of(log)) == 4
    async with ValkeyLog(log.valkey.address, ValkeyOptions(timeout_seconds=LIMIT)) as other:
        assert (await other.make(KEY)).epoch == epoch


@pytest.mark.parametrize("keeps", [False, True])
async def test_unanswered_append_over_a_restart(
    served: tuple[_valkey.Server, ValkeyLog], monkeypatch: pytest.MonkeyPatch, *, keeps: bool
) -> None:
    """An append that is there after a restart costs no epoch. If it was lost, and its owner dies, the epoch is new.

    Clients of other nodes may have got its events.
    """
    server, log = served
    epoch = (await log.make(KEY)).epoch
    await log.append([event_batch(KEY, 1, 1)])
    copy = server.copy_data()
    call = log.valkey.commits.call

    async def lossy(*args: Any) -> Any:
        if args[1] != "gr1_append":
            return await call(*args)
        monkeypatch.setattr(log.valkey.commits, "call", call if keeps else dead)
        await call(*args)
        if keeps:
            server.restart()
        else:
            server.restart_with(copy)
        raise Unanswered("lost")

    compared: list[Any] = []

    async def dead(*args: Any) -> Any:
        if args[1] == "gr1_append" and compared:
            raise ZeroDivisionError
        answer = await call(*args)
        compared.extend([answer] if args[1] == "gr1_heads" else [])
        return answer

    monkeypatch.setattr(log.valkey.commits, "call", lossy)
    with nullcontext() if keeps else pytest.raises(ZeroDivisionError):
        await log.append([event_batch(KEY, 2, 1)])
    async with ValkeyLog(log.valkey.address, ValkeyOptions(timeout_seconds=LIMIT)) as other:
        head = await other.make(KEY)
    assert (head.epoch == epoch, head.latest) == (keeps, 2 if keeps else 1)


async def test_lost_answer(served: tuple[_valkey.Server, ValkeyLog], monkeypatch: pytest.MonkeyPatch) -> None:
    """An append that the server has done, but whose answer was lost, counts as done when it is sent again."""
    _, log = served
    await log.make(KEY)
    call = log.valkey.commits.call

    async def lossy(*args: Any) -> Any:
        await call(*args)
        monkeypatch.undo()
        raise Unanswered("lost")

    monkeypatch.setattr(log.valkey.commits, "call", lossy)
    await log.append([event_batch(KEY, 1, 2, b"state")])
    await log.append([event_batch(KEY, 3, 1)])
    assert len(await lines_of(log)) == 3


async def test_other_events_under_the_same_numbers(
    served: tuple[_valkey.Server, ValkeyLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An append that is sent again does not count as done if other events have its numbers."""
    _, log = served
    await log.make(KEY)
    call = log.valkey.commits.call

    async def lossy(*args: Any) -> Any:
        monkeypatch.undo()
        async with ValkeyLog(log.valkey.address, ValkeyOptions(timeout_seconds=LIMIT)) as other:
            await other.append([event_batch(KEY, 1, 2, ts=5)])
        raise Unanswered("lost")

    assert call is not None
    monkeypatch.setattr(log.valkey.commits, "call", lossy)
    with pytest.raises(LogCorrupt, match="cannot follow"):
        await log.append([event_batch(KEY, 1, 2)])


async def test_no_answer_in_time(served: tuple[_valkey.Server, ValkeyLog]) -> None:
    """Without an answer until the time limit, the outcome is unknown. Without a connection, nothing was stored."""
    server, log = served
    await log.make(KEY)
    log.unknown_seconds = 0.0
    log.hold_seconds = 0
    log.valkey.commits.seconds = 0.02
    server.pause()
    with pytest.raises(LogUncertain, match="not known whether"):
        await log.append([event_batch(KEY, 1, 1)])
    server.kill()
    while log.valkey.commits.up:
        await log.valkey.commits.changed()
    with pytest.raises(LogUnavailable) as caught:
        await log.append([event_batch(KEY, 1, 1)])
    assert not isinstance(caught.value, LogUncertain)


async def test_unsent_append_waits(served: tuple[_valkey.Server, ValkeyLog]) -> None:
    """An append that cannot be sent waits for the server, also after the time for calls without an answer."""
    server, log = served
    await log.make(KEY)
    server.kill()
    while log.valkey.commits.up:
        await log.valkey.commits.changed()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.append, [event_batch(KEY, 1, 1)])
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        server.start()
    assert len(await lines_of(log)) == 1


async def test_closed_log_ends_an_append(served: tuple[_valkey.Server, ValkeyLog]) -> None:
    """An append that waits for the server ends when the log is closed."""
    server, log = served
    await log.make(KEY)
    server.kill()
    while log.valkey.commits.up:
        await log.valkey.commits.changed()
    async with trio.open_nursery() as nursery:

        async def append() -> None:
            with pytest.raises(LogUnavailable, match="was closed"):
                await log.append([event_batch(KEY, 1, 1)])

        nursery.start_soon(append)
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        await log.close()


async def test_full_memory(served: tuple[_valkey.Server, ValkeyLog]) -> None:
    """If the memory of the server is full, appends say so and are counted, and a trim makes room again."""
    server, log = served
    await log.make(KEY)
    log.hold_seconds = 0
    big = Batch(KEY, 1, [event_line(1, text="x" * 8_000_000)], b"")
    await log.append([big])
    server.ask("CONFIG", "SET", "maxmemory", "6000000")
    with pytest.raises(LogUnavailable, match="memory of the Valkey server is full"):
        await log.append([event_batch(KEY, 2, 1)])
    assert log.full == 1
    await log.trim(KEY, Retention(events=0), TS)
    log.hold_seconds = LIMIT  # the server frees its buffers a little later
    await log.append([event_batch(KEY, 2, 1)])


async def test_append_waits_while_the_memory_is_full(served: tuple[_valkey.Server, ValkeyLog]) -> None:
    """An append to a full server is tried again until there is room."""
    server, log = served
    await log.make(KEY)
    await log.append([event_batch(KEY, 1, 1)])
    server.ask("CONFIG", "SET", "maxmemory", "1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.append, [event_batch(KEY, 2, 1)])
        while not log.full:
            await trio.lowlevel.checkpoint()
        server.ask("CONFIG", "SET", "maxmemory", "0")
    assert len(await lines_of(log)) == 2


@pytest.mark.parametrize("keeps", [False, True])
async def test_epoch_after_a_restart(*, keeps: bool) -> None:
    """A stream that is opened after a restart gets a new epoch, unless the server keeps every acknowledged event."""
    options = ValkeyOptions(keeps_acknowledged=keeps, timeout_seconds=LIMIT)
    with _valkey.Server(append=True) as server, trio.fail_after(LIMIT):
        async with ValkeyLog(parse_address(server.url), options) as log:
            before = await log.make(KEY)
            assert (await log.make(KEY)).epoch == before.epoch
        server.restart()
        async with ValkeyLog(parse_address(server.url), options) as log:
            after = await log.make(KEY)
            assert ((await log.make(KEY)).epoch, log.epochs_renewed) == (after.epoch, not keeps)
            assert (after.epoch == before.epoch) == keeps


async def test_missing_replicas() -> None:
    """If fewer replicas than required have an append in time, its outcome is unknown."""
    options = ValkeyOptions(wait_replicas=1, timeout_seconds=LIMIT)
    with _valkey.Server() as server, trio.fail_after(LIMIT):
        async with ValkeyLog(parse_address(server.url), options) as log:
            await log.make(KEY)
            log.unknown_seconds = 0.0
            log.valkey.seconds = 0.2  # it limits only the wait for replicas
            with pytest.raises(LogUncertain, match="only 0 of 1 replicas"):
                await log.append([event_batch(KEY, 1, 1)])


async def test_open_runs_are_listed(served: tuple[_valkey.Server, ValkeyLog]) -> None:
    """Streams whose state has open runs are in the set of their partition, until a state without open runs."""
    _, log = served
    log.opens = lambda state: state == b"open"
    await log.make(KEY)
    found = []
    opened = log.valkey.keys.of_user("u").opened
    for seq, state in enumerate((b"open", b"", b"open"), 1):
        await log.append([event_batch(KEY, seq, 1, state)])
        found.append(await log.valkey.reads.call("SMEMBERS", opened))
    await log.mark(KEY, b"")
    found.append(await log.valkey.reads.call("SMEMBERS", opened))
    assert found == [{b"u/s"}, set(), {b"u/s"}, set()]


async def test_read_only_log(served: tuple[_valkey.Server, ValkeyLog]) -> None:
    """A log that is opened for reading only refuses every change."""
    server, log = served
    await log.make(KEY)
    await log.append([event_batch(KEY, 1, 1)])
    async with open_log(server.url, read_only=True) as other:
        assert len(await other.read(KEY, 0, 9, 999)) == 1
        for call in (other.append([event_batch(KEY, 2, 1)]), other.make(OTHER), other.remove_consumer("c")):
            with pytest.raises(LogError, match="reading only"):
                await call


async def test_url_without_the_client_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the client library, the URL of a Valkey log is refused with the extra to install, without a password."""
    monkeypatch.delitem(sys.modules, "actors.eventlog.valkey")
    monkeypatch.setitem(sys.modules, "coredis", None)
    for name in [name for name in sys.modules if name.startswith(("coredis.", "actors.valkey."))]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigError, match="install the extra valkey") as caught:
        open_log("valkey://:secret@host")
    assert "secret" not in str(caught.value)


async def emitted(handle: SessionHandle, seq: int) -> Position:
    """Emit the event with this seq, and wait until it is committed. Return the position of the session."""
    await handle.emit("n", seq)
    while (position := await handle.position()).seq < seq:
        await trio.lowlevel.checkpoint()
    return position


async def test_sessions_put_back_forgotten_events() -> None:
    """The sessions of a server put back forgotten events from their memory, and go on with the same epoch."""
    with _valkey.Server(append=True) as server, trio.fail_after(LIMIT):
        log = ValkeyLog(parse_address(server.url), ValkeyOptions(timeout_seconds=LIMIT))
        sessions = Sessions(log)
        async with open_system() as system:
            await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
            handle = await sessions.get("u", "s")
            first = await emitted(handle, 1)
            copy = server.copy_data()
            await emitted(handle, 2)
            server.restart_with(copy)
            assert await emitted(handle, 3) == attrs.evolve(first, seq=3)
            assert log.restored == 1
            assert len(await lines_of(log)) == 3


async def test_restart_without_loss(served: tuple[_valkey.Server, ValkeyLog]) -> None:
    """After a restart with all data, the streams of a living writer keep their epochs."""
    server, log = served
    epoch = (await log.make(KEY)).epoch
    await log.append([event_batch(KEY, 1, 1)])
    server.restart()
    await log.append([event_batch(KEY, 2, 1)])
    assert ((await log.make(KEY)).epoch, log.restored, log.epochs_renewed) == (epoch, 0, 0)
