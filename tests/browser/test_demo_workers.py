"""The demo in two processes: the page in Chromium goes on when its process is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from _processes import started
from _requires import require
from _shared import library_cache
from browser.serving import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from browser.pages import ConversationPage

    OpenTab = Callable[[str], ConversationPage]

pytestmark = pytest.mark.timeout(300)  # three processes and a browser, and the machine may be busy


def children(pid: int) -> set[int]:
    """Return the child processes of a process."""
    # The system lists them for each thread: a thread of the parent starts the workers.
    return {int(word) for path in Path(f"/proc/{pid}/task").glob("*/children") for word in path.read_text().split()}


def is_worker(pid: int) -> bool:
    """Return whether a process is a worker, and not the Valkey server."""
    return b"transport.cli._worker" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_page_whose_process_is_killed(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, open_tab: OpenTab
) -> None:
    """A page goes on with its conversation, each time that a process of the demo is killed. The demo ends with all."""
    require("chromium")
    command = [sys.executable, "-m", "transport", "demo", "--workers", "2", "--port", "0", "--http-port", "0"]
    # A dead process is noticed soon.
    command += ["--set", "lease_seconds=1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(library_cache(tmp_path_factory))}
    with started(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        ready, _, url = process.stdout.readline().split()
        assert ready == "ready"
        everyone = children(process.pid)
        workers = sorted(filter(is_worker, everyone))
        assert (len(workers), len(everyone)) == (2, 3)
        tab = open_tab(url)
        tab.ask("zzzz qqqq")
        tab.expect_status("ok")
        for turn, worker in enumerate(workers, 1):
            os.kill(worker, signal.SIGKILL)
            tab.ask("qqqq zzzz")
            tab.expect_status("ok", turn=turn)
        tab.assert_each_event_once_in_order()
        assert tab.page.evaluate("greenroomDemo.resets") == 0
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        assert [pid for pid in everyone if Path(f"/proc/{pid}").exists()] == []
