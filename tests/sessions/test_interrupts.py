"""Ctrl-C ends the process and never reaches an agent.

A KeyboardInterrupt that an agent itself raises fails only its run.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio
from sessions._one_run import events_of

from actors.loop.threads import interrupts_deferred

if TYPE_CHECKING:
    from actors import Run

SERVER = """
import signal, sys, trio
from transport import Greenroom, connect

app = Greenroom(log="memory:")
seen = []

async def interrupted(wait):
    try:
        if seen == []:
            seen.append("signal")
            signal.raise_signal(signal.SIGINT)  # handled here and now, in this very frame
        await wait()
    except BaseException as error:
        seen.append(type(error).__name__)
        raise

@app.agent
async def in_a_nursery(run):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(interrupted, trio.sleep_forever)

@app.agent
async def for_a_thread(run):
    await run.call_tool(lambda: trio.from_thread.run(interrupted, trio.sleep_forever))

@app.agent
async def in_a_loop(run):
    await interrupted(in_a_row)

async def in_a_row():
    while True:
        await trio.lowlevel.checkpoint()

async def main():
    async with app.running(port=0) as server, connect(server.url, "s") as client:
        await client.start(sys.argv[1])
        with trio.move_on_after(20):
            await trio.sleep_forever()
        print("lives on")

try:
    trio.run(main)
except BaseException as error:
    if type(error) is not KeyboardInterrupt and not (
        isinstance(error, BaseExceptionGroup) and error.split(KeyboardInterrupt)[1] is None
    ):
        raise
    print("interrupted", *seen)
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""


@pytest.mark.parametrize("where", ["in_a_nursery", "for_a_thread", "in_a_loop"])
async def test_ctrl_c_ends_the_process(where: str) -> None:
    """If the user presses Ctrl-C while an agent runs, KeyboardInterrupt is raised in trio's main task.

    It is never raised in the agent: the agents are only cancelled.
    """
    command = [sys.executable, "-W", "ignore", "-c", SERVER, where]
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    assert done.stdout.decode().split()[:2] == ["interrupted", "signal"], done.stderr.decode()[-2_000:]
    assert "KeyboardInterrupt" not in done.stdout.decode().split()
    assert done.returncode == 0


WITHOUT_SERVER = """
import signal, trio
from actors.loop.threads import interrupts_deferred

async def main(raised):
    with interrupts_deferred():
        try:
            signal.raise_signal(signal.SIGINT)
            raised.append("nothing at once")
            await trio.lowlevel.checkpoint()
        except KeyboardInterrupt:
            raised.append("at the checkpoint")
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raised.append("at once")
    left_behind = interrupts_deferred()
    left_behind.__enter__()
    return left_behind

raised = []
left_behind = trio.run(main, raised)
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    raised.append("after the loop")
print(raised, signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


def test_interrupts_are_deferred_inside_the_block() -> None:
    """Inside a block of ``interrupts_deferred()``, Ctrl-C raises KeyboardInterrupt only at the next checkpoint.

    After the block Ctrl-C raises it at once. After the end of the event loop, Ctrl-C is handled as it was before.
    """
    done = subprocess.run([sys.executable, "-c", WITHOUT_SERVER], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['nothing at once', 'at the checkpoint', 'at once', 'after the loop'] True"


async def test_handler_of_the_application_stays() -> None:
    """If the application has its own handler for Ctrl-C, ``interrupts_deferred()`` does not replace this handler."""
    with trio.open_signal_receiver(signal.SIGINT):
        theirs = signal.getsignal(signal.SIGINT)
        with interrupts_deferred():
            assert signal.getsignal(signal.SIGINT) is theirs


async def test_handler_of_trio_is_recognised() -> None:
    """Inside its block, ``interrupts_deferred()`` replaces trio's own handler for Ctrl-C.

    It recognises this handler by the name of a module. If a new version of trio renames the module, this test fails.
    """
    before = signal.getsignal(signal.SIGINT)
    with interrupts_deferred():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


async def test_interrupt_raised_beside_a_question() -> None:
    """If a task of an agent raises KeyboardInterrupt while another waits for an answer of the user, the run is closed.

    The end of the run also closes the question.
    """

    async def agent(run: Run) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.ask_user, "well?")
            for _ in range(3):  # until it waits
                await trio.lowlevel.checkpoint()
            raise KeyboardInterrupt

    events = await events_of(agent)
    assert "input_requested" in [event["type"] for event in events]
    closed = next(event for event in events if event["type"] == "agent_completed")
    assert closed["data"]["error"]["code"] == "KeyboardInterrupt"
