"""The short way of a command: an idle session carries it out at once, and a run's start is committed with more."""

from __future__ import annotations

import trio
import trio.testing
from sessions.borders import Tab, sessions_with

from actors.spi import Command, CommandReply


async def test_idle_session_carries_out_a_command_at_once() -> None:
    """A session that waits for a message has carried out a command when the sender's call returns."""
    async with sessions_with() as sessions:
        replies = list[CommandReply]()
        attachment = await Tab().attach(sessions)
        await trio.testing.wait_all_tasks_blocked()
        attachment.command(Command("k1", "no.such", {}, "c", replies.append))
        assert [reply.code for reply in replies] == ["unknown_command"]


async def test_first_turn_of_an_agent_is_committed_with_its_start() -> None:
    """What an agent emits in its first turn is committed and delivered together with ``agent_started``.

    Trio's scheduler chooses the order of tasks by chance. Without the rule, half of these runs have two commits.
    """
    async with sessions_with() as sessions:
        deliveries = list[int]()
        tab = Tab(when_events=lambda: deliveries.append(len(tab.lines)))
        await tab.attach(sessions)
        handle = await sessions.get("alice", "s1")
        for _ in range(6):
            await handle.start("talker", 3)
            await trio.testing.wait_all_tasks_blocked()
        assert deliveries == [5 * run for run in range(6)]
