"""Streams of dead letters: each letter goes to one reader, and no reader waits for ever."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from actors import Actor, DeadLetters, open_system


async def read(letters: DeadLetters, into: list[object]) -> None:
    async for letter in letters:
        into += [letter.message]


async def test_several_tasks_may_read_one_stream() -> None:
    """No letter is lost or read twice, and every reader ends when the stream is left."""
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


async def test_a_cancelled_reader_leaves_its_letter_to_the_others() -> None:
    """A reader that is cancelled in the step in which it is woken takes no letter along."""
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


async def test_a_reader_ends_with_the_system() -> None:
    """One in a nursery around the block reads what is left, and then ends; so does one that comes later."""
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


async def test_a_stream_is_entered_once_and_before_it_is_read() -> None:
    """What would wait for ever, or count letters twice, is refused."""
    async with open_system() as system:
        letters = system.dead_letters()
        with pytest.raises(RuntimeError, match="entered first"):
            await anext(letters)
        with letters, pytest.raises(RuntimeError, match="entered once"):
            letters.__enter__()
        with pytest.raises(RuntimeError, match="entered once"):
            letters.__enter__()
