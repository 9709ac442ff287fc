"""A probe: an actor of a test, which collects the messages that other actors send to it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self, TypeVar

import attrs
import trio

from actors.checks import check_kind, check_seconds
from actors.failures import shown
from actors.runtime._actor import Actor
from actors.runtime._ref import Terminated

if TYPE_CHECKING:
    from actors.runtime._ref import ActorRef
    from actors.runtime._reply import Reply
    from actors.runtime._system import ActorSystem

WITHIN_SECONDS = 3.0
"""Default time limit of an expected message, in seconds of trio's clock."""
NOTHING_SECONDS = 0.1
"""Default time for which no message may come, in seconds of trio's clock."""

T = TypeVar("T")


@attrs.frozen
class _Received:
    message: object
    reply: Reply[Any]


class _Collector(Actor[Any, Any]):
    def __init__(self, inbox: trio.MemorySendChannel[_Received]) -> None:
        self._inbox = inbox

    async def receive(self, message: object) -> object:
        reply = self.context.defer()
        self._inbox.send_nowait(_Received(message, reply))
        return reply


class TestProbe:
    """An actor for tests, which collects messages.

    Give its :attr:`ref` to the code under test, and expect messages::

        probe = await TestProbe.spawn(system)
        await greeter.tell(Greet("Ann", reply_to=probe.ref))
        greeting = await probe.expect(Greeting)
        await probe.expect_nothing()

    Messages are returned in the order of their arrival, each once. All times are those of trio's clock, so a test with
    ``trio.testing.MockClock`` waits no real time.
    """

    __test__ = False  # pytest takes a class of this name for a class of tests

    def __init__(self) -> None:
        self._send, self._inbox = trio.open_memory_channel[_Received](math.inf)
        self._actor = _Collector(self._send)
        self._last: _Received | None = None
        self.ref: ActorRef[Any, Any]
        """Handle of the probe's actor."""

    @classmethod
    async def spawn(cls, system: ActorSystem, name: str | None = None) -> Self:
        """Start a probe at the top of the tree, and return it. It ends with the system.

        Raises the errors of :meth:`.ActorSystem.spawn`.
        """
        made = cls()

        def probe() -> _Collector:
            return made._actor

        made.ref = await system.spawn(probe, name=name)
        return made

    @property
    def waiting(self) -> int:
        """Number of messages that have arrived and were not returned yet."""
        return self._inbox.statistics().current_buffer_used

    async def expect(self, kind: type[T], *, within: float = WITHIN_SECONDS) -> T:
        """Return the next message. It must be of the class ``kind``.

        Raises:
            AssertionError: No message came in time, or one of another class. That message counts as returned.
            SpecError: ``kind`` is not a class, or ``within`` is no number of seconds.
        """
        check_kind("kind", kind, type, "a class")
        message = await self._next(f"a {kind.__name__}", within)
        if not isinstance(message, kind):
            raise AssertionError(  # noqa: TRY004 - a test fails
                f"expected a {kind.__name__}, but {shown(message)} came"
            )
        return message

    async def expect_equal(self, message: T, *, within: float = WITHIN_SECONDS) -> T:
        """Return the next message. It must be equal to ``message``. Raise AssertionError as :meth:`expect`."""
        found = await self._next(shown(message), within)
        if found != message:
            raise AssertionError(f"expected {shown(message)}, but {shown(found)} came")
        return message

    async def find(self, kind: type[T], *, within: float = WITHIN_SECONDS) -> T:
        """Return the next message of the class ``kind``. Drop the messages before it.

        ``within`` is the time limit for all of them together. Raise AssertionError if none came in time.
        """
        check_kind("kind", kind, type, "a class")
        check_seconds(within, "within")
        until = trio.current_time() + within
        while True:
            message = await self._next(f"a {kind.__name__}", max(0.0, until - trio.current_time()))
            if isinstance(message, kind):
                return message

    async def expect_nothing(self, *, within: float = NOTHING_SECONDS) -> None:
        """Wait for ``within`` seconds. Raise AssertionError as soon as a message comes, or if one has come before."""
        check_seconds(within, "within")
        with trio.move_on_after(within):
            self._last = await self._inbox.receive()
            raise AssertionError(f"expected no message, but {shown(self._last.message)} came")

    async def expect_terminated(self, ref: ActorRef[Any, Any], *, within: float = WITHIN_SECONDS) -> Terminated:
        """Wait until the actor of ``ref`` has ended, and return the message about it.

        The probe watches the actor from this call on. Messages that come before the end are dropped.
        """
        self._actor.context.watch(ref)
        check_seconds(within, "within")
        until = trio.current_time() + within
        while True:
            ended = await self.find(Terminated, within=max(0.0, until - trio.current_time()))
            if ended.ref == ref:
                return ended

    def reply(self, value: object) -> None:
        """Answer the message that was returned last, if it is an ask. A tell has no caller: a dead letter follows.

        Raise RuntimeError if no message was returned yet.
        """
        if self._last is None:
            raise RuntimeError("the probe has returned no message yet")
        self._last.reply.send(value)

    async def _next(self, wanted: str, within: float) -> object:
        check_seconds(within, "within")
        with trio.move_on_after(within):
            self._last = await self._inbox.receive()
            return self._last.message
        raise AssertionError(f"expected {wanted}, but no message came in time")
