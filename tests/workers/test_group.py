"""The parent of workers: starts, restarts, signals and its exit status. The workers are small scripts."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from workers.fake import workers_on_stage

from transport.workers import group

if TYPE_CHECKING:
    from pathlib import Path


async def test_ready_is_reported_once(tmp_path: Path) -> None:
    """``on_ready`` is called when all workers are ready, and not again when a dead worker was started again."""
    async with workers_on_stage(tmp_path, worker_2="late") as stage:
        await stage.until(lambda: len(stage.notes("starts")) == 2 and len(stage.notes("ready")) == 1)
        assert stage.ready == []
        stage.go_on()
        await stage.until_up()
        assert [(each.ws_url, each.page_url) for each in stage.ready] == [("ws://here/", "http://here/")]
        (victim,) = [pid for number, _, pid in stage.notes("ready") if number == 1]
        os.kill(victim, signal.SIGKILL)
        await stage.until(lambda: len(stage.notes("ready")) == 3)
        assert stage.notes("ready")[-1][0] == 1
        assert stage.lines[0].startswith(f"worker 1 (process {victim}) was ended by SIGKILL; it is started again")
    assert (len(stage.ready), stage.status, len(stage.lines)) == (1, 0, 1)


async def test_failing_start_ends_the_parent(tmp_path: Path) -> None:
    """If a worker ends again and again before it was ready, the others drain, and the error names the worker."""
    async with workers_on_stage(tmp_path, worker_2="fails") as stage:
        await stage.ended.wait()
    assert str(stage.failure) == "the start of worker 2 failed 3 times: its lines above say why"
    assert [line.partition(") ")[2].partition(" in ")[0] for line in stage.lines] == [
        "ended with status 7 before it was ready; it is started again",
        "ended with status 7 before it was ready; it is started again",
        "ended with status 7 before it was ready",
    ]
    assert (stage.notes("term")[0][0], stage.ready) == (1, [])


async def test_failing_start_beside_others(tmp_path: Path) -> None:
    """While another worker serves, a worker that cannot be started is tried again, also more than three times."""
    async with workers_on_stage(tmp_path) as stage:
        await stage.until_up()
        (tmp_path / "worker-1").write_text("fails")
        os.kill(next(pid for number, _, pid in stage.notes("ready") if number == 1), signal.SIGKILL)
        await stage.until(lambda: len(stage.lines) == 4)
        (tmp_path / "worker-1").write_text("")
        await stage.until(lambda: len(stage.notes("ready")) == 3)
        assert len(stage.notes("term")) == 0
    assert stage.status == 0


async def test_restart_in_turn(tmp_path: Path) -> None:
    """SIGUSR2 ends a worker and starts another, and the next one only when the first new one is ready."""
    async with workers_on_stage(tmp_path) as stage:
        await stage.until_up()
        begin = len(stage.notes())
        (tmp_path / "worker-1").write_text("late")
        await stage.send.send(signal.SIGUSR2)
        await stage.until(lambda: stage.notes()[begin:][-1:] == [(1, "starts", stage.notes()[-1][2])])
        stage.go_on()
        await stage.until(lambda: len(stage.notes("ready")) == 4)
        order = [(number, kind) for number, kind, _ in stage.notes()[begin:]]
        one, two = ([(number, kind) for kind in ("term", "starts", "ready")] for number in (1, 2))
        assert order == one + two
        assert len({pid for _, _, pid in stage.notes("ready")}) == 4
        await stage.until(lambda: len(stage.lines) == 2)
        assert stage.lines == ["SIGUSR2: the workers are restarted in turn", "all workers were restarted"]
    assert stage.status == 0


async def test_hangup_reaches_each_worker(tmp_path: Path) -> None:
    """SIGHUP is passed on to each worker. A worker that is not ready yet gets it when it is."""
    async with workers_on_stage(tmp_path, worker_2="late") as stage:
        await stage.until(lambda: len(stage.notes("starts")) == 2 and len(stage.notes("ready")) == 1)
        await stage.send.send(signal.SIGHUP)
        await stage.until(lambda: stage.notes("hup"))
        assert [number for number, _, _ in stage.notes("hup")] == [1]
        stage.go_on()
        await stage.until(lambda: len(stage.notes("hup")) == 2)
        assert [number for number, _, _ in stage.notes("hup")] == [1, 2]


@pytest.mark.parametrize(("words", "status"), [("", 0), ("unclean", 1)])
async def test_status_after_a_drain(tmp_path: Path, words: str, status: int) -> None:
    """The signal is passed on to all workers. The status is 1 if one of them ends with an error, which is reported."""
    async with workers_on_stage(tmp_path, worker_2=words) as stage:
        await stage.until_up()
        await stage.send.send(signal.SIGINT)
        await stage.until(stage.ended.is_set)
        assert sorted(number for number, _, _ in stage.notes("int")) == [1, 2]
    assert stage.status == status
    assert [line.partition(") ")[2] for line in stage.lines] == (["ended with status 9"] if status else [])


async def test_worker_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was asked to end, and takes longer than ``drain_seconds`` and some more, is killed."""
    monkeypatch.setattr(group, "_ENDING_SECONDS", 0.1)
    async with workers_on_stage(tmp_path, count=1, drain_seconds=0.1, worker="stubborn") as stage:
        await stage.until_up()
    pid = stage.notes("term")[0][2]
    assert stage.lines == [
        f"worker 1 (process {pid}) has not ended in 0.2 s: it is killed",
        f"worker 1 (process {pid}) was ended by SIGKILL",
    ]
    assert stage.status == 1
