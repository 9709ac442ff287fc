"""Wrong input to the command ``greenroom``: one line on standard error, exit status 2, no traceback."""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from _scale import SOAK

from actors import open_log
from transport.cli import main
from transport.demo.library import Library
from transport.server.listening import listen

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., "Done"]

APP = 'from transport import Greenroom\napp = Greenroom(log="memory:")\nnumber = 7\n'
SERVE = ("serve", "good:app", "--port", "0", "--http-port", "0")
TOKEN = ("token", "alice", "--key", "a key that is long enough for HS256")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that contains an app."""
    (tmp_path / "good.py").write_text(APP)
    return tmp_path


@attrs.frozen
class Done:
    """How a command has ended: its exit status, and what it printed."""

    status: int
    out: str
    err: str


@pytest.fixture
def run(
    folder: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Return a function that runs a command in the folder. In ``make soak`` each is a process of its own."""

    def in_this_process(*arguments: str) -> Done:
        """Run the command as its process would. A process takes half a second, and its arguments much less."""
        before = set(sys.modules)
        importlib.invalidate_caches()
        try:
            status = int(main(arguments))
        except SystemExit as end:  # argparse ends the process by itself
            status = int(end.code or 0)
        for name in set(sys.modules) - before:
            del sys.modules[name]  # the next test has an app of the same name
        printed = capfd.readouterr()
        warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
        return Done(status, printed.out, printed.err + "".join(f"{record.getMessage()}\n" for record in warnings))

    if SOAK:
        return lambda *arguments: run_process(folder, *arguments)
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.setattr(Library, "start", lambda _: None)  # the demo would build its index in a thread
    return in_this_process


def run_process(folder: Path, *arguments: str) -> Done:
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "transport", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def refusal(run: Run, *arguments: str) -> str:
    """Run the command, check that it ends with status 2 and one line of error, and return this line."""
    done = run(*arguments)
    assert (done.status, done.out) == (2, ""), done.err
    (line,) = done.err.splitlines()
    assert line.startswith(("greenroom: ", f"greenroom {arguments[0]}: "))
    return line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("serve", "good:absent"), "greenroom: module good has no 'absent'"),
        (("demo", "--set", "nonsense=1"), "greenroom: unknown name in --set: nonsense"),
        (("serve", "good:app", "--port=http"), "--port: port must be a whole number from 0 to 65535"),
    ],
    ids=["an error of serve", "an error of demo", "an error of the parser"],
)
def test_process_is_refused(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    """The process of a wrong command ends with status 2, and prints one line without a traceback."""
    done = run_process(folder, *arguments)
    assert (done.status, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert said in line


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("good", "'good' is not MODULE:APP; did you mean good:app?"),
        ("good.py", "'good.py' is not MODULE:APP; did you mean good:app?"),
        (":app", "':app' is not MODULE:APP"),
        ("good:", "'good:' is not MODULE:APP; did you mean good:app?"),
        (".good:app", "'.good:app' is not MODULE:APP"),
        ("absent:app", "there is no module 'absent'"),
        ("good.inner:app", "there is no module 'good.inner'"),
        ("good:absent", "module good has no 'absent'"),
        ("good:number", "good:number is not a Greenroom"),
    ],
)
def test_missing_app(run: Run, app: str, said: str) -> None:
    """If ``MODULE:APP`` is wrong, ``serve`` prints one line that says which part is wrong, and ends with status 2."""
    assert refusal(run, "serve", app) == f"greenroom: {said}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"ping_seconds = ", "greenroom.toml cannot be read: "),
        (b'name = "\xff"', "greenroom.toml cannot be read: "),
        (b"ping_second = 1", "unknown name in greenroom.toml: ping_second; did you mean ping_seconds?"),
        (b"slow_seconds = -1", "greenroom.toml: slow_seconds must be a number of at least 0.001, not -1"),
        (
            b"[greenroom]\nport = 1",
            "greenroom.toml: [greenroom] is a table, and tables are not used: write each name at ",
        ),
        (b'run_seconds = "60"', "greenroom.toml: run_seconds is a number: write it without quotes, run_seconds = 60"),
        (b'run_seconds = "6O"', "greenroom.toml: run_seconds must be a number"),
        (b"port = 65536", "greenroom.toml: port must be a whole number from 0 to 65535, not 65536"),
    ],
)
def test_bad_settings_file(folder: Path, run: Run, content: bytes, said: str) -> None:
    """If ``greenroom.toml`` is wrong, the command prints one line with the fault, and ends with status 2."""
    (folder / "greenroom.toml").write_bytes(content)
    assert said in refusal(run, *SERVE)


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("ping_second=1", "unknown name in --set: ping_second; did you mean ping_seconds?"),
        ("nonsense=1", "unknown name in --set: nonsense"),
        ("ping_seconds", "--set needs NAME=VALUE, not 'ping_seconds'"),
        ("ping_seconds=-1", "--set: ping_seconds must be a number from 0.001 to 2000000, not -1"),
        ("ring_events=many", "--set: ring_events must be a whole number of at least 1, not 'many'"),
    ],
)
@pytest.mark.parametrize("command", [SERVE, ("demo",), ("settings",), ("tail", "s1")], ids=lambda command: command[0])
def test_bad_assignment(run: Run, command: tuple[str, ...], assignment: str, said: str) -> None:
    """A wrong ``--set`` is refused with one line that says which part is wrong, by every command that has settings."""
    assert refusal(run, *command, "--set", assignment) == f"greenroom: {said}"


def test_wrong_keyword_of_the_app(folder: Path, run: Run) -> None:
    """A wrong keyword of ``Greenroom`` is one line with the file and the line of the call."""
    (folder / "wrong.py").write_text('from transport import Greenroom\n\napp = Greenroom(page="x")\n')
    line = refusal(run, "serve", "wrong:app")
    assert line.startswith("greenroom: wrong.py, line 3: Greenroom() got an unexpected keyword argument 'page'")


@pytest.mark.parametrize("fault", ["1 / 0", "import absent_module", "from math import absent_name"])
def test_failing_app_has_a_short_traceback(folder: Path, fault: str) -> None:
    """An exception of the app's own module has a traceback with the line of the app, and no line of ``importlib``."""
    (folder / "failing.py").write_text(f"{fault}\n")
    done = run_process(folder, "serve", "failing:app")
    assert done.status == 1
    assert 'failing.py", line 1' in done.err
    assert "importlib" not in done.err


@pytest.mark.parametrize(
    ("wanted", "missing"),
    [
        (("--session", "nope"), "no session 'nope'"),
        (("--user", "bob"), "no session of user 'bob'"),
        (("--user", "bob", "--session", "nope"), "no session 'nope' of user 'bob'"),
    ],
)
def test_export_of_an_unknown_session(folder: Path, run: Run, wanted: tuple[str, ...], missing: str) -> None:
    """An export that finds no session of the given name or user says so, and ends with status 1."""

    async def make() -> None:
        async with open_log(f"sqlite:{folder / 'x.db'}"):
            pass

    trio.run(make)
    for arguments, status, line in (((), 0, ""), (wanted, 1, f"greenroom: x.db: there is {missing}\n")):
        assert run("export", "x.db", *arguments) == Done(status, "", line)


def test_model_without_key(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """If neither a key nor a server is set in the environment, ``demo --model`` prints one line and makes no file."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    line = refusal(run, "demo", "--model", "local")
    assert line == "greenroom: --model local needs a key in OPENAI_API_KEY, or a server in OPENAI_BASE_URL"
    assert [path.name for path in folder.iterdir()] == ["good.py"]


@pytest.mark.parametrize("log", ["nonsense", "redis:x", "sqlite:", "sqlite:absent/folder/x.db", "sqlite:x.db?a=1"])
def test_bad_log(folder: Path, run: Run, log: str) -> None:
    """If the log cannot be opened, the command prints one line and ends, and makes no folder for the log."""
    refusal(run, *SERVE, "--log", log)
    assert not (folder / "absent").exists()


@pytest.mark.parametrize(
    ("pages", "said"),
    [
        ("absent", "pages: there is no folder absent"),
        ("good.py", "pages: there is no folder good.py"),
        (".", "pages: . holds the files of the server itself; give the pages a folder of their own"),
    ],
)
def test_bad_pages(folder: Path, run: Run, pages: str, said: str) -> None:
    """A folder of pages that does not exist, or that holds the server's own files, is refused."""
    (folder / "paged.py").write_text(f"from transport import Greenroom\napp = Greenroom(pages={pages!r})\n")
    assert refusal(run, "serve", "paged:app") == f"greenroom: {said}"


@pytest.mark.parametrize("option", ["--port", "--http-port"])
def test_taken_port(run: Run, option: str) -> None:
    """If a port is in use, ``serve`` prints one line with the host and the port, and ends with status 2."""
    (listener,) = listen("127.0.0.1", 0)
    with listener:
        port = listener.getsockname()[1]
        line = refusal(run, *SERVE, option, str(port))
    fault, _, remedy = line.partition("; ")
    assert fault == f"greenroom: cannot listen on 127.0.0.1 port {port}: Address already in use"
    setting = option.removeprefix("--").replace("-", "_")
    assert remedy == f"another server may be running: choose another with {option} or the setting {setting}"


@pytest.mark.parametrize("port", ["-1", "65536", "http", ""])
def test_bad_port(run: Run, port: str) -> None:
    """If a port is not a number from 0 to 65535, ``serve`` prints one line and ends with status 2."""
    assert "--port: port must be a whole number from 0 to 65535" in refusal(run, *SERVE, f"--port={port}")


@pytest.mark.parametrize("seconds", ["nan", "inf", "-inf"])
def test_token_without_expiry(run: Run, seconds: str) -> None:
    """``token`` refuses a lifetime that is not a finite number of seconds, since every token must expire."""
    assert "seconds must be a finite number" in refusal(run, *TOKEN, f"--seconds={seconds}")


def test_token_without_user_or_key(run: Run) -> None:
    """A token with an empty user, or with a key that is empty or too short, is refused."""
    assert "id of a user must be a string of 1 to 256 characters" in refusal(run, "token", "", *TOKEN[2:])
    assert "key of TokenAuth is too short: HS256 needs 32" in refusal(run, "token", "alice", "--key", "k")
    assert "key of TokenAuth is empty" in refusal(run, "token", "alice", "--key", "")
