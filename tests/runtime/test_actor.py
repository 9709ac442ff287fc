"""One actor: its life, tell and ask, its end."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing

from actors import (
    UNHANDLED,
    Actor,
    ActorRef,
    ActorRestarted,
    ActorSystem,
    ActorTerminated,
    AskTimeout,
    Backoff,
    ChildSpec,
    ExitReason,
    Failure,
    Killed,
    MailboxFull,
    MessageUnhandled,
    NameTaken,
    Normal,
    Restart,
    Shutdown,
    SupervisorSpec,
    Terminated,
    open_system,
)


class Probe(Actor):
    """Does what the messages say, and writes down what happens."""

    def __init__(self, journal: list[object] | None = None, start: object = None) -> None:
        self.journal: list[object] = journal if journal is not None else []
        self.start = start

    async def started(self) -> None:
        if isinstance(self.start, Exception):
            raise self.start
        if callable(self.start):
            await self.start(self)
        self.journal.append("started")

    async def receive(self, message: object) -> object:
        if isinstance(message, Exception):
            raise message
        if callable(message):
            return await message(self)
        if message == "unknown":
            return UNHANDLED
        self.journal.append(message)
        return message

    async def stopping(self, reason: ExitReason) -> None:
        self.journal.append(reason)


async def block(_: Probe) -> None:
    await trio.sleep_forever()


async def block_shielded(_: Probe) -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()


async def end(probe: Probe) -> None:
    probe.context.stop()


async def test_spawn_returns_after_started() -> None:
    async with open_system() as system:
        journal: list[object] = []
        await system.spawn(Probe, journal)
        assert journal == ["started"]


async def test_messages_are_handled_in_the_order_they_were_told() -> None:
    async with open_system() as system:
        journal: list[object] = []
        ref = await system.spawn(Probe, journal)
        for number in range(200):
            await ref.tell(number)
        await ref.stop(drain=True)
        assert journal[1:-1] == list(range(200))


async def test_ask_returns_what_receive_returns() -> None:
    async with open_system() as system:
        ref = await system.spawn(Probe)
        assert await ref.ask("hello", timeout=1) == "hello"


async def test_a_failing_start_reaches_the_caller_and_leaves_no_entry() -> None:
    async with open_system() as system:
        error = ValueError("no")
        with pytest.raises(ValueError, match="no") as caught:
            await system.spawn(Probe, None, error, name="x")
        assert caught.value is error
        assert system.statistics().actors == 0
        await system.spawn(Probe, name="x")


async def test_a_cancelled_spawn_leaves_no_entry(autojump_clock: trio.testing.MockClock) -> None:
    async with open_system() as system:
        with trio.move_on_after(1) as scope:
            await system.spawn(Probe, None, block_shielded)
        assert scope.cancelled_caught
        assert system.statistics().actors == 0
        assert autojump_clock.current_time() >= 0


async def test_names_are_unique_among_the_living() -> None:
    async with open_system() as system:
        first = await system.spawn(Probe, name="x")
        with pytest.raises(NameTaken):
            await system.spawn(Probe, name="x")
        await first.stop()
        assert (await system.spawn(Probe, name="x")).path == "/x"


@pytest.mark.parametrize(
    ("act", "reason"),
    [(end, Normal()), (RuntimeError, Failure)],
)
async def test_the_exit_reason_is_a_value(act: object, reason: object) -> None:
    async with open_system() as system:
        ref = await system.spawn(Probe)
        error = RuntimeError("x")
        await ref.tell(error if act is RuntimeError else act)
        got = await ref.terminated()
        assert got == (Failure(error) if reason is Failure else reason)
        assert not ref.alive


async def test_a_stopped_actor_ends_with_shutdown_and_leaves_nothing() -> None:
    async with open_system() as system:
        before = trio.lowlevel.current_statistics().tasks_living
        journal: list[object] = []
        ref = await system.spawn(Probe, journal)

        async def busy(probe: Probe) -> None:
            probe.nursery.start_soon(trio.sleep_forever)
            probe.context.timers.every("tick", "tick", 1)

        await ref.ask(busy)
        assert await ref.stop() == Shutdown()
        assert journal == ["started", Shutdown()]
        assert system.statistics().actors == 0
        assert trio.lowlevel.current_statistics().tasks_living == before
        assert await ref.stop() == Shutdown()


async def test_stop_cancels_after_its_timeout(autojump_clock: trio.testing.MockClock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Probe)
        await ref.tell(block)
        await trio.testing.wait_all_tasks_blocked()
        begin = trio.current_time()
        assert await ref.stop(timeout=2) == Killed()
        assert trio.current_time() - begin == 2
        assert autojump_clock.autojump_threshold == 0


async def test_a_second_cancel_ends_shielded_work(autojump_clock: trio.testing.MockClock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Probe)
        await ref.tell(block_shielded)
        await trio.testing.wait_all_tasks_blocked()
        begin = trio.current_time()
        assert await ref.stop(timeout=2) == Killed()
        assert trio.current_time() - begin == 3
        assert autojump_clock.autojump_threshold == 0


async def test_a_cancelled_stop_goes_on(autojump_clock: trio.testing.MockClock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Probe)
        await ref.tell(block_shielded)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0.5):
            await ref.stop(timeout=2)
        begin = trio.current_time()
        assert await ref.terminated() == Killed()
        assert trio.current_time() - begin == 2.5
        assert autojump_clock.autojump_threshold == 0


async def test_kill_ends_shielded_work_at_once() -> None:
    async with open_system() as system:
        journal: list[object] = []
        ref = await system.spawn(Probe, journal)
        await ref.tell(block_shielded)
        await trio.testing.wait_all_tasks_blocked()
        ref.kill()
        assert await ref.terminated() == Killed()
        assert journal == ["started"]


async def test_a_failing_task_of_the_nursery_crashes_the_actor() -> None:
    async with open_system() as system:
        ref = await system.spawn(Probe)
        error = OSError("disk")

        async def fail() -> None:
            raise error

        async def start(probe: Probe) -> None:
            probe.nursery.start_soon(fail)

        await ref.tell(start)
        assert await ref.terminated() == Failure(error)


async def test_all_failures_of_one_actor_are_kept() -> None:
    async with open_system() as system:
        ref = await system.spawn(Probe)

        async def fail_on_cancel() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise OSError("second")

        async def start(probe: Probe) -> None:
            probe.nursery.start_soon(fail_on_cancel)
            await trio.testing.wait_all_tasks_blocked()
            raise ValueError("first")

        await ref.tell(start)
        reason = await ref.terminated()
        assert isinstance(reason, Failure)
        assert isinstance(reason.exception, ExceptionGroup)
        assert [type(error) for error in reason.exception.exceptions] == [ValueError, OSError]


async def test_cancellation_from_outside_is_no_crash() -> None:
    reasons: list[ExitReason] = []

    async def observe(system: ActorSystem, done: trio.Event) -> None:
        ref = await system.spawn(Probe, restart=Restart.PERMANENT)
        try:
            done.set()
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                reasons.append(await ref.terminated())

    with trio.CancelScope() as scope:
        async with open_system() as system, trio.open_nursery() as nursery:
            done = trio.Event()
            nursery.start_soon(observe, system, done)
            await done.wait()
            scope.cancel()
    assert reasons == [Killed()]
    assert scope.cancelled_caught


async def test_tell_waits_while_the_mailbox_is_full() -> None:
    async with open_system() as system:
        journal: list[object] = []
        ref = await system.spawn(Probe, journal, mailbox_size=2)
        gate = trio.Event()

        async def wait(_: Probe) -> None:
            await gate.wait()

        await ref.tell(wait)
        await trio.testing.wait_all_tasks_blocked()
        await ref.tell(1)
        await ref.tell(2)
        with pytest.raises(MailboxFull):
            ref.tell_nowait(3)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.tell, 3)
            await trio.testing.wait_all_tasks_blocked()
            assert ref.statistics().mailbox.senders_waiting == 1
            gate.set()
        assert await ref.ask(4) == 4
        assert journal == ["started", 1, 2, 3, 4]


async def test_a_waiting_tell_is_woken_when_the_actor_dies() -> None:
    async with open_system() as system:
        ref = await system.spawn(Probe, mailbox_size=1)
        await ref.tell(block)
        await trio.testing.wait_all_tasks_blocked()
        await ref.tell(1)
        async with trio.open_nursery() as nursery:

            async def sender() -> None:
                with pytest.raises(ActorTerminated):
                    await ref.tell(2)

            nursery.start_soon(sender)
            await trio.testing.wait_all_tasks_blocked()
            ref.kill()


async def test_tell_and_ask_raise_at_once_for_the_dead() -> None:
    async with open_system() as system:
        ref = await system.spawn(Probe)
        await ref.stop()
        with pytest.raises(ActorTerminated) as caught:
            await ref.ask(1)
        assert caught.value.reason == Shutdown()
        with pytest.raises(ActorTerminated):
            await ref.tell(1)
        with pytest.raises(ActorTerminated):
            ref.tell_nowait(1)


async def test_ask_times_out_and_the_work_for_it_is_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Probe)
        ended: list[str] = []

        async def work(_: Probe) -> None:
            try:
                await trio.sleep_forever()
            finally:
                ended.append("cancelled")

        with pytest.raises(AskTimeout):
            await ref.ask(work, timeout=1)
        assert await ref.ask("next") == "next"
        assert ended == ["cancelled"]
        assert autojump_clock.autojump_threshold == 0


async def test_ask_of_what_the_actor_does_not_know_raises() -> None:
    async with open_system() as system:
        ref = await system.spawn(Probe)
        with pytest.raises(MessageUnhandled):
            await ref.ask("unknown")
        assert system.statistics().dead_letters == 1


async def test_an_actor_that_asks_itself_gets_an_error() -> None:
    async with open_system() as system:
        ref = await system.spawn(Probe)

        async def ask_self(probe: Probe) -> None:
            with pytest.raises(RuntimeError, match="itself"):
                await probe.ref.ask(1)
            with pytest.raises(RuntimeError, match="own end"):
                await probe.ref.stop()

        await ref.ask(ask_self)


async def test_restart_keeps_ref_and_mailbox_and_drops_the_message_that_failed() -> None:
    async with open_system() as system:
        journal: list[object] = []
        ref = await system.spawn(Probe, journal, restart=Restart.PERMANENT)
        error = ValueError("bad")
        with system.dead_letters() as letters:
            async with trio.open_nursery() as nursery:

                async def ask() -> None:
                    with pytest.raises(ActorRestarted):
                        await ref.ask(error)

                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
            await ref.tell(1)
            assert await ref.ask(2) == 2
            letter = await anext(letters)
        assert letter.message is error
        assert letter.cause is error
        assert journal == ["started", Failure(error), "started", 1, 2]
        assert ref.statistics().restarts == 1


async def test_watch_delivers_one_terminated_also_for_the_dead() -> None:
    async with open_system() as system:
        journal: list[object] = []
        watcher = await system.spawn(Probe, journal)
        target = await system.spawn(Probe)

        async def watch(probe: Probe) -> None:
            probe.context.watch(target)

        await watcher.ask(watch)
        await target.stop()
        assert await watcher.ask("flush") == "flush"
        await watcher.ask(watch)
        assert await watcher.ask("flush") == "flush"
        news = Terminated(target, Shutdown())
        assert journal == ["started", news, "flush", news, "flush"]


async def test_a_deferred_reply_comes_later() -> None:
    async with open_system() as system:
        ref = await system.spawn(Probe)
        go = trio.Event()

        async def later(probe: Probe) -> None:
            reply = probe.context.defer()

            async def send() -> None:
                await go.wait()
                reply.send("late")

            probe.nursery.start_soon(send)

        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                assert await ref.ask(later) == "late"

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            assert await ref.ask("not blocked") == "not blocked"
            go.set()


async def test_children_end_before_their_parent() -> None:
    async with open_system() as system:
        order: list[object] = []
        ref = await system.spawn(Probe)

        async def spawn(probe: Probe) -> list[str]:
            first = await probe.context.spawn(Probe, order, name="a")
            second = await probe.context.spawn(Probe, order, name="b")
            return [first.path, second.path]

        assert await ref.ask(spawn) == [f"{ref.path}/a", f"{ref.path}/b"]
        assert ref.statistics().children == 2
        await ref.stop(timeout=math.inf)
        assert system.statistics().actors == 0
        assert order == ["started", "started", Shutdown(), Shutdown()]


async def test_a_spawn_cancelled_before_it_began_makes_no_actor() -> None:
    async with open_system() as system:
        journal: list[object] = []
        made: list[Probe] = []

        def make() -> Probe:
            made.append(Probe(journal))
            return made[-1]

        with trio.CancelScope() as scope:
            scope.cancel()
            await system.spawn(make)
        assert scope.cancelled_caught
        assert (journal, made) == ([], [])


async def test_children_are_killed_when_the_time_of_a_failed_parent_is_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Stubborn(Actor):
        async def stopping(self, reason: ExitReason) -> None:
            await trio.sleep_forever()

    async with open_system() as system:
        children: list[ActorRef] = []

        async def spawn(probe: Probe) -> None:
            children.append(await probe.context.spawn(Stubborn, shutdown=math.inf))
            raise ValueError("crash")

        ref = await system.spawn(Probe, shutdown=2)
        begin = autojump_clock.current_time()
        await ref.tell(spawn)
        assert isinstance(await ref.terminated(), Failure)
        assert trio.current_time() - begin == pytest.approx(2)
        assert await children[0].terminated() == Killed()
        assert system.statistics().actors == 0


async def test_a_later_stop_can_hurry_but_not_delay(autojump_clock: trio.testing.MockClock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Probe)
        await ref.tell(block_shielded)
        await trio.testing.wait_all_tasks_blocked()
        begin = autojump_clock.current_time()

        async def stop(seconds: float) -> None:
            assert await ref.stop(timeout=seconds) == Killed()
            assert trio.current_time() - begin == pytest.approx(3)

        for seconds in (10, 2, 20):
            nursery.start_soon(stop, seconds)


async def test_an_actor_that_stops_itself_refuses_what_comes_later() -> None:
    async with open_system() as system:
        ref = await system.spawn(Probe)

        async def stop_and_wait(probe: Probe) -> None:
            probe.context.stop()
            with pytest.raises(ActorTerminated, match="stopping"):
                ref.tell_nowait("later")

        await ref.ask(stop_and_wait)
        assert await ref.terminated() == Normal()


async def test_an_actor_may_stop_itself_while_it_starts() -> None:
    async with open_system() as system:
        journal: list[object] = []

        async def stop(probe: Probe) -> None:
            probe.context.stop()
            await trio.lowlevel.checkpoint()

        ref = await system.spawn(Probe, journal, stop)
        assert await ref.terminated() == Normal()
        assert journal == ["started", Normal()]


async def test_a_request_that_was_given_up_is_nobodys_dead_letter(autojump_clock: trio.testing.MockClock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Probe)
        go = trio.Event()

        async def wait(_: Probe) -> None:
            await go.wait()

        await ref.tell(wait)
        with pytest.raises(AskTimeout):
            await ref.ask("given up", timeout=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.stop)
            await trio.testing.wait_all_tasks_blocked()
            go.set()
        assert system.statistics().dead_letters == 0
        assert autojump_clock.autojump_threshold == 0


async def test_an_actor_cancelled_from_outside_between_two_lives_was_killed() -> None:
    with trio.CancelScope() as scope:
        async with open_system() as system:
            spec = SupervisorSpec(children=[ChildSpec("a", Probe)], backoff=Backoff(1000, 1000))
            supervisor = await system.supervise(spec)
            ref = supervisor.child("a")
            assert ref is not None
            await ref.tell(ValueError("crash"))
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert ref is not None
    assert await ref.terminated() == Killed()


async def test_a_later_stop_does_not_delay_one_whose_caller_left(autojump_clock: trio.testing.MockClock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Probe)
        await ref.tell(block_shielded)
        await trio.testing.wait_all_tasks_blocked()
        begin = autojump_clock.current_time()

        async def stop_and_leave() -> None:
            with trio.move_on_after(1):
                await ref.stop(timeout=2)

        nursery.start_soon(stop_and_leave)
        await trio.testing.wait_all_tasks_blocked()
        await ref.stop(timeout=20)
        assert trio.current_time() - begin == pytest.approx(3)


async def test_a_deferred_reply_to_a_tell_goes_nowhere() -> None:
    async with open_system() as system:
        ref = await system.spawn(Probe)

        async def defer(probe: Probe) -> None:
            reply = probe.context.defer()
            assert not reply.wanted
            reply.send("to nobody")

        await ref.tell(defer)
        await ref.ask("flush")
        assert system.statistics().dead_letters == 1
