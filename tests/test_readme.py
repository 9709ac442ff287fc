"""The README is true: its examples run without changes, its tests exist, its settings are the real ones."""

from __future__ import annotations

import ast
import inspect
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from actors import Run, SessionSettings
from transport import Greenroom, Settings
from transport.settings import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

TREE = Path(__file__).parents[1]
README = (TREE / "README.md").read_text()
RESULTS = (TREE / "bench" / "RESULTS.md").read_text()
GREENROOM = Path(sys.executable).with_name("greenroom")


def example(name: str) -> str:
    """Return the example in the README that begins with this file name."""
    blocks: list[str] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    return next(block for block in blocks if block.startswith(f"# {name}\n"))


def settings_table() -> list[str]:
    """Return the table of settings as the README must show it. It is made from the settings' fields and docstrings."""
    rows = ["| name | default | |", "| --- | --- | --- |"]
    for cls in (SessionSettings, Settings):
        body = ast.parse(inspect.getsource(cls)).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, doc in zip(body.body, body.body[1:], strict=False):
            match field, doc:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    rows.append(f"| `{name}` | {shown(getattr(Settings(), name))} | {text} |")
                case _:
                    pass
    return rows


def shown(value: float | str | tuple[str, ...] | None) -> str:
    if value is None or isinstance(value, str):
        return value or "none"
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value)
    return f"{value:,g}" if value < 1_000 else f"{value:,.0f}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Run ``greenroom serve app:app`` with the README's app, in a folder of its own. Return its WebSocket address."""
    (tmp_path / "app.py").write_text(example("app.py"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GREENROOM_")}
    process = subprocess.Popen(
        [GREENROOM, "serve", "app:app", "--port", "0", "--http-port", "0"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        ready, url, _ = process.stdout.readline().split()
        assert ready == "ready"
        yield url
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    finally:
        process.kill()
        process.communicate()


def test_server_and_client(server: str, tmp_path: Path) -> None:
    """The README's example of a server and a client runs without changes."""
    address = "ws://127.0.0.1:8765/"
    text = example("client.py")
    assert text.count(address) == 1
    (tmp_path / "client.py").write_text(text.replace(address, server))
    run = subprocess.run([sys.executable, "client.py"], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert (run.stderr, run.stdout) == ("", "Othello, act 1\nOthello, act 2\nOthello, act 3\n")


@pytest.mark.parametrize("name", ["counter.py", "tree.py"])
def test_runtime_programs(name: str, tmp_path: Path) -> None:
    """The README's programs for the actor runtime print the output that the README shows."""
    program = example(name)
    expected = README[README.index(program) :].split("```text\n")[1].split("```")[0]
    (tmp_path / name).write_text(program)
    run = subprocess.run([sys.executable, name], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert run.stdout == expected


async def test_retry_example() -> None:
    """The README's example of a tool with retries works."""
    calls: list[str] = []

    async def search(query: str) -> list[str]:
        calls.append(query)
        if len(calls) < 3:
            raise ConnectionError
        return [query]

    blocks = re.findall(r"```python\n(from tenacity.*?)```", README, re.DOTALL)
    (block,) = (text.replace("wait_random_exponential(max=10)", "wait_random_exponential(max=0)") for text in blocks)
    names = {"app": Greenroom(log="memory:", settings={"drain_seconds": 30}), "Run": Run, "search": search}
    exec(compile(block, "README.md", "exec", dont_inherit=True), names)  # noqa: S102 - the reader's own copy of it
    app: Any = names["app"]
    async with app.running(port=0):
        await (await app.sessions.get("ann", "s1")).start("patient", "q")
    assert calls == ["q"] * 3


def test_length_of_the_example() -> None:
    """The README's example server has at most 20 lines."""
    lines = [line for line in example("app.py").splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 20


def test_cited_tests_exist() -> None:
    """Every test that the README cites exists."""
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", README)
    assert named
    absent = [
        f"{path}::{test}"
        for path, test in named
        if not (TREE / path).is_file()
        or not re.search(rf"^\s*(async )?def {test}\(", (TREE / path).read_text(), re.MULTILINE)
    ]
    assert absent == []


def test_linked_files_exist() -> None:
    """Every file that the README links to exists."""
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert [link for link in links if not (TREE / link).exists()] == []


def test_settings_table() -> None:
    """The README has exactly the table of settings that is generated from the code."""
    table = settings_table()
    assert len(table) == len(NAMES) + 2
    assert "\n".join(table) in README


def medians(section: str, title: str) -> dict[str, float]:
    """Return the first figure of each line of a table in RESULTS.md, by the name of the line."""
    part = RESULTS.partition(f"<!-- {section} -->")[2].partition(title)[2]
    lines: list[tuple[str, str]] = re.findall(r"^\| ([^|]+) \| ([\d,]+)[^|]* \|", part, re.MULTILINE)
    found: dict[str, float] = {}
    for name, figure in lines:
        found.setdefault(name.strip("* "), float(figure.replace(",", "")))
    return found


def test_peer_figures() -> None:
    """The README's figures of other servers are the ones measured in RESULTS.md."""
    measured = medians("peers", "### Burst")
    rows: list[tuple[str, str, str, str]] = re.findall(
        r"^\| ([^|]+) \| ([\d,]+) \| ([\d.]+) \S \| ([\d.]+) \S \|", README, re.MULTILINE
    )
    assert len(rows) == 5
    for name, figure, memory, sqlite in rows:
        assert float(figure.replace(",", "")) == round(measured[name], -3)
        # The ratio of two medians, where RESULTS has the median of the ratios: they differ by a little.
        assert float(memory) == pytest.approx(measured["Greenroom, memory"] / measured[name], rel=0.05)
        assert float(sqlite) == pytest.approx(measured["Greenroom, sqlite"] / measured[name], rel=0.05)


def test_user_figures() -> None:
    """The README's figures for numbers of users are the ones measured in RESULTS.md."""
    users = RESULTS.partition("<!-- users -->")[2]
    for log, text in (("memory", "from memory"), ("sqlite", "through\nSQLite")):
        found = re.search(rf"^\| {log} \| load \| 200 \| 200 \| burst \| ([\d,]+)", users, re.MULTILINE)
        assert found is not None
        said = f"{round(int(found[1].replace(',', '')), -3):,}"
        assert re.search(rf"about {said} [^.]*{text}", README)
