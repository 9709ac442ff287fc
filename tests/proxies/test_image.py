"""The image of DEPLOYING.md, carried out without Docker: what it copies, what it installs, how it starts and ends."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
from contextlib import closing
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from _processes import PATIENCE, started
from _shared import shared_wheel
from _wheel import Environment, make_environment
from proxies.deployment import KEY, PAGE, docker, named

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that ``make wheel`` makes."""
    return shared_wheel(tmp_path_factory)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The environment that the image installs: the wheel with the extras of the page."""
    extras = re.findall(r"\[([\w,]+)\]", docker()["RUN"][1])
    return make_environment(tmp_path_factory.mktemp("venv"), wheel, *extras[0].split(","))


def test_copied_files(wheel: Path) -> None:
    """The image copies files of the page and the folder of the wheel, and installs the wheel by its real name."""
    first, environment, own = docker()["COPY"]
    assert shlex.split(first) == ["dist/", "dist/"]
    assert shlex.split(environment) == ["--from=build", "/venv", "/venv"]
    *files, folder = shlex.split(own)
    assert [named(file).text.startswith(f"# {file}\n") for file in files] == [True] * len(files)
    assert docker()["WORKDIR"] == [folder.rstrip("/")]
    assert f"'dist/{wheel.name}[" in docker()["RUN"][1]


def test_ownership_of_the_volume() -> None:
    """The volume is the home of the image's user, so a new volume belongs to this user, whom the page names."""
    (home,) = docker()["VOLUME"]
    (user,) = docker()["USER"]
    assert f"useradd --uid {user} --home-dir {home} --create-home greenroom" in docker()["RUN"]
    assert f"`chown {user}`" in PAGE.text
    assert f"fsGroup: {user}" in PAGE.text


def test_server_of_the_image(installed: Environment, tmp_path: Path) -> None:
    """The image's command serves in the image's environment, without a home, is healthy, and ends at its signal with 0.

    Its log is in the volume, and nothing is written beside the app.
    """
    app, data = tmp_path / "app", tmp_path / "data"
    for folder in (app, data):
        folder.mkdir()
    for name in ("app.py", "greenroom.toml"):
        (app / name).write_text(named(name).text)
    variables = dict(each.split("=", 1) for each in docker()["ENV"][0].split())
    (volume,) = docker()["VOLUME"]
    assert variables["PATH"] == "/venv/bin:$PATH"
    environment = {
        **{name: value.replace(volume, str(data)) for name, value in variables.items()},
        "PATH": f"{installed.folder}/bin:{os.environ['PATH']}",
        "HOME": "/nonexistent",
        "APP_KEY": KEY,
        "GREENROOM_PORT": "0",
        "GREENROOM_HTTP_PORT": "0",
    }
    command = installed.command(*json.loads(docker()["CMD"][0]))
    with started(command, cwd=app, env=environment, stdout=-1) as server:
        assert server.stdout is not None
        ready, _, pages = server.stdout.readline().split()
        assert (ready, urlsplit(pages).hostname) == ("ready", variables["GREENROOM_HOST"])
        for path in ("/healthz", "/readyz"):
            assert answer_of(urlsplit(pages).port or 0, path) == {"status": "ok"}
        server.send_signal(signal.Signals[docker()["STOPSIGNAL"][0]])
        assert server.wait(PATIENCE) == 0
    assert {path.name for path in app.iterdir()} - {"__pycache__"} == {"app.py", "greenroom.toml"}
    assert (data / "greenroom.db").is_file()


def answer_of(port: int, path: str) -> Any:
    """Return the JSON at a path of the pages."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
