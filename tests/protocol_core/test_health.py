"""The answers to /healthz and /readyz, and the requests that ask for them."""

from __future__ import annotations

import orjson
import pytest

from transport.protocol.health import Health, Probe, answer, probe_in, whole_answer

REASON = "the server is shutting down"


@pytest.mark.parametrize(
    ("head", "probe"),
    [
        (b"GET /healthz HTTP/1.1", Probe("/healthz")),
        (b"GET /readyz HTTP/1.1", Probe("/readyz")),
        (b"HEAD /readyz HTTP/1.1", Probe("/readyz", is_head=True)),
        (b"GET /readyz?verbose HTTP/1.1", Probe("/readyz")),
        (b"GET http://box.example:8765/healthz HTTP/1.1", Probe("/healthz")),
        (b"GET http:///healthz HTTP/1.1", None),
        (b"GET /readyz HTTP/1.1\r\nUpgrade: websocket", None),
        (b"GET /readyz HTTP/1.1\r\nuPGRADE :websocket", None),
        (b"GET /health HTTP/1.1", None),
        (b"GET /healthz/ HTTP/1.1", None),
        (b"GET //healthz HTTP/1.1", None),
        (b"GET /healthz2 HTTP/1.1", None),
        (b"POST /healthz HTTP/1.1", None),
        (b"GET / HTTP/1.1\r\nX: GET /healthz HTTP/1.1", None),
    ],
)
def test_requests_for_health(head: bytes, probe: Probe | None) -> None:
    """A GET or HEAD of one of the two paths, without a request for an upgrade, asks for the health of the server."""
    assert probe_in(head + b"\r\nHost: x\r\n\r\n") == probe


@pytest.mark.parametrize(
    ("health", "healthz", "readyz"),
    [
        (Health(), "", ""),
        (Health(unready=REASON), "", REASON),
        (Health(failed=REASON), REASON, REASON),
        (Health(failed=REASON, unready="no"), REASON, REASON),
    ],
)
def test_answers(health: Health, healthz: str, readyz: str) -> None:
    """A server that takes no clients is alive but not ready. A server that has failed is neither."""
    for path, reason in (("/healthz", healthz), ("/readyz", readyz)):
        body = {"status": "unavailable", "reason": reason} if reason else {"status": "ok"}
        status, text = answer(path, health)
        assert (status, orjson.loads(text)) == (503 if reason else 200, body)


def test_whole_answer() -> None:
    """The answer to HEAD has the same head as the answer to GET, and no body. No answer may be stored."""
    whole = whole_answer(Probe("/readyz"), Health(unready=REASON))
    head, _, body = whole.partition(b"\r\n\r\n")
    assert whole_answer(Probe("/readyz", is_head=True), Health(unready=REASON)) == head + b"\r\n\r\n"
    first, *fields = head.decode().split("\r\n")
    assert first == "HTTP/1.1 503 Service Unavailable"
    assert set(fields) == {
        "Content-Type: application/json",
        "Cache-Control: no-store",
        "Connection: close",
        f"Content-Length: {len(body)}",
    }
