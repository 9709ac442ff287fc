"""A part of a reply, or the end of an ask, that comes in the very moment of the timeout: nothing of it is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from actors import UNHANDLED, Actor, AskTimeout, MessageUnhandled, Undelivered, open_system

if TYPE_CHECKING:
    from trio.testing import MockClock


class Sleeper(Actor[float, object]):
    """An actor that sleeps for as many seconds as a message says, and then does not handle it."""

    async def receive(self, message: float) -> object:
        await trio.sleep(message)
        return UNHANDLED


@pytest.mark.parametrize("attempt", range(20))
async def test_error_in_the_moment_of_the_timeout(attempt: int, autojump_clock: MockClock) -> None:
    """Either the caller gets the error, and the message is a dead letter, or the ask timed out, and it is none.

    Trio draws the order of two tasks that become ready at once, so this is tried often. *The caller was told of a
    timeout, and the message was a dead letter.*
    """
    del attempt
    raised: BaseException | None = None
    async with open_system() as system:
        letters = system.dead_letters().__enter__()
        ref = await system.spawn(Sleeper)
        with ref.ask_stream(1.0, timeout=1.0) as parts:
            try:
                await anext(parts)
            except (AskTimeout, MessageUnhandled) as error:
                raised = error
    dead = [letter.why async for letter in letters]
    assert dead == ([Undelivered.UNHANDLED] if isinstance(raised, MessageUnhandled) else []), raised
