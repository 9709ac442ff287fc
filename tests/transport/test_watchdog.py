"""The watchdog, which logs a warning when the event loop is blocked: the moment and the text of the warning."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio.testing

from actors.loop.clock import LoopTime, loop_time
from transport.server import _watchdog
from transport.server._watchdog import TICKS, Watch, Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT = 0.01


@attrs.define
class Scene:
    """A watchdog and a simulated event loop, which answers ``stood`` seconds late, when a line was logged."""

    stood: float = 5.0
    now: float = 0.0
    lines: list[str] = attrs.Factory(list[str])
    asked: list[Callable[[], None]] = attrs.Factory(list["Callable[[], None]"])
    dog: Watch = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.dog = Watch(LoopTime(lambda: self.now, lambda: self.now), LIMIT)

    def answer(self) -> None:
        """Answer all questions of the watchdog, each ``stood`` seconds late."""
        while self.asked:
            self.now += self.stood
            self.asked.pop()()


@pytest.fixture
def scene() -> Iterator[Scene]:
    """Return a scene in which the event loop answers the watchdog after each line in the log."""
    scene = Scene()

    class AnswerAfterwards(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            scene.lines.append(record.getMessage())
            scene.answer()

    logger, handler = logging.getLogger("greenroom.loop"), AnswerAfterwards()
    logger.addHandler(handler)
    with scene.dog._time.ticking(LIMIT / TICKS):  # noqa: SLF001 - what run() does, without its thread
        yield scene
    logger.removeHandler(handler)


def test_answering_loop_is_not_inspected(scene: Scene) -> None:
    """If the event loop answers the watchdog in time, the watchdog does not read the loop's stack and logs nothing."""
    scene.dog.ask(lambda answer: answer(), lambda: pytest.fail("was looked at"))
    assert scene.lines == []


def test_stall_is_logged_once(scene: Scene) -> None:
    """If the event loop is blocked, one warning is logged while it lasts, and one line with its length afterwards."""
    scene.dog.ask(scene.asked.append, lambda: (": by something", "line 1\nline 2"))
    assert scene.lines == [
        "the event loop stands still for more than 0.01 s: by something\n    line 1\n    line 2",
        "the event loop stood still for 5.0 s; no client is judged by that time",
    ]
    scene.dog.ask(lambda answer: answer(), lambda: pytest.fail("was looked at"))
    assert len(scene.lines) == 2


def test_late_stack_is_not_logged(scene: Scene) -> None:
    """If the event loop answers while its stack is being read, the stack is not logged: it may show later code."""

    def too_late() -> tuple[str, str]:
        scene.answer()
        return ": by something", ""

    scene.dog.ask(scene.asked.append, too_late)
    assert scene.lines == ["the event loop stood still for 5.0 s; no client is judged by that time"]


def test_short_stall_is_not_logged(scene: Scene) -> None:
    """If the event loop is blocked for less than the limit, nothing is logged."""
    scene.stood = LIMIT * 0.99

    def answer_late(answer: Callable[[], None]) -> None:
        scene.asked.append(answer)
        scene.answer()

    scene.dog.ask(answer_late, lambda: ("", ""))
    assert scene.lines == []


async def test_thread_ends_with_the_watchdog() -> None:
    """When the watchdog is cancelled, its thread ends too."""
    before = threading.active_count()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Watchdog(loop_time(), LIMIT).run)
        while threading.active_count() == before:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert threading.active_count() == before


async def test_question_after_the_stop() -> None:
    """If the watchdog is stopped just before it asks the loop, its thread ends without a wait or a warning."""
    watch = Watch(loop_time(), LIMIT)
    watch.stop()
    asked: list[object] = []
    watch.ask(asked.append, lambda: pytest.fail("the loop counts as blocked"))
    assert asked == []


async def test_left_thread_stays_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that a blocking log has held beyond the end ends once it can, though the watchdog runs again."""
    monkeypatch.setattr(_watchdog, "_JOIN_SECONDS", 0)
    held, released = threading.Event(), threading.Event()
    left: list[threading.Thread] = []

    def hold(_: logging.LogRecord) -> bool:
        # If the machine is slow, the event loop logs too, that it stood still before.
        if not left and threading.current_thread() is not threading.main_thread():
            left.append(threading.current_thread())
            held.set()
            released.wait()
        return True

    logger = logging.getLogger("greenroom.loop")
    logger.addFilter(hold)
    watchdog = Watchdog(loop_time(), LIMIT)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watchdog.run)
        await trio.testing.wait_all_tasks_blocked()
        held.wait()  # the loop stands still
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watchdog.run)
        await trio.testing.wait_all_tasks_blocked()
        released.set()
        left[0].join(10)
        assert not left[0].is_alive()
        nursery.cancel_scope.cancel()
    logger.removeFilter(hold)


PROGRAM = """
import logging, threading, time, trio
from actors import AgentCompleted
from transport import Greenroom, connect

logging.basicConfig(level="WARNING", format="%(levelname)s %(message)s")
app = Greenroom(log="memory:", settings={"loop_stall_seconds": 0.2})
named = threading.Event()

class Reader(logging.Handler):
    def emit(self, record):
        if "agent 'assistant'" in record.getMessage():
            named.set()

logging.getLogger().addHandler(Reader())

def ask_a_model():
    named.wait(40)  # blocks the event loop until the watchdog has seen it, and longer
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        pass

async def model(blocks):
    if blocks:
        ask_a_model()

@app.agent
async def assistant(run, blocks):
    await run.call_tool(model, blocks=blocks)

async def main():
    async with app.running(port=0) as server, connect(server.url, session="s1") as client:
        await client.start("assistant", False)
        print("run", await client.start("assistant", True))
        async for event in client.events():
            if isinstance(event, AgentCompleted):
                break
        async for event in client.events():
            if isinstance(event, AgentCompleted):
                break
        print(server.endpoint.statistics().stood_still > 0.3)

trio.run(main)
"""


def test_sync_code_in_a_tool_is_named() -> None:
    """If a tool blocks a real server, the warning names the agent, run, user and session, and the blocking function."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=120)
    run_id = ran.stdout.split()[1]
    assert ran.stdout.split()[2] == "True"
    # On a busy machine the loop may stand still at other moments too, which are logged without a name.
    lines = [line for line in ran.stderr.splitlines() if line.startswith("WARNING")]
    [named] = [line for line in lines if "agent 'assistant'" in line]
    assert f"agent 'assistant' in run {run_id} of user 'anonymous', session s1" in named
    assert "in ask_a_model" in ran.stderr
    assert any(line.startswith("WARNING the event loop stood still for ") for line in lines[lines.index(named) :])
