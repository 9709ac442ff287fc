"""The answers to ``/healthz`` and ``/readyz``, by which machines ask whether a server works (pure).

Both ports give the same answers. An answer has no numbers, since strangers can read it.
"""

from __future__ import annotations

import re
from http import HTTPStatus

import attrs
import orjson

HEALTHZ, READYZ = "/healthz", "/readyz"
"""``/healthz`` asks whether the process works, or must be started again. ``/readyz`` asks whether it takes clients."""
HEADERS = {"Content-Type": "application/json", "Cache-Control": "no-store"}
"""The headers of each answer. An old answer would be wrong, so it must not be stored."""
_PROBE = re.compile(rb"(GET|HEAD) (?:[Hh][Tt][Tt][Pp][Ss]?://[^/?# ]+)?(/healthz|/readyz)(?:\?[^ ]*)? HTTP/1\.1\r\n")
_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:", re.IGNORECASE)


@attrs.frozen
class Health:
    """The health of a server at one moment."""

    failed: str = ""
    """The reason why the process must be started again. "" if it works."""
    unready: str = ""
    """The reason why the server takes no new clients now. "" if it takes them."""


@attrs.frozen
class Probe:
    """A request for ``/healthz`` or ``/readyz``."""

    path: str
    is_head: bool = False
    """Whether only the head of the answer is asked for (HEAD)."""


def probe_in(head: bytes) -> Probe | None:
    """Return the probe in the head of a plain HTTP request. Return None if the head is any other request."""
    found = _PROBE.match(head)
    if found is None or _UPGRADE.search(head):
        return None
    return Probe(found[2].decode(), found[1] == b"HEAD")


def answer(path: str, health: Health) -> tuple[int, bytes]:
    """Return the HTTP status and the body (JSON) of the answer to a request for ``path``."""
    reason = health.failed or (health.unready if path == READYZ else "")
    if reason:
        return HTTPStatus.SERVICE_UNAVAILABLE, orjson.dumps({"status": "unavailable", "reason": reason})
    return HTTPStatus.OK, orjson.dumps({"status": "ok"})


def whole_answer(probe: Probe, health: Health) -> bytes:
    """Return the answer to ``probe`` as bytes. After these bytes the caller must close the connection."""
    status, body = answer(probe.path, health)
    fields = {**HEADERS, "Connection": "close", "Content-Length": str(len(body))}
    head = (f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in fields.items()))
    return "\r\n".join((*head, "", "")).encode() + (b"" if probe.is_head else body)
