"""Files and URLs with keys: real files, and real HTTP servers on loopback addresses."""

from __future__ import annotations

import io
import os
import ssl
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from _ports import held_port, number_of
from auth.signing import jwks, pair, seen, token

from transport import AuthUnavailable, NotAuthenticated, TokenAuth
from transport.auth._key_sources import FileSource, UrlSource
from transport.auth._limits import MAX_JWKS_BYTES
from transport.auth._timed_http import TimedReader

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from transport.auth._keys import KeySet

ACCEPTED = ("ES256", "EdDSA")
ONE = jwks(pair("ES256").jwk("ES256", kid="one"))
TWO = jwks(pair("ES256").jwk("ES256", kid="one"), pair("EdDSA").jwk("EdDSA", kid="two"))


def ids(keys: KeySet) -> list[str | None]:
    """Return the ids of keys."""
    return [key.id for key in keys.keys]


# Files


def test_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    """A file is read again when its time, size or inode has changed, and only then."""
    path = tmp_path / "keys.json"
    path.write_bytes(ONE)
    source = FileSource(path, ACCEPTED)
    first = source()
    assert ids(first) == ["one"]
    assert source() is first
    path.write_bytes(TWO)
    assert ids(source()) == ["one", "two"]
    new = tmp_path / "new.json"
    new.write_bytes(ONE)
    new.replace(path)
    third = source()
    assert ids(third) == ["one"]
    os.utime(path, (1, 1))
    assert source() is not third


def test_broken_file_is_read_again_until_it_is_whole(tmp_path: Path) -> None:
    """A file that cannot be used raises an error each time, until it can be used again."""
    path = tmp_path / "keys.json"
    path.write_bytes(ONE)
    source = FileSource(path, ACCEPTED)
    source()
    for broken in (b"", TWO[:-5], TWO.ljust(MAX_JWKS_BYTES + 1)):
        path.write_bytes(broken)
        for _ in range(2):
            with pytest.raises(ValueError, match=r"^it "):
                source()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        source()
    path.write_bytes(TWO)
    assert ids(source()) == ["one", "two"]


def test_pipe_is_not_opened(tmp_path: Path) -> None:
    """A named pipe in place of the file is refused at once: to open it would wait for a writer."""
    path = tmp_path / "keys.json"
    os.mkfifo(path)
    with pytest.raises(ValueError, match="it is not a plain file"):
        FileSource(path, ACCEPTED)()


async def test_key_in_a_changed_file_is_accepted_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After a file has changed, tokens of a new key are accepted at once. A broken file changes nothing."""
    path = tmp_path / "keys.json"
    path.write_bytes(ONE)
    auth = TokenAuth(jwks=path)
    old = seen(token(pair("ES256").private, "ES256", {"kid": "one"}))
    new = seen(token(pair("EdDSA").private, "EdDSA", {"kid": "two"}))
    assert (await auth(old)).id == "alice"
    with pytest.raises(NotAuthenticated, match="no key has its key id"):
        await auth(new)
    path.write_bytes(TWO)
    assert (await auth(new)).id == "alice"
    path.write_bytes(TWO[:-5])
    with pytest.raises(AuthUnavailable):
        await auth(seen(token(pair("EdDSA").private, "EdDSA", {"kid": "three"})))
    assert (await auth(old)).id == "alice"
    assert caplog.messages == [
        f"keys of TokenAuth from {path}: ValueError: it cannot be read as JSON; the keys from before are used"
    ]


# URLs


@contextmanager
def serving(
    answer: Callable[[BaseHTTPRequestHandler], None], tls: ssl.SSLContext | None = None
) -> Generator[tuple[str, list[str]]]:
    """Serve HTTP on a loopback address. Yield the URL of a JWKS, and the list of the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            answer(self)

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_port}/jwks.json", asked
        finally:
            server.shutdown()
            thread.join()


def body(content: bytes, status: int = 200, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """Return a handler that answers with this content."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def test_url_is_fetched() -> None:
    """The keys at a URL are fetched each time that they are loaded."""
    with serving(body(TWO)) as (url, asked):
        source = UrlSource(url, ACCEPTED)
        assert asked == []
        assert ids(source()) == ids(source()) == ["one", "two"]
        assert asked == ["/jwks.json"] * 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(status: int) -> None:
    """A redirect counts as an error, also to the same server: it could lead from https:// to http://."""
    with serving(body(TWO, status, Location="/jwks.json?again")) as (url, asked):
        with pytest.raises(ValueError, match=f"the answer is HTTP {status}"):
            UrlSource(url, ACCEPTED)()
        assert asked == ["/jwks.json"]


@pytest.mark.parametrize("status", [400, 401, 404, 500, 503])
def test_http_error_is_an_error(status: int) -> None:
    """An HTTP error counts as a failure, whatever its body is."""
    with serving(body(TWO, status)) as (url, _), pytest.raises(ValueError, match=f"the answer is HTTP {status}"):
        UrlSource(url, ACCEPTED)()


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"{}", b'{"keys":[]}', b'{"keys":[{}]}'])
def test_answer_without_keys_is_an_error(content: bytes) -> None:
    """An answer that is no JWKS with usable keys counts as a failure: the old keys are not replaced by none."""
    with serving(body(content)) as (url, _), pytest.raises(ValueError, match=r"^(it|none) "):
        UrlSource(url, ACCEPTED)()


def test_answer_may_have_256_kib() -> None:
    """An answer of 256 KiB is read. Of a larger answer no more is read, although it does not end."""

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(10_000):
            handler.wfile.write(b" " * 64 * 1024)
        raise AssertionError("all was read")

    def until_refused(handler: BaseHTTPRequestHandler) -> None:
        with pytest.raises(OSError, match=r"."):
            endless(handler)
        over.set()

    over = threading.Event()
    with serving(body(TWO.ljust(MAX_JWKS_BYTES))) as (url, _):
        assert ids(UrlSource(url, ACCEPTED)()) == ["one", "two"]
    with serving(until_refused) as (url, _):
        with pytest.raises(ValueError, match="it has more than 262144 bytes"):
            UrlSource(url, ACCEPTED)()
        assert over.wait(30)


def test_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer is given up after the time limit."""
    monkeypatch.setattr("transport.auth._key_sources.FETCH_SECONDS", 0.05)
    over = threading.Event()

    def silent(_: BaseHTTPRequestHandler) -> None:
        assert over.wait(30)

    with serving(silent) as (url, _):
        try:
            with pytest.raises(TimeoutError):
                UrlSource(url, ACCEPTED)()
        finally:
            over.set()


class Drip:
    """A socket that has another byte each second, and notes the time limit of each read."""

    def __init__(self, parts: int) -> None:
        self.seconds = 0.0
        self.limits: list[float] = []
        self._parts = parts

    def settimeout(self, seconds: float) -> None:
        """Note the time limit."""
        self.limits.append(seconds)

    def recv_into(self, buffer: Any) -> int:
        """Wait for a second, and read a byte."""
        self.seconds += 1
        self._parts -= 1
        buffer[0] = ord("x")
        return int(self._parts >= 0)


def test_slow_answer_is_given_up() -> None:
    """An answer that comes in small parts is given up after the time limit, which each part does not begin anew."""
    drip = Drip(4)
    with io.BufferedReader(TimedReader(drip, 5.5, lambda: drip.seconds)) as whole:
        assert whole.read() == b"xxxx"
    assert drip.limits == [5.5, 4.5, 3.5, 2.5, 1.5]
    endless = Drip(1_000)
    with (
        io.BufferedReader(TimedReader(endless, 5.5, lambda: endless.seconds)) as file,
        pytest.raises(TimeoutError, match="no complete answer within 5 s"),
    ):
        file.read()
    assert endless.seconds == 6


STARTS = {
    "the status": b"HTTP/1.1 200 OK",
    "the head": b"HTTP/1.1 200 OK\r\nX: ",
    "the body": b"HTTP/1.1 200 OK\r\n\r\n",
    "a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n",
    "the size of a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_server_that_drips(start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends a byte now and then, in any part of its answer, is given up after the time limit."""
    monkeypatch.setattr("transport.auth._key_sources.FETCH_SECONDS", 0.1)
    over = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(start)
        with suppress(OSError):  # the client has left
            while not over.wait(0.005):
                handler.wfile.write(b"0")

    with serving(drip) as (url, _):
        try:
            with pytest.raises(TimeoutError):
                UrlSource(url, ACCEPTED)()
        finally:
            over.set()


def test_nobody_listens() -> None:
    """If nobody listens at the URL, that is an OSError."""
    with held_port() as holder, pytest.raises(OSError, match="refused"):
        UrlSource(f"http://127.0.0.1:{number_of(holder)}/", ACCEPTED)()


def test_certificate_is_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A URL with https:// is fetched only if the certificate of its server is trusted."""
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with serving(body(TWO), tls) as (url, asked):
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            UrlSource(url, ACCEPTED)()
        assert asked == []
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert ids(UrlSource(url, ACCEPTED)()) == ["one", "two"]


def test_loopback_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL with http:// is asked directly, although the environment has a proxy: it may not leave the machine."""
    with serving(body(ONE)) as (proxy, asked_proxy), serving(body(TWO)) as (url, asked):
        monkeypatch.setenv("http_proxy", proxy.removesuffix("/jwks.json"))
        monkeypatch.delenv("no_proxy", raising=False)
        assert ids(UrlSource(url, ACCEPTED)()) == ["one", "two"]
        assert (asked_proxy, len(asked)) == ([], 1)


async def test_url_is_fetched_once_for_many_tokens() -> None:
    """TokenAuth fetches the keys of a URL for the first token, and not again for tokens of these keys.

    A token with an unknown ``kid`` right after a fetch is sent away for now, without a fetch.
    """
    with serving(body(TWO)) as (url, asked):
        auth = TokenAuth(jwks=url)
        for algorithm, kid in (("ES256", "one"), ("EdDSA", "two")):
            assert (await auth(seen(token(pair(algorithm).private, algorithm, {"kid": kid})))).id == "alice"
        with pytest.raises(AuthUnavailable, match="the key of the token is not known yet"):
            await auth(seen(token(pair("EdDSA").private, "EdDSA", {"kid": "three"})))
        assert len(asked) == 1
