"""``greenroom settings`` prints each setting, the source of its value and its default."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from transport.cli import main
from transport.settings import DEFAULTS, NAMES

if TYPE_CHECKING:
    from pathlib import Path

APP = """
from transport import Greenroom
app = Greenroom(log="memory:", settings={"ring_events": 7, "allowed_origins": ["https://a.example", "https://b.example"]})
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a settings file and an app."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GREENROOM_PORT", "9000")
    (tmp_path / "greenroom.toml").write_text('host = "127.0.0.2"\nping_seconds = 3\n')
    (tmp_path / "settings_app.py").write_text(APP)
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command and return its output."""
    assert main(["settings", *arguments]) == 0
    return capsys.readouterr().out


@pytest.mark.usefixtures("folder")
def test_each_setting_has_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    """``settings --json`` prints one line of JSON for each setting, with its value, source and default."""
    lines = [json.loads(line) for line in printed(capsys, "--json", "--set", "ping_seconds=4").splitlines()]
    assert [line["name"] for line in lines] == list(NAMES)
    found: dict[str, Any] = {line["name"]: (line["value"], line["source"]) for line in lines}
    assert found["host"] == ("127.0.0.2", "greenroom.toml")
    assert found["port"] == (9000, "GREENROOM_PORT")
    assert found["ping_seconds"] == (4, "--set")
    assert found["pong_seconds"] == (DEFAULTS["pong_seconds"], "default")
    assert found["ring_events"] == (1024, "default")
    assert next(line["default"] for line in lines if line["name"] == "port") == 8765


@pytest.mark.usefixtures("folder")
def test_keywords_of_an_app(capsys: pytest.CaptureFixture[str]) -> None:
    """If ``settings`` gets the name of an app, it also shows the values that the app sets in its code.

    An app sets them as keywords of ``Greenroom(settings=…)``.
    """
    lines = [json.loads(line) for line in printed(capsys, "settings_app:app", "--json").splitlines()]
    found: dict[str, Any] = {line["name"]: (line["value"], line["source"]) for line in lines}
    assert found["ring_events"] == (7, "keyword")
    assert found["log"] == ("memory:", "keyword")
    assert found["port"] == (9000, "GREENROOM_PORT")


def test_log_object_of_an_app(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If the app has a log object, ``settings`` shows the class of this object as the value of ``log``.

    If the command line names a log, ``settings`` shows this log instead.
    """
    (folder / "log_app.py").write_text("from actors import MemoryLog\nfrom transport import Greenroom\n")
    with (folder / "log_app.py").open("a") as app:
        app.write("app = Greenroom(log=MemoryLog())\n")
    for arguments, expected in (
        ([], ("<MemoryLog>", "keyword")),
        (["--set", "log=sqlite:x.db"], ("sqlite:x.db", "--set")),
    ):
        lines = map(json.loads, printed(capsys, "log_app:app", "--json", *arguments).splitlines())
        assert [(line["value"], line["source"]) for line in lines if line["name"] == "log"] == [expected]


@pytest.mark.usefixtures("folder")
def test_infinite_time_is_no_null(capsys: pytest.CaptureFixture[str]) -> None:
    """If a time is infinite, ``settings`` shows it as ``inf``, both in the table and in JSON.

    In JSON it is not null, because null means that the setting has no value.
    """
    lines = map(json.loads, printed(capsys, "--json", "--set", "retain_seconds=inf").splitlines())
    assert [line["value"] for line in lines if line["name"] == "retain_seconds"] == ["inf"]
    table = printed(capsys, "--set", "retain_seconds=inf").splitlines()
    assert [line.split() for line in table if line.startswith("retain_seconds")] == [
        ["retain_seconds", "inf", "--set", "604800"]
    ]


@pytest.mark.usefixtures("folder")
def test_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    """Without ``--json``, ``settings`` prints a table. Its columns are aligned, and no value is cut."""
    title, *lines = printed(capsys, "settings_app:app").splitlines()
    assert title.split() == ["setting", "value", "source", "default"]
    assert [line.split()[0] for line in lines] == list(NAMES)
    column = title.index("source")
    words = {line[column:].split()[0] for line in lines if not re.search(r"redact_keys|allowed_origins", line)}
    assert words == {"default", "greenroom.toml", "GREENROOM_PORT", "keyword"}
    origins = next(line for line in lines if line.startswith("allowed_origins"))
    assert origins.split()[1:] == ["https://a.example,https://b.example", "keyword", "none"]


def test_log_level_before_and_after_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--log-level`` may stand before or after the command. If it is given twice, the one after the command counts."""
    levels: list[str] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("logging.basicConfig", lambda **options: levels.append(options["level"]))
    for arguments in (
        ["settings"],
        ["--log-level", "debug", "settings"],
        ["settings", "--log-level", "info"],
        ["--log-level", "debug", "settings", "--log-level", "error"],
    ):
        assert main(arguments) == 0
    assert levels == ["WARNING", "DEBUG", "INFO", "ERROR"]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """``--version`` prints the name and the version, and ends with 0."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert re.fullmatch(r"greenroom \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.usefixtures("folder")
def test_operator_token_is_hidden(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The value of ``operator_token`` is not printed, only that there is one."""
    monkeypatch.setenv("GREENROOM_OPERATOR_TOKEN", "a-secret-of-many-letters")
    for arguments in ([], ["--json"]):
        text = printed(capsys, *arguments)
        assert ("a-secret-of-many-letters" in text, text.count("[hidden]")) == (False, 1)
