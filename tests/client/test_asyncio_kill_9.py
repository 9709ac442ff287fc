"""The client on asyncio over the death of a real server process: each event once, in order, without a gap."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from _both_loops import on_asyncio_loops
from _processes import started
from delivery.process import GREENROOM, FastJitter

from actors import AgentCompleted, Event
from transport.client.asyncio import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from transport.client.asyncio import Client

APP = """
import trio
from actors import Run
from transport import Greenroom

app = Greenroom(log="sqlite:log.db")

@app.agent
async def words(run: Run, count: int) -> None:
    for number in range(count):
        await run.output(str(number))
    if count > 20:
        await trio.sleep_forever()
"""


@contextmanager
def server_process(folder: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """Start a server process, and wait until it accepts connections. Kill it with SIGKILL at the end of the block."""
    command = [str(GREENROOM), "serve", "app:app", "--port", str(port), "--http-port", "0"]
    with started(command, cwd=folder, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready ")
        yield process


async def until_end(client: Client, seqs: list[int], run_id: str) -> AgentCompleted:
    """Append the seqs of the events to ``seqs`` until the run ends, and return its last event."""
    async for event in client.events():
        assert isinstance(event, Event), "the position was lost"
        seqs.append(event.seq)
        if isinstance(event, AgentCompleted) and event.run_id == run_id:
            return event
    raise AssertionError("the stream ended before the run did")


@on_asyncio_loops
async def test_resume_after_kill_9(tmp_path: Path, own_port: int) -> None:
    """If the server is killed in the middle of a run, the client resumes on the next server.

    It gets each event once and in order. A start that it repeats with its id runs once.
    """
    (tmp_path / "app.py").write_text(APP)
    seqs: list[int] = []
    async with connect(f"ws://127.0.0.1:{own_port}", "s1", rng=FastJitter(0)) as client:
        with server_process(tmp_path, own_port):
            endless = await client.start("words", 500, command_id="endless")
            async for event in client.events():
                assert isinstance(event, Event)
                seqs.append(event.seq)
                if len(seqs) == 100:
                    break
        with server_process(tmp_path, own_port):
            assert await client.start("words", 500, command_id="endless") == endless
            assert (await until_end(client, seqs, endless)).status == "interrupted"
            short = await client.start("words", 20)
            assert (await until_end(client, seqs, short)).status == "ok"
            page = await client.history(seqs[-1] - 10)
            assert seqs[-10:] == [event.seq for event in page.events]
        assert seqs == list(range(1, len(seqs) + 1))
        assert client.statistics().resets == 0
        assert client.statistics().connections == 2
