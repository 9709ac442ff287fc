"""The runner for CopilotKit, ``greenroom-client/copilotkit``, in Node and on a real server."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from _processes import PATIENCE
from _requires import require
from _scale import SOAK, scaled
from adapters._agui_node import NATIVE, served
from docs.documents import document
from web.node import HERE
from web.packed import bundled, installed, packed

if TYPE_CHECKING:
    import pathlib

RUNTIME = "@copilotkit/runtime@1.75.0"

pytestmark = pytest.mark.timeout(300)  # npm packs the package, and the machine may be busy


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what the scenes of copilotkit_runner.mjs have told. They run at the same time, in threads of their own."""
    folder = installed(tmp_path_factory, "runner")
    with served(NATIVE, folder) as (url, _):
        found: dict[str, Any] = printed(folder, "copilotkit_runner.mjs", url)
    return found


def printed(folder: pathlib.Path, script: str, url: str) -> Any:
    """Run a script of this folder in Node, in a folder with the package. Return the JSON that it prints."""
    shutil.copy(HERE / script, folder / script)
    command = [require("node"), str(folder / script), url]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE * 2)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])  # CopilotKit prints a line about its telemetry


def test_events_of_a_run(told: dict[str, Any]) -> None:
    """A run gives its events in order, and is over when it has ended."""
    pieces = [f"{number} " for number in range(40)]
    lines = ["RUN_STARTED", "TEXT_MESSAGE_START", *pieces, "TEXT_MESSAGE_END", "success"]
    assert told["whole"] == {"brief": lines, "sorted": True, "running": False}


def test_run_is_joined(told: dict[str, Any]) -> None:
    """A second request with the same ``runId`` gets the events of the same run."""
    assert told["joined"] == {"same": True, "runs": 1}


def test_stream_that_is_cut(told: dict[str, Any]) -> None:
    """*A proxy cuts each connection after 2,000 bytes.* Each event of a run and of a thread comes once and in order."""
    assert told["cut"] == {"cuts": True, "again": True, "same": True, "text": True}


def test_stop(told: dict[str, Any]) -> None:
    """``stop`` reaches the agent of another process, also behind a refresh, and only the run that it names."""
    assert told["stopped"] == {
        "before": [False, False],
        "during": [True, False, True],
        "last": "cancelled",
        "exact": True,
        "after": [False, False],
    }


def test_question_behind_a_refresh(told: dict[str, Any]) -> None:
    """``connect`` ends with the question that is open, which can be answered. A run that waits is not running."""
    assert told["asked"] == {"running": False, "shown": "interrupt", "second": "interrupt", "last": "success"}


def test_thread_without_events(told: dict[str, Any]) -> None:
    """A thread without events is complete at once. An agent that is not there is an error event."""
    assert told["empty"] == [[], ["unknown_agent"]]


def test_server_that_is_away(told: dict[str, Any]) -> None:
    """A server that is away is an error event after the last attempt; ``isRunning`` and ``stop`` raise."""
    assert told["away"] == [["unreachable"], ["unreachable"], "TypeError", "TypeError"]


def test_server_that_restarts(told: dict[str, Any]) -> None:
    """*A proxy answers with 503 while the server restarts.* The run begins when it is back."""
    assert told["restarting"] == "success"


def test_user_without_access(told: dict[str, Any]) -> None:
    """A refusal is an error event, without another attempt."""
    assert told["refused"] == [["unauthorized"], 1, "Greenroom answered with the status 401"]


def test_headers(told: dict[str, Any]) -> None:
    """Requests have the headers of the runner, then those of the agent; ``stop`` has those with which the run came."""
    assert told["headers"] == [["own", "Bearer ann"]] * 3 + [["own", "none"]]


@pytest.fixture
def guide() -> str:
    """Return the runtime of the guide."""
    (block,) = (block for block in document("transport/web/GUIDE.md").blocks if block.language == "ts")
    return block.text


def test_guide_is_bundled(tmp_path_factory: pytest.TempPathFactory, guide: str) -> None:
    """The runtime of the guide is bundled, with the runner of the package in it."""
    folder = installed(tmp_path_factory, "bundled")
    (folder / "runtime.ts").write_text(guide + "export { runtime };\n")
    bundled(folder, folder / "runtime.ts", folder / "runtime.mjs", "--external:@ag-ui/*", "--external:@copilotkit/*")
    assert "unreachable" in (folder / "runtime.mjs").read_text()  # a word of the runner


@pytest.mark.timeout(scaled(300, 1_800))  # the soak installs 280 MB
def test_guide_in_copilotkit(tmp_path: pathlib.Path, guide: str) -> None:
    """In the soak, the runtime of the guide runs, refreshes, stops and asks, as the pages of CopilotKit tell it."""
    own = "agents: { assistant: new HttpAgent({ url: `${url}/assistant` }) }"
    agents = "agents: { waits: new HttpAgent({ url: `${url}/waits` }), asks: new HttpAgent({ url: `${url}/asks` }) }"
    assert own in guide
    if not SOAK:
        return
    (tmp_path / "package.json").write_text('{"type": "module"}')
    install = [require("npm"), "install", "--ignore-scripts", "--no-audit", "--no-fund", RUNTIME, str(packed(tmp_path))]
    subprocess.run(install, cwd=tmp_path, check=True, capture_output=True)
    with served(NATIVE, tmp_path) as (url, _):
        text = guide.replace("http://127.0.0.1:8765/agui", url).replace(own, agents)
        (tmp_path / "runtime.mjs").write_text(f"{text}export {{ runtime }};\n")
        told = printed(tmp_path, "copilotkit_runtime.mjs", url)
    assert told == {
        "wrong": False,
        "stopped": True,
        "shown": "cancelled",
        "asked": "interrupt",
        "answered": "interrupt",
    }
