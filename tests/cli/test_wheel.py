"""The wheel as users install it: without extras, with one extra, and next to files with the names of its packages."""

from __future__ import annotations

import signal
import subprocess
import urllib.request
from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING

import pytest
from _processes import started
from _scale import SOAK
from _shared import shared_wheel
from _wheel import Environment, clean_environment, make_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 60
APP = """
from actors import Run
from transport import Greenroom

app = Greenroom(log="memory:")

@app.agent
async def echo(run: Run, text: str) -> str:
    return text
"""
ASK = """
import sys, trio
from transport import connect

async def ask():
    async with connect(sys.argv[1], "s1") as client:
        await client.start("echo", "hello")
        async for event in client.events():
            if event.type == "agent_completed":
                print(event.data["result"])
                break

trio.run(ask)
"""
KEY = "a key that is long enough for HS256"
# On a busy machine the event loop stands still for a second, which is a warning on stderr.
SERVE = ("serve", "app:app", "--port", "0", "--http-port", "0", "--set", "loop_stall_seconds=60")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the project."""
    return shared_wheel(tmp_path_factory)


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the wheel and no extra."""
    return make_environment(tmp_path_factory.mktemp("bare"), wheel)


@pytest.fixture(scope="module")
def with_http(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the wheel and the extra ``http``."""
    return make_environment(tmp_path_factory.mktemp("http"), wheel, "http")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an app and a client."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "ask.py").write_text(ASK)
    return tmp_path


@contextmanager
def serving(environment: Environment, folder: Path) -> Iterator[tuple[str, str]]:
    """Serve the app, and return the addresses of the endpoint and of the pages. The server must end with status 0."""
    command = environment.command("greenroom", *SERVE)
    stderr = (folder / "stderr").open("w")
    options = {"cwd": folder, "env": clean_environment(), "stdout": subprocess.PIPE, "stderr": stderr}
    with stderr, started(command, **options) as server:
        assert server.stdout is not None
        ready, url, pages = server.stdout.readline().split()
        assert ready == "ready"
        yield url, pages
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 0


def refusal(environment: Environment, folder: Path, *arguments: str, **variables: str) -> str:
    """Run a command, check that it ends with status 2 and one line, and return the line."""
    done = environment.run(folder, *arguments, **variables)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (line,) = done.stderr.splitlines()
    return line


def extra_needed(extra: str) -> str:
    """Return the end of the message about a missing extra, with the file name of the wheel: no index has it."""
    wheel = f"greenroom-{metadata.version('greenroom')}-py3-none-any.whl"
    return f"needs the extra {extra}: install the wheel with it: pip install '{wheel}[{extra}]'"


def test_server_without_extras(bare: Environment, folder: Path) -> None:
    """Without extras ``serve`` serves the WebSocket endpoint, and says in one line that the pages need an extra."""
    with serving(bare, folder) as (url, pages):
        assert pages == "-"
        answer = bare.run(folder, "python", "ask.py", url)
    assert (answer.stdout, answer.stderr) == ("hello\n", "")
    first, second = (folder / "stderr").read_text().splitlines()
    needs = f"the HTTP server of the pages {extra_needed('http')}"
    assert first == f"greenroom: serving without pages: {needs}"
    assert second == f"greenroom: clients connect to {url}; Ctrl-C ends the server"


def test_server_with_pages(with_http: Environment, folder: Path) -> None:
    """If the extra ``http`` is installed, ``serve`` also serves the pages, and prints their address."""
    with serving(with_http, folder) as (_, pages), urllib.request.urlopen(pages, timeout=PATIENCE) as page:  # noqa: S310 - our own address
        assert page.status == 200
        assert b"<html" in page.read()
    assert f"open {pages} in a browser" in (folder / "stderr").read_text()


@pytest.mark.parametrize(
    ("arguments", "part", "extra"),
    [
        (("token", "alice", "--key", KEY), "TokenAuth", "jwt"),
        (("serve", "secured:app"), "TokenAuth", "jwt"),
        (("demo",), "the demo", "demo"),
    ],
)
def test_missing_extra(bare: Environment, folder: Path, arguments: tuple[str, ...], part: str, extra: str) -> None:
    """A command that needs a missing extra names the extra and the command that installs it."""
    (folder / "secured.py").write_text(
        f'from transport import Greenroom, TokenAuth\napp = Greenroom(auth=TokenAuth("{KEY}"))\n'
    )
    line = refusal(bare, folder, "greenroom", *arguments)
    assert line == f"greenroom: {part} {extra_needed(extra)}"


def test_module_is_the_command(bare: Environment, folder: Path) -> None:
    """``python -m transport`` does the same as ``greenroom``."""
    for arguments in (["--version"], ["settings"], ["--help"]) if SOAK else (["settings"],):
        command, module = (
            bare.run(folder, *name, *arguments) for name in (["greenroom"], ["python", "-m", "transport"])
        )
        assert (command.returncode, command.stdout) == (module.returncode, module.stdout)
        assert (command.returncode, module.stderr) == (0, "")


@pytest.mark.parametrize("name", ["actors.py", "actors/__init__.py"])
def test_file_that_hides_a_package(bare: Environment, folder: Path, name: str) -> None:
    """If a user's file would be imported instead of a Greenroom package of the same name, an error names this file.

    The error is one line, and advises to rename the file.
    """
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("raise AssertionError('imported')")
    told = f"greenroom: {file} hides a package of Greenroom of the same name: give it another name"
    assert refusal(bare, folder, "python", "-m", "transport", "settings") == told
    assert refusal(bare, folder, "greenroom", "settings", PYTHONPATH=str(folder)) == told
    failed = bare.run(folder, "python", "-c", "import transport")
    assert failed.stderr.splitlines()[-1] == f"ImportError: {told.removeprefix('greenroom: ')}"


@pytest.mark.parametrize("package", ["actors", "transport"])
def test_file_that_is_hidden_by_a_package(bare: Environment, folder: Path, package: str) -> None:
    """If the file of a user's app has the same name as a package of Greenroom, ``serve`` cannot import it.

    ``serve`` then prints one line that names the file and advises to rename it. Other apps in the folder still work.
    """
    file = folder / f"{package}.py"
    file.write_text("app = 1")
    told = f"greenroom: {file} is hidden by a package of Greenroom of the same name: give it another name"
    assert refusal(bare, folder, "greenroom", "serve", f"{package}:app") == told
    assert bare.run(folder, "greenroom", "settings", "app:app").returncode == 0  # other apps in this folder work


def test_folder_that_is_hidden_by_a_package(bare: Environment, folder: Path) -> None:
    """If an app imports from the user's own folder ``actors``, Python finds Greenroom's package instead.

    ``serve`` then prints one line that names the folder and advises to rename it.
    """
    own = folder / "actors"
    own.mkdir()
    (own / "__init__.py").write_text("class Mine: ...")
    told = f"greenroom: {own} is hidden by a package of Greenroom of the same name: give it another name"
    for line in ("from actors.mine import Mine", "from actors import Mine"):
        (folder / "own.py").write_text(line)
        assert refusal(bare, folder, "greenroom", "serve", "own:app") == told


def test_plain_folder_hides_nothing(bare: Environment, folder: Path) -> None:
    """A folder ``actors`` without ``__init__.py`` hides no package, and is no error."""
    (folder / "actors").mkdir()
    assert bare.run(folder, "python", "-m", "transport", "settings", "app:app").returncode == 0
