"""Questions to the user: each is closed once, by an answer, by its withdrawal or by the end of its run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import trio
import trio.testing
from protocol.wire import greeted_in_memory
from suites.stage import SurvivingLog, check_history, events_of_type, server_with

from actors import Batch, MemoryLog, StreamKey, verify_log
from actors.spi import Attach, Command, CommandReply

if TYPE_CHECKING:
    from collections.abc import Callable

    from protocol.wire import Client

    from actors import Run

ANN = StreamKey("ann", "s1")


async def asked(one: Client) -> dict[str, Any]:
    """Wait for the first question. Return its ids."""
    while not (found := events_of_type(one.events(), "input_requested")):
        await one.receive("events")
    return {name: found[0][name] for name in ("run_id", "call_id")}


async def gives_up(run: Run, seconds: float | None) -> str:
    """Ask, and give up: by the timeout of the question, or by cancelling the scope around it."""
    try:
        if seconds is not None:
            return str(await run.ask_user("Well?", timeout=seconds))
        with trio.move_on_after(3):
            return str(await run.ask_user("Well?"))
    except TimeoutError:
        await run.output("too late")
    await trio.sleep(10)
    return "went on"


@pytest.mark.parametrize(("seconds", "reason"), [(3, "timeout"), (None, "cancelled")])
async def test_question_given_up_is_withdrawn(
    seconds: float | None, reason: str, autojump_clock: trio.testing.MockClock
) -> None:
    """If an agent stops waiting for an answer, an ``input_withdrawn`` event closes the question, and the run continues.

    The event contains the reason.
    """
    async with server_with(gives_up).running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        run_id = await one.start("1", "gives_up", seconds)
        ids = await asked(one)
        while not (withdrawn := events_of_type(one.events(), "input_withdrawn")):
            await one.receive("events")
        assert trio.current_time() == 3
        assert [(event["call_id"], event["data"]) for event in withdrawn] == [(ids["call_id"], {"reason": reason})]
        late = await one.command("2", "input.answer", **ids, value="late")
        assert late["error"]["code"] == "not_waiting"
        assert (await one.completed(run_id))["data"]["result"] == "went on"
        check_history(one.events())
        async with greeted_in_memory(server, token="ann") as late_tab:
            assert await late_tab.events_until(len(one.events())) == one.events()


async def test_question_ends_with_its_run(autojump_clock: trio.testing.MockClock) -> None:
    """If a run is cancelled while its question is open, the end of the run also closes the question.

    There is no separate event that closes the question.
    """

    async def asks(run: Run) -> None:
        await run.ask_user("Well?")

    async with server_with(asks).running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        run_id = await one.start("1", "asks")
        ids = await asked(one)
        await one.command("2", "run.cancel", run_id=run_id)
        await one.completed(run_id)
        assert [event["type"] for event in one.events()] == ["agent_started", "input_requested", "agent_completed"]
        late = await one.command("3", "input.answer", **ids, value="late")
        assert late["error"]["code"] == "unknown_run"


async def test_question_ends_with_its_session(autojump_clock: trio.testing.MockClock) -> None:
    """If a session is killed while a question is open, the run ends as ``interrupted``, and this closes the question.

    There is no separate event that closes the question.
    """

    async def asks(run: Run) -> None:
        await run.ask_user("Well?")

    log = SurvivingLog()
    async with server_with(asks, log=log).running(port=0) as server:
        await (await server.sessions.get(*ANN)).start("asks")
        await trio.testing.wait_all_tasks_blocked()
        session = server.system.find("/greenroom/sessions/all/ann:s1")
        assert session is not None
        session.kill()
        await session.terminated()
        async with greeted_in_memory(server, token="ann") as one:
            events = await one.events_until(3)
            assert [event["type"] for event in events] == ["agent_started", "input_requested", "agent_completed"]
            assert events[-1]["data"]["status"] == "interrupted"


async def test_question_behind_a_shield(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A cancelled run can still ask a question in a shielded block.

    If it stops waiting for the answer, an ``input_withdrawn`` event closes the question.
    """

    async def asks(run: Run) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with run.shield(), trio.move_on_after(1):
                await run.ask_user("Keep the draft?")

    async with server_with(asks).running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        run_id = await one.start("1", "asks")
        await one.command("2", "run.cancel", run_id=run_id)
        await one.completed(run_id)
        assert [event["data"] for event in events_of_type(one.events(), "input_withdrawn")] == [{"reason": "cancelled"}]
        check_history(one.events())


@pytest.mark.parametrize("seconds", [-1, float("nan"), "5"])
async def test_wrong_timeout_asks_nothing(seconds: Any, autojump_clock: trio.testing.MockClock) -> None:
    """If the timeout of a question is not a valid number, ``ask_user`` raises, and no question is asked."""

    async def asks(run: Run) -> None:
        await run.ask_user("Well?", timeout=seconds)

    async with server_with(asks).running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        completed = await one.completed(await one.start("1", "asks"))
        assert completed["data"]["error"]["code"] in {"ValueError", "TypeError"}
        assert [event["type"] for event in one.events()] == ["agent_started", "agent_completed"]


class NullListener:
    """A listener that ignores everything."""

    def on_events(self) -> None: ...
    def on_signal(self, name: str, data: bytes) -> None: ...
    def on_ended(self, reason: str) -> None: ...


async def test_answer_and_timeout_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """An answer that arrives at the moment of the timeout either reaches the agent or is refused as ``not_waiting``."""
    questions, outcomes, replies = 24, list[object](), list[CommandReply]()
    send: Callable[[Command], None] = print

    async def asks(run: Run) -> None:
        for number in range(questions):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, run)
                await trio.testing.wait_all_tasks_blocked()
                args = {"run_id": run.id, "call_id": f"{run.id}.{number + 1}", "value": number}
                send(Command(f"a{number}", "input.answer", args, "c-1", replies.append))
                autojump_clock.jump(1)  # both are due in the next turn: the answer, and the end of the time for it

    async def ask(run: Run) -> None:
        try:
            outcomes.append(await run.ask_user("?", timeout=1))
        except TimeoutError:
            outcomes.append(None)

    log = MemoryLog()
    async with server_with(asks, log=log).running(port=0) as server:
        send = (await server.sessions.attach(*ANN, Attach("c-1", NullListener()))).command
        await (await server.sessions.get(*ANN)).start("asks")
        await trio.sleep(2 * questions)
        events = [orjson.loads(line) for line in await log.read(ANN, 0, 1_000, 1 << 20)]
        assert (events[-1]["type"], events[-1]["data"]["status"]) == ("agent_completed", "ok")
        assert [int(reply.id[1:]) for reply in replies if reply.ok] == [each for each in outcomes if each is not None]
        assert {reply.code for reply in replies if not reply.ok} <= {"not_waiting"}
        closed = [event for event in events if event["type"] in {"input_received", "input_withdrawn"}]
        assert len(closed) == len(outcomes) == len(replies) == questions
        assert (await verify_log(log)).faults == ()


async def test_only_open_questions_are_remembered(autojump_clock: trio.testing.MockClock) -> None:
    """The state that the log stores for a session does not grow with the number of questions that were withdrawn."""

    async def polls(run: Run, times: int) -> None:
        for _ in range(times):
            try:
                await run.ask_user("Are you there?", timeout=1)
            except TimeoutError:
                continue
        await trio.sleep(5_000)

    sizes: list[int] = []
    for times in (1, 100):
        log = MemoryLog()
        async with server_with(polls, log=log, run_seconds=10_000).running(port=0) as server:
            await (await server.sessions.get(*ANN)).start("polls", times)
            await trio.sleep(1_000)
            head = await log.head(ANN)
            assert head is not None
            sizes.append(len(head.state))
    assert sizes[0] == sizes[1]


async def test_question_left_open_by_a_crash(autojump_clock: trio.testing.MockClock) -> None:
    """If the server crashes while questions are open, the end of their run closes them after the restart.

    This also works with a log that an older version wrote.
    """
    log, now = SurvivingLog(), int(time.time() * 1_000)
    events: list[dict[str, Any]] = [
        {"type": "agent_started", "data": {"agent": "asks", "input": 1}},
        {"type": "input_requested", "call_id": "q2", "data": {"prompt": "Well?"}},
        {"type": "input_requested", "call_id": "q3", "data": {"prompt": "Well?"}},
    ]
    lines = [orjson.dumps({"seq": seq, "ts": now, "run_id": "r1", **event}) for seq, event in enumerate(events, 1)]
    is_open = [["run", "r1", "r1", None, "asks", now], *(["input", id_, "r1", None, "", now] for id_ in ("q2", "q3"))]
    await log.open()
    await log.make(ANN)
    await log.append([Batch(ANN, 1, lines, orjson.dumps([now, is_open]))])
    async with server_with(gives_up, log=log).running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        completed = (await one.events_until(4))[-1]
        assert (completed["type"], completed["data"]["status"]) == ("agent_completed", "interrupted")
        reply = await one.command("1", "input.answer", run_id="r1", call_id="q3", value="late")
        assert reply["error"]["code"] == "unknown_run"
        check_history(one.events())
        assert (await verify_log(log)).faults == ()
