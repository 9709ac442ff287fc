"""Connections over TLS: both kinds of clients, hostile peers, the certificate and its renewal."""

from __future__ import annotations

import logging
import socket
import ssl
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from _tls import Authority
from _tls_client import tls_client
from protocol.raw import frame
from protocol.threaded import PATIENCE
from rfc6455.peer import UPGRADE

from actors import AgentOutput, ConfigError, Run
from transport import Greenroom, connect
from transport.protocol.websocket import close_message
from transport.server import _connection, _trio_wire
from transport.server.tls import RECORD_BYTES, Certificate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from transport import Server

BIG = "x" * (3 * RECORD_BYTES)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority of the tests' own."""
    return Authority(tmp_path)


def app_with(authority: Authority, **settings: object) -> Greenroom:
    """Return an app with an agent that repeats a text, on a free port with TLS."""
    app = Greenroom(log="memory:", settings={"port": 0, **authority.issue(), **settings})

    @app.agent
    async def repeat(run: Run, times: int) -> None:
        for _ in range(times):
            await run.output(BIG)

    return app


@pytest.fixture
async def server(authority: Authority) -> AsyncIterator[Server]:
    """A server with TLS."""
    async with app_with(authority).running() as running:
        yield running


def port_of(server: Server) -> int:
    """Return the port of a server."""
    return int(server.url.rstrip("/").rpartition(":")[2])


async def test_python_client(authority: Authority, server: Server) -> None:
    """The Python client follows a session over TLS. Events that are larger than a record of TLS arrive whole."""
    assert server.url.startswith("wss://127.0.0.1:")
    async with connect(server.url, "s1", ssl_context=authority.trusting()) as client:
        await client.start("repeat", 20)
        texts = []
        async for event in client.events():
            if isinstance(event, AgentOutput):
                texts.append(event.text)
            if event.type == "agent_completed":  # type: ignore[union-attr]  # no reset comes here
                break
    assert texts == [BIG] * 20


async def test_slow_reader(authority: Authority, server: Server) -> None:
    """A client that reads late gets every byte: what the network did not take is sent when it can be."""
    async with connect(server.url, "s1", ssl_context=authority.trusting()) as client:
        await client.start("repeat", 200)
        async with connect(server.url, "s1", ssl_context=authority.trusting(), buffer_bytes=1, patience=60) as late:
            count = 0
            async for event in late.events():
                count += isinstance(event, AgentOutput) and event.text == BIG
                if count == 200:
                    break
                await trio.lowlevel.checkpoint()


def refused(server: Server, context: ssl.SSLContext, data: bytes) -> bytes:
    """Send a request for a WebSocket and then ``data``. Return everything that the server sends, up to its end."""
    with (
        socket.create_connection(("127.0.0.1", port_of(server)), PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        client.sendall(UPGRADE)
        assert client.recv(RECORD_BYTES).startswith(b"HTTP/1.1 101")
        client.sendall(data)
        words = b""
        while more := client.recv(RECORD_BYTES):
            words += more
        client.sendall(data)
        return words


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_last_words(
    authority: Authority, server: Server, version: ssl.TLSVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client whose frame is refused reads why, and the end of the stream, while it still sends much over TLS."""
    monkeypatch.setattr(_trio_wire, "LINGER_SECONDS", 3 * PATIENCE)
    context = authority.trusting()
    context.maximum_version = version
    data = frame(3) + b"x" * 1_000_000
    words = await trio.to_thread.run_sync(partial(refused, server, context, data))
    assert words.endswith(close_message(1002, words[words.rindex(b"\x88") + 4 :].decode()))


def converse(url: str, context: ssl.SSLContext) -> tuple[str, str | None]:
    """Say hello by another library. Return the answer, and the agreed version of TLS."""
    with tls_client(url, context) as client:
        client.send('{"type":"hello","session":"s1"}')
        return client.receive(), client.version


async def test_foreign_client(authority: Authority, server: Server) -> None:
    """A client of another library gets a welcome over TLS 1.2 and 1.3. An older version is refused."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = authority.trusting()
        context.minimum_version = context.maximum_version = version
        answer, agreed = await trio.to_thread.run_sync(converse, server.url, context)
        assert '"welcome"' in str(answer)
        assert agreed == {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[version]
    assert server.certificate is not None
    assert server.certificate.context.minimum_version is ssl.TLSVersion.TLSv1_2


HOSTILE = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "nothing": b"",
    "bytes": b"\x16\x03\x01\x00\xff" + b"\xff" * 255,
    "half a handshake": bytes.fromhex("1603010200010001fc0303"),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
async def test_hostile_peers(
    authority: Authority, server: Server, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    """A peer that speaks no TLS, or leaves in its handshake, ends its own connection only. No warning is logged."""
    async with await trio.open_tcp_stream("127.0.0.1", port_of(server)) as peer:
        # The server may reset the connection, and send an alert before that.
        with trio.fail_after(60), suppress(trio.BrokenResourceError):
            await peer.send_all(data or b"\x16")
            await peer.send_eof()
            async for _ in peer:
                pass
    await trio.to_thread.run_sync(converse, server.url, authority.trusting())
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == []


async def test_peers_that_reset(authority: Authority, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """A peer that resets its connection, in the handshake or after it, leaves nothing behind and nothing in the log."""

    def connect_raw(*, handshake: bool) -> socket.socket:
        raw = socket.create_connection(("127.0.0.1", port_of(server)))
        return authority.trusting().wrap_socket(raw, server_hostname="127.0.0.1") if handshake else raw

    for handshake in (False, True):
        peer = await trio.to_thread.run_sync(partial(connect_raw, handshake=handshake))
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
    with trio.fail_after(60):
        while server.endpoint.statistics().connections or server.endpoint.statistics().accepted < 2:
            await trio.lowlevel.checkpoint()
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == []


async def test_silent_peer_has_the_time_of_a_request(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handshake must end within the time limit of the request. Meanwhile the peer is one of the connections."""
    monkeypatch.setattr(_connection, "UPGRADE_SECONDS", 0.1)
    async with await trio.open_tcp_stream("127.0.0.1", port_of(server)) as peer:
        with trio.fail_after(60):
            while not server.endpoint.statistics().connections:
                await trio.lowlevel.checkpoint()
        await peer.send_all(b"\x16\x03")
        with trio.fail_after(60):
            assert await peer.receive_some() == b""


async def test_new_certificate(authority: Authority, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """After a reload, new connections get the new certificate, and open connections go on.

    If the new files cannot be used, an error is logged and the old certificate stays.
    """
    caplog.set_level(logging.INFO)
    assert server.certificate is not None
    async with connect(server.url, "s1", ssl_context=authority.trusting()) as client:
        await client.start("repeat", 1)
        before = await trio.to_thread.run_sync(certificate_at, port_of(server))
        authority.issue()
        assert server.certificate.reload() is True
        after = await trio.to_thread.run_sync(certificate_at, port_of(server))
        assert before != after
        (authority.folder / "server.pem").write_text("broken")
        assert server.certificate.reload() is False
        assert await trio.to_thread.run_sync(certificate_at, port_of(server)) == after
        await client.start("repeat", 1)
        assert client.statistics().connections == 1
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert errors[0].startswith("the old TLS certificate stays in use: tls_cert: ")


def certificate_at(port: int) -> str:
    """Return the certificate that a server shows."""
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=30)


async def test_wrong_files(authority: Authority, tmp_path: Path) -> None:
    """A certificate that cannot be used is one clear error, and the server does not start."""
    files, other = authority.issue(), authority.issue("other")
    cert, key = files["tls_cert"], files["tls_key"]
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_bytes(encrypt(tmp_path / "server.key"))
    for given, reason in (
        ({"tls_cert": str(tmp_path / "missing")}, r"tls_cert: .*missing cannot be read: No such file"),
        ({"tls_cert": cert, "tls_key": str(tmp_path)}, r"tls_key: .* cannot be read: Is a directory"),
        ({"tls_cert": str(text), "tls_key": key}, r"tls_cert: .* are no certificate and its key"),
        ({"tls_cert": cert}, r"tls_cert: .* are no certificate and its key"),
        ({"tls_cert": cert, "tls_key": other["tls_key"]}, r"tls_key: the key in .* is not that of the certificate"),
        ({"tls_cert": cert, "tls_key": str(encrypted)}, r"tls_key: the key is encrypted"),
        ({"tls_key": key}, r"tls_key needs tls_cert"),
    ):
        with pytest.raises(ConfigError, match=reason):
            async with Greenroom(log="memory:", settings={"port": 0, **given}).running():
                pass
    both = tmp_path / "both.pem"
    both.write_bytes((tmp_path / "server.pem").read_bytes() + (tmp_path / "server.key").read_bytes())
    both.chmod(0o600)
    assert isinstance(Certificate(str(both)), Certificate)


def encrypt(path: Path) -> bytes:
    """Return a private key with a password."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - one test needs it

    key = serialization.load_pem_private_key(path.read_bytes(), None)
    password = serialization.BestAvailableEncryption(b"password")
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, password)


async def test_key_that_others_can_read(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    """A private key that every user of the machine can read causes a warning."""
    files = authority.issue()
    Certificate(files["tls_cert"], files["tls_key"])
    assert caplog.messages == []
    (authority.folder / "server.key").chmod(0o644)
    Certificate(files["tls_cert"], files["tls_key"])
    assert len(caplog.messages) == 1
