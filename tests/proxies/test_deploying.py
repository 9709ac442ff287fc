"""DEPLOYING.md as an operator follows it: its units, its image, its proxies, its backup, each taken from the page."""

from __future__ import annotations

import json
import re
import shlex
import socket
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING, Any, cast

import jwt
import pytest
import trio
from _ports import held_port, number_of
from _raw_http import Answer, RawClient, request
from _requires import require
from _scale import SOAK
from browser.quiet import QUIET
from docs.test_document_commands import check_greenroom, check_pip
from protocol.manual_socket import ManualSocket
from protocol.wire import Client
from proxies.deployment import (
    GREENROOM,
    KEY,
    OPERATOR_TOKEN,
    PAGE,
    Deployment,
    deployed,
    deployed_aside,
    docker,
    named,
    values,
)
from proxies.programs import NAME, PATIENCE, Front, proxy, replaced

from actors import AgentCompleted, AgentOutput
from transport import Settings, connect
from transport._sources import from_environment
from transport.settings import DEFAULT_HTTP_PORT, DEFAULT_PORT, DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OPERATOR, STRANGER = "127.0.0.1", "127.0.0.2"
TOKEN = b"Authorization: Bearer " + OPERATOR_TOKEN.encode()
UNITS = ("greenroom.service", "greenroom-backup.service", "greenroom-backup.timer")
PROXY_LANGUAGES = {"nginx": "nginx", "caddy": "caddyfile"}
PROXIES = pytest.mark.parametrize("kind", ["nginx", "caddy"])


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The server of the page, as systemd starts it."""
    with deployed(tmp_path_factory.mktemp("deployed")) as running:
        yield running


def token() -> str:
    """Return the token of a user."""
    return jwt.encode({"sub": "ann", "iat": 1, "exp": 2**32}, KEY, algorithm="HS256")


def proxied(kind: str, folder: Path, deployment: Deployment) -> Any:
    """Return the proxy of the page in front of the server. Operators have the address 127.0.0.1."""

    def edit(_: str) -> str:
        (block,) = (block for block in PAGE.blocks if block.language == PROXY_LANGUAGES[kind])
        text = replaced(block.text, "10.8.0.0/24", OPERATOR)
        if kind == "nginx":
            text = replaced(text, "listen 80;", f"listen unix:{folder}/plain;")
            text = re.sub(r"/etc/letsencrypt/\S+/fullchain\.pem", str(folder / "site.pem"), text)
            text = re.sub(r"/etc/letsencrypt/\S+/privkey\.pem", str(folder / "site.key"), text)
        return text

    return proxy(kind, folder, deployment.ws_port, deployment.http_port, edit)


async def ask(front: Front, path: str, *fields: bytes, source: str = STRANGER) -> Answer:
    """Return the response to a request through the proxy, from an address of this machine."""
    client = RawClient(cast("Any", await front.connect(source)))
    try:
        return await client.ask(request(path, *fields).replace(b"Host: x", b"Host: " + NAME.encode()))
    finally:
        await client.stream.aclose()


@PROXIES
async def test_clients_through_the_proxy(kind: str, tmp_path: Path, deployment: Deployment) -> None:
    """A page gets the address behind the proxy from ``/config``. At that address a run is done for its client.

    The server counts the client by its own address, and operators see it.
    """
    async with proxied(kind, tmp_path, deployment) as front:
        config = await ask(front, "/config")
        url = json.loads(config.body)["ws_url"]
        assert url == f"wss://{NAME}/ws"
        assert f"connect-src 'self' wss://{NAME};".encode() in config.head
        async with await front.connect(STRANGER) as stream:
            socket = ManualSocket(stream, url)
            await socket.open({"Origin": f"https://{NAME}", "X-Forwarded-For": "192.0.2.7"})
            client = Client(socket)
            await client.hello(token=token())
            done = await client.completed(await client.start("1", "echo", "through the proxy"))
            assert done["data"]["result"] == "through the proxy"
            shown = await ask(front, "/inspect/api/connections", TOKEN, source=OPERATOR)
            assert f'"{STRANGER}"'.encode() in shown.body


@PROXIES
async def test_inspector_and_metrics_are_private(kind: str, tmp_path: Path, deployment: Deployment) -> None:
    """The proxy keeps strangers out of the inspector and the metrics, and the server wants a token besides."""
    async with proxied(kind, tmp_path, deployment) as front:
        for path in ("/inspect/", "/inspect", "/inspect/api/me", "/metrics"):
            assert (await ask(front, path, TOKEN)).status == 403
        for path in ("/%69nspect/api/me", "//inspect/api/me", "/x/../inspect/api/me", "/./metrics"):
            assert (await ask(front, path, TOKEN)).status in {400, 403, 404}
        for path in ("/inspect/api/me", "/metrics"):
            assert (await ask(front, path, source=OPERATOR)).status == 401
            assert (await ask(front, path, TOKEN, source=OPERATOR)).status == 200
        assert (await ask(front, "/inspect/", source=OPERATOR)).status == 200
        assert (await ask(front, "/readyz")).status == 200


@PROXIES
async def test_restart_behind_the_proxy(kind: str, tmp_path: Path) -> None:
    """While the server is started again, its client stays, and gets each event once, and runs another agent."""
    with held_port() as one, held_port() as two:
        ports = number_of(one), number_of(two)
        async with proxied(kind, tmp_path, Deployment(tmp_path, *ports)) as front:
            trusting = ssl.create_default_context(cafile=front.authority)
            before = trio.socket.set_custom_hostname_resolver(OnlyLoopback())
            try:
                await outlive_restart(f"wss://{NAME}:{front.port}/ws", trusting, tmp_path, ports)
            finally:
                trio.socket.set_custom_hostname_resolver(before)


async def outlive_restart(url: str, trusting: ssl.SSLContext, folder: Path, ports: tuple[int, int]) -> None:
    """Connect a client, start a run, start the server again, start another run, and check the client's events."""
    async with connect(url, session="s1", token=token(), ssl_context=trusting) as client:
        seen: list[Any] = []
        for word in ("before", "after"):
            async with deployed_aside(folder, *ports):
                with trio.fail_after(PATIENCE):
                    await client.start("echo", word)
                    async for event in client.events():
                        seen.append(event)
                        if isinstance(event, AgentCompleted):
                            break
    assert [event.text for event in seen if isinstance(event, AgentOutput)] == ["before", "after"]
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))


class OnlyLoopback(trio.abc.HostnameResolver):
    """A resolver for which each name means this machine."""

    async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> Any:
        """Return the address of this machine."""
        await trio.lowlevel.checkpoint()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (OPERATOR, int(port)))]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        """Refuse: no client asks for a name."""
        raise NotImplementedError


async def test_http_leads_to_https(tmp_path: Path, deployment: Deployment) -> None:
    """nginx answers a request by HTTP with the address of the same page by HTTPS."""
    async with proxied("nginx", tmp_path, deployment):
        client = RawClient(cast("Any", await trio.open_unix_socket(tmp_path / "plain")))
        answer = await client.ask(request("/page?x=1").replace(b"Host: x", b"Host: " + NAME.encode()))
        assert (answer.status, answer.has(f"location: https://{NAME}/page?x=1".encode())) == (301, True)
        await client.stream.aclose()


def test_timeouts_of_nginx() -> None:
    """The silence that nginx allows a WebSocket is longer than that between two pings."""
    for name in ("proxy_read_timeout", "proxy_send_timeout"):
        (seconds,) = re.findall(rf"{name} (\d+)s;", next(b.text for b in PAGE.blocks if b.language == "nginx"))
        assert int(seconds) > Settings().ping_seconds + Settings().pong_seconds


def test_units(tmp_path: Path) -> None:
    """systemd knows each key and each program of the units."""
    analyze = require("systemd-analyze")
    (tmp_path / "app").mkdir()
    places = Deployment(tmp_path, 0, 0)
    for unit in UNITS:
        (tmp_path / unit).write_text(places.here(named(unit).text).replace("User=greenroom", "User=root"))
    drop_in = tmp_path / "greenroom.service.d"
    drop_in.mkdir()
    (drop_in / "tls.conf").write_text(named("tls.conf").text)
    done = subprocess.run(
        [analyze, "verify", "--man=no", *(str(tmp_path / unit) for unit in UNITS)],
        capture_output=True,
        text=True,
        check=False,
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    own = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "greenroom" in line]
    assert (done.returncode, own) == (0, [])


def test_times_and_files_of_the_unit() -> None:
    """systemd waits for longer than a drain with workers, ends only the parent, and allows the files of all clients."""
    settings = Settings()
    (stop,), (files,) = values("greenroom.service", "TimeoutStopSec"), values("greenroom.service", "LimitNOFILE")
    assert int(stop) > settings.drain_seconds + 30
    assert int(files) > 2 * settings.max_connections
    assert values("greenroom.service", "KillMode") == ["mixed"]
    # Without TLS, SIGHUP ends the server.
    assert (values("greenroom.service", "ExecReload"), len(values("tls.conf", "ExecReload"))) == ([], 1)
    assert set(re.findall(r"(?:stop-timeout |grace_period: |GracePeriodSeconds: )(\d+)", PAGE.text)) == {stop}


def test_commands_and_settings() -> None:
    """Each command of Greenroom on the page is one that it takes, and each environment variable is a setting."""
    lines = [line for unit in UNITS for line in values(unit, "ExecStart") if "/bin/greenroom " in line]
    lines += [line for block in PAGE.blocks if block.language == "sh" for line in block.text.splitlines()]
    assert len(lines) == 4
    for line in lines:
        check_greenroom(shlex.split(line)[1:])
    variables = dict(re.findall(r"\b(GREENROOM_[A-Z_]+)=([^\s`]+)", PAGE.text))
    variables.pop("GREENROOM_OPERATOR_TOKEN")
    assert len(from_environment(variables, DEFAULTS)) == len(variables) > 4


def test_image() -> None:
    """The image installs our wheel, runs the command of the unit as a user without rights, and takes SIGTERM."""
    image = docker()
    known = {"FROM", "COPY", "RUN", "WORKDIR", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "CMD"}
    assert set(image) == known
    (pip,) = (line for line in image["RUN"] if "/pip " in line)
    check_pip(shlex.split(pip)[1:])
    assert image["USER"] == re.findall(r"useradd --uid (\d+) ", named("Dockerfile").text) != ["0"]
    assert image["STOPSIGNAL"] == ["SIGTERM"]
    assert image["EXPOSE"] == [f"{DEFAULT_PORT} {DEFAULT_HTTP_PORT}"]
    variables = dict(each.split("=", 1) for each in image["ENV"][0].split())
    assert variables["GREENROOM_LOG"].startswith(f"sqlite:{image['VOLUME'][0]}/")
    program, *words = json.loads(image["CMD"][0])
    assert program == "greenroom"
    assert values("greenroom.service", "ExecStart") == [f"/opt/app/.venv/bin/greenroom {' '.join(words)}"]


def test_health_check_of_the_image(deployment: Deployment) -> None:
    """The image's check is passed by the running server, and failed if there is none."""
    program, *words = json.loads(docker()["HEALTHCHECK"][0].partition(" CMD ")[2])
    assert program == "python"
    with held_port() as holder:
        for port, passes in ((deployment.http_port, True), (number_of(holder), False)):
            own = [replaced(word, str(DEFAULT_HTTP_PORT), str(port)) if "http" in word else word for word in words]
            done = subprocess.run([sys.executable, *own], check=False, capture_output=True)
            assert (done.returncode == 0) is passes


def test_backup_and_restore(deployment: Deployment) -> None:
    """While the server runs, the unit's commands make a backup with a date. The page's commands restore it."""
    for line in values("greenroom-backup.service", "ExecStart"):
        words = shlex.split(deployment.here(line).replace("$$", "$").replace("%%", "%"))
        subprocess.run(words, check=True, capture_output=True)
    (made,) = (deployment.folder / "greenroom-backups").iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d\.db", made.name)
    (block,) = (block for block in PAGE.blocks if block.language == "sh")
    for line in block.text.splitlines():
        own = re.sub(r"\d{4}-\d\d-\d\d\.db", made.name, line).replace("/var/lib/greenroom/greenroom.db", "/new.db")
        words = shlex.split(deployment.here(own).replace(" /new.db", f" {deployment.folder}/new.db"))
        subprocess.run([str(GREENROOM), *words[1:]], check=True, capture_output=True)
    assert (deployment.folder / "new.db").is_file()


def test_every_block_is_used() -> None:
    """Each block of the page is one that a test of this file uses."""
    known = {*PROXY_LANGUAGES.values(), "python", "toml", "ini", "dockerfile", "sh"}
    assert [block.place for block in PAGE.blocks if block.language not in known] == []
    units = {block.text.split()[1].rstrip(":") for block in PAGE.blocks if block.language == "ini"}
    assert units == {*UNITS, "tls.conf"}


@pytest.mark.timeout(300)  # a browser starts, and the machine may be busy
@pytest.mark.parametrize("kind", ["nginx", "caddy"] if SOAK else ["nginx"])
async def test_pages_through_the_proxy(kind: str, tmp_path: Path, deployment: Deployment) -> None:
    """In a browser, the page at the proxy's own name gets an answer, and the inspector shows the server."""
    chromium = require("chromium")
    async with proxied(kind, tmp_path, deployment) as front:
        await trio.to_thread.run_sync(look, chromium, front.port)


def look(chromium: str, port: int) -> None:
    """Ask the agent on the page, and log in to the inspector. The name of the site means the proxy at this port."""
    from browser.pages import SLOWEST, ConversationPage  # noqa: PLC0415 - after the check that there is a browser
    from playwright.sync_api import expect, sync_playwright  # noqa: PLC0415 - as above

    rules = f"--host-resolver-rules=MAP {NAME}:443 127.0.0.1:{port}"
    with sync_playwright() as own:
        browser = own.chromium.launch(executable_path=chromium, args=[*QUIET[:-1], rules])
        context = browser.new_context(ignore_https_errors=True)  # the test's own authority
        page = ConversationPage(context.new_page(), f"https://{NAME}/#token={token()}")
        page.ask("through the proxy")
        page.expect_status("ok")
        assert page.errors == []
        inspector = context.new_page()
        inspector.goto(f"https://{NAME}/inspect/", timeout=SLOWEST)
        inspector.fill("#login input", OPERATOR_TOKEN, timeout=SLOWEST)
        inspector.keyboard.press("Enter")
        expect(inspector.locator("#state")).to_have_attribute("data-state", "live", timeout=SLOWEST)
        browser.close()
