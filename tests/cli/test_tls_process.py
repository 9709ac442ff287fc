"""A server process with TLS on both ports: its ready line, its pages, and a new certificate at SIGHUP."""

from __future__ import annotations

import signal
import ssl
import urllib.request
from typing import TYPE_CHECKING

import pytest
from _tls import Authority
from _tls_client import tls_client
from cli.test_process import PATIENCE, running_command

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path


def certificate_at(url: str) -> str:
    """Return the certificate that the server at a URL shows."""
    return ssl.get_server_certificate(("127.0.0.1", int(url.rstrip("/").rpartition(":")[2])), timeout=PATIENCE)


def line_with(server: subprocess.Popen[str], part: str) -> str:
    """Read the lines on stderr up to one that has this part, and return that line."""
    assert server.stderr is not None
    return next(line for line in server.stderr if part in line)


def test_sighup(tmp_path: Path) -> None:
    """At SIGHUP both ports get the new certificate, and open connections go on. A broken certificate is not taken.

    The pages are served by HTTPS, and may connect to the endpoint.
    """
    authority = Authority(tmp_path)
    files = authority.issue()
    context = authority.trusting()
    options = ("serve", "good:app", "--port", "0", "--http-port", "0", "--tls-cert", files["tls_cert"])
    with running_command(tmp_path, "--log-level", "info", *options, "--tls-key", files["tls_key"]) as server:
        assert server.stdout is not None
        ready, url, pages = server.stdout.readline().split()
        assert (ready, url[:16], pages[:18]) == ("ready", "wss://127.0.0.1:", "https://127.0.0.1:")
        with urllib.request.urlopen(f"{pages}config", context=context, timeout=PATIENCE) as answer:  # noqa: S310 - our own server
            assert url in answer.read().decode()
        with tls_client(url, context, pages.rstrip("/")) as client:
            client.send('{"type":"hello","session":"s1"}')
            assert '"welcome"' in client.receive()
            before = certificate_at(url)
            assert certificate_at(pages) == before
            authority.issue()
            server.send_signal(signal.SIGHUP)
            line_with(server, "was read again")
            after = certificate_at(url)
            assert after != before
            assert certificate_at(pages) == after
            (tmp_path / "server.key").write_text("broken")
            server.send_signal(signal.SIGHUP)
            assert "tls_cert" in line_with(server, "the old TLS certificate stays in use")
            assert certificate_at(url) == after
            client.ping()
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=PATIENCE)
        assert server.returncode == 0


def test_tail_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    """``greenroom tail --ca FILE`` trusts a server with a certificate of this authority. A wrong file is an error."""
    authority = Authority(tmp_path)
    files = authority.issue()
    serve = ("serve", "good:app", "--port", "0", "--http-port", "0", "--tls-cert", files["tls_cert"])
    with running_command(tmp_path, *serve, "--tls-key", files["tls_key"]) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split()[1]
        with running_command(tmp_path, "tail", "s1", "--url", url, "--ca", str(authority.file())) as tail:
            line_with(tail, "connected: waiting for events")
        with running_command(tmp_path, "tail", "s1", "--url", url, "--ca", files["tls_key"]) as tail:
            assert "--ca: " in tail.communicate(timeout=PATIENCE)[1]
            assert tail.returncode == 2


@pytest.fixture
def usual_sighup() -> Iterator[None]:
    """Let SIGHUP end the processes that the test starts, also if the tests run under ``nohup``, which ignores it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("usual_sighup")
def test_sighup_without_tls(tmp_path: Path) -> None:
    """Without TLS, SIGHUP ends the process, as it ends other programs."""
    with running_command(tmp_path, "serve", "good:app", "--port", "0", "--http-port", "0") as server:
        assert server.stdout is not None
        server.stdout.readline()
        server.send_signal(signal.SIGHUP)
        assert server.wait(PATIENCE) == -signal.SIGHUP
