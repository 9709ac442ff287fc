"""Streams of dead letters: each letter goes to one reader, and every reader ends with its stream."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from actors import Actor, DeadLetters, open_system


async def read(letters: DeadLetters, into: list[object]) -> None:
    """Append the messages of the dead letters to ``into`` until the stream ends."""
    async for letter in letters:
        into += [letter.message]


async def test_several_readers_of_one_stream() -> None:
    """If a stream of dead letters has several readers, each letter is read by exactly one of them.

    When the stream is left, all readers end.
    """
    got: list[object] = []
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Actor)
        with system.dead_letters() as letters:
            for _ in range(3):
                nursery.start_soon(read, letters, got)
            await trio.testing.wait_all_tasks_blocked()
            for number in range(5):
                await ref.tell(number)
            await trio.testing.wait_all_tasks_blocked()
            assert sorted(got, key=str) == [0, 1, 2, 3, 4]
            nursery.start_soon(read, letters, got)
            await trio.testing.wait_all_tasks_blocked()


async def test_cancelled_reader_takes_no_letter() -> None:
    """If a reader is cancelled just when it is woken for a dead letter, another reader gets the letter."""
    got: list[object] = []
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Actor)
        with system.dead_letters() as letters:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as reading:
                    reading.start_soon(read, letters, got)
                    await trio.testing.wait_all_tasks_blocked()
                    nursery.start_soon(read, letters, got)
                    await trio.testing.wait_all_tasks_blocked()
                    for number in range(2):
                        ref.tell_nowait(number)
                    await trio.lowlevel.checkpoint()
                    scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert sorted(got, key=str) == [0, 1]


async def test_reader_ends_with_the_system() -> None:
    """When the system has ended, a reader gets the remaining dead letters and then ends.

    A reader that begins later ends at once.
    """
    got: list[object] = []
    async with trio.open_nursery() as nursery:
        async with open_system() as system:
            letters = system.dead_letters().__enter__()
            ref = await system.spawn(Actor)
            nursery.start_soon(read, letters, got)
            await trio.testing.wait_all_tasks_blocked()
            await ref.tell("unknown")
    assert got == ["unknown"]
    with system.dead_letters() as late:
        assert [letter async for letter in late] == []


async def test_stream_must_be_entered_once() -> None:
    """Reading a stream of dead letters before entering it, or entering it twice, raises RuntimeError."""
    async with open_system() as system:
        letters = system.dead_letters()
        with pytest.raises(RuntimeError, match="entered first"):
            await anext(letters)
        with letters, pytest.raises(RuntimeError, match="entered once"):
            letters.__enter__()
        with pytest.raises(RuntimeError, match="entered once"):
            letters.__enter__()
