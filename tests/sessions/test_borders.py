"""A failure of a listener, reply function, callback or connection stays with its owner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing
from sessions.borders import (
    EVENTS,
    Tab,
    failure,
    nothing,
    sessions_with,
    talk,
)

from actors.spi import Command, CommandReply
from transport.server._flusher import Flusher
from transport.server._heartbeat import Heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = ["failure"]


@pytest.mark.parametrize("place", ["when_events", "when_signal"])
@pytest.mark.parametrize("also_at_the_end", [False, True])
async def test_failing_listener_is_detached(failure: Callable[..., None], place: str, *, also_at_the_end: bool) -> None:
    """If a listener (the object that gets a session's notifications) raises, it is detached and gets no more events.

    It is notified once of its end. All other listeners get everything.
    """
    async with sessions_with() as sessions:
        before, bad, after, elsewhere = Tab(), Tab(), Tab(), Tab()
        setattr(bad, place, failure)
        if also_at_the_end:
            bad.when_ended = failure
        for tab in (before, bad, after):
            await tab.attach(sessions)
        await elsewhere.attach(sessions, "s2")
        await talk(sessions)
        await talk(sessions, "s2")
        assert [len(tab.lines) for tab in (before, after, elsewhere)] == [EVENTS] * 3
        assert [len(tab.signals) for tab in (before, after, elsewhere)] == [80] * 3
        assert (bad.lines if place == "when_events" else bad.signals[1:]) == []
        assert bad.endings == ["crashed"]
        assert [before.endings, after.endings, elsewhere.endings] == [[], [], []]
        assert [each.journal.cursors for each in sessions.of("alice")] == [2, 1]


async def test_every_listener_is_notified_of_the_end(failure: Callable[..., None]) -> None:
    """When a session ends, every listener is notified, even if another listener raises during this notification."""
    async with sessions_with() as sessions:
        tabs = [Tab(when_ended=failure), Tab(), Tab(when_ended=failure), Tab()]
        for tab in tabs:
            await tab.attach(sessions)
        await (await sessions.get("alice", "s1")).close()
        await trio.testing.wait_all_tasks_blocked()
        assert [tab.endings for tab in tabs] == [["closed"]] * 4
        await talk(sessions, "s2")


async def test_listeners_detach_each_other() -> None:
    """If one listener detaches another, the detached listener gets no more notifications, not even of this commit."""
    async with sessions_with() as sessions:
        first, second, third = Tab(), Tab(), Tab()
        for tab in (first, second, third):
            await tab.attach(sessions)

        def detach_others() -> None:
            for tab in (first, second):
                assert tab.attachment is not None
                tab.attachment.detach()

        first.when_events = detach_others
        await talk(sessions)
        assert (len(second.lines), len(third.lines)) == (0, EVENTS)
        assert [tab.endings for tab in (first, second, third)] == [[]] * 3


async def test_listener_sends_commands() -> None:
    """A listener can send commands to the session while it is being notified.

    It is notified of the events of these commands later, after the current notification.
    """
    async with sessions_with() as sessions:
        tab, replies, asked = Tab(), list[CommandReply](), list[str]()

        def say() -> None:
            if len(asked) < 5:
                asked.append(f"k{len(asked)}")
                assert tab.attachment is not None
                tab.attachment.command(Command(asked[-1], "message.send", {"text": "x"}, "c", replies.append))

        tab.when_events = tab.when_signal = say
        await tab.attach(sessions)
        await talk(sessions, count=3)
        assert ([reply.id for reply in replies], len(tab.lines)) == (asked, 2 * (3 + 2) + 5)


async def test_failing_reply(failure: Callable[..., None]) -> None:
    """If the function that receives a reply raises, the session continues, and other senders get their replies."""
    async with sessions_with() as sessions:
        tab, replies = Tab(), list[CommandReply]()
        attachment = await tab.attach(sessions)
        for reply in (failure, replies.append, failure):
            attachment.command(Command("k1", "message.send", {"text": "x"}, "c", reply))
            attachment.command(Command("k2", "no.such", {}, "c", reply))
        await trio.testing.wait_all_tasks_blocked()
        for reply in (failure, replies.append):
            attachment.command(Command("k1", "message.send", {"text": "x"}, "c", reply))
        await talk(sessions)
        assert [(reply.id, reply.ok, reply.duplicate) for reply in replies] == [
            ("k2", False, True),
            ("k1", True, True),
            ("k1", True, True),
        ]
        assert (len(tab.lines), tab.endings) == (EVENTS + 1, [])


async def test_failing_callback_after_commits(failure: Callable[..., None]) -> None:
    """If a callback after commits raises, it is not called again. All other callbacks are still called.

    A callback that is registered twice is called twice after each commit.
    """
    async with sessions_with() as sessions:
        calls: list[str] = []

        def bad() -> None:
            calls.append("bad")
            failure()

        def good() -> None:
            calls.append("good")

        with (
            sessions.calling_after_commits(good),
            sessions.calling_after_commits(bad),
            sessions.calling_after_commits(good),
        ):
            await talk(sessions)
        assert calls[:3] == ["good", "bad", "good"]
        assert calls.count("bad") == 1
        assert calls.count("good") == sessions.statistics().log.commits * 2
        await talk(sessions)


@attrs.define(eq=False)
class Visitor:
    """A connection, reduced to the methods that the flusher and the heartbeat call."""

    on_turn: Callable[..., None] = nothing
    on_failure: Callable[..., None] = nothing
    turns: int = 0
    failures: int = 0

    def flush(self) -> None:
        self.turns += 1
        self.on_turn()

    def beat(self, now: float) -> float:
        self.flush()
        return now + 1

    def on_failed(self, error: BaseException) -> None:
        self.failures += 1
        self.on_failure()


@pytest.mark.parametrize("also_when_told", [False, True])
async def test_pumps_survive_failing_connections(
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    failure: Callable[..., None],
    *,
    also_when_told: bool,
) -> None:
    """The tasks that serve all connections (flusher and heartbeat) continue if one connection raises.

    They report the failure to this connection, and serve the other connections.
    """
    flusher, heartbeat = Flusher(lambda: True), Heartbeat()
    nursery.start_soon(flusher.run)
    nursery.start_soon(heartbeat.run)
    on_failed = failure if also_when_told else nothing
    for pump in ("flusher", "heartbeat"):
        visitors: list[Any] = [Visitor(), Visitor(failure, on_failed), Visitor()]
        for _ in range(2):
            for visitor in visitors:
                if pump == "flusher":
                    flusher.schedule(visitor)
                elif not visitor.turns:
                    heartbeat.add(visitor, trio.current_time() + 1)
            await trio.sleep(1.2)
        assert [visitor.turns for visitor in (visitors[0], visitors[2])] == [2, 2]
        assert (visitors[1].failures, visitors[1].turns) == ((2, 2) if pump == "flusher" else (1, 1))
