"""The requests of commands to a server's inspector: each failure is one line that says what to do."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from _ports import held_port, number_of

from actors import ConfigError
from transport.cli import main
from transport.cli._operator import Operator

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "an operator's token"


@contextmanager
def answering(status: int, body: bytes) -> Iterator[tuple[str, list[tuple[str, str, dict[str, str], bytes]]]]:
    """Serve one answer to every request. Yield the URL, and a list of the requests."""
    asked: list[tuple[str, str, dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append((self.command, self.path, dict(self.headers.items()), sent))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the name is http.server's

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", asked
        finally:
            server.shutdown()
            thread.join()


def test_request() -> None:
    """A request has the token, the header that a page of another site cannot send, and its arguments."""
    with answering(200, b'{"cancelled":true}') as (url, asked):
        assert Operator(url, TOKEN).post("runs/cancel", user="ann") == {"cancelled": True}
        assert Operator(f"{url}sub/").get("runs", user="a b", after=None) == {"cancelled": True}
    (method, path, headers, body), (_, second, more, _) = asked
    assert (method, path, body) == ("POST", "/inspect/api/runs/cancel", b'{"user":"ann"}')
    assert (headers["Authorization"], headers["X-Requested-With"]) == (f"Bearer {TOKEN}", "greenroom")
    assert (second, "Authorization" in more) == ("/sub/inspect/api/runs?user=a+b", False)
    assert TOKEN not in repr(Operator(url, TOKEN))


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (404, b"<html>", r"has no inspector \(HTTP 404\): is it the address of a server's pages\?"),
        (404, b"[]", r"has no inspector"),
        (403, b'{"error":{"code":"off","message":"set operator_token"}}', "set operator_token$"),
        (401, b'{"error":{"code":"wrong_token","message":"no"}}', "no; give --operator-token, or GREENROOM_OPERATOR"),
    ],
)
def test_refusals(status: int, body: bytes, told: str) -> None:
    """A refusal is told with its message, and with what to do about a token."""
    with answering(status, body) as (url, _), pytest.raises(ConfigError, match=told):
        Operator(url).get("overview")


def test_server_that_is_not_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A port without a server, a server that does not answer, and a wrong address are each one line, within 3 s."""
    monkeypatch.setattr("transport.cli._operator.SECONDS", 0.05)
    with held_port() as dead, socket.create_server(("127.0.0.1", 0)) as silent:
        urls = f"http://127.0.0.1:{number_of(dead)}/", f"http://127.0.0.1:{silent.getsockname()[1]}/", "ws://x/"
        for url in urls:
            assert main(["cancel", "ann", "s1", "r", "--url", url]) == 2
    refused, waited, wrong = capsys.readouterr().err.splitlines()
    assert refused == f"greenroom: cannot connect to {urls[0]}: Connection refused"
    assert waited == f"greenroom: {urls[1]} does not answer within 0.05 s"
    assert wrong == "greenroom: 'ws://x/' is no address of pages: give http://HOST:PORT/"
