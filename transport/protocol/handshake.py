"""The beginning of a connection, and the order of frames in it, as a state machine (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs

from transport.protocol.frames import BadFrame, ClientFrame, Hello, parse

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

SUBPROTOCOL = "greenroom.v1"
SERVED = (SUBPROTOCOL,)
PATH = "/"


@attrs.frozen
class Accept:
    """Upgrade, echoing ``subprotocol`` where one was offered."""

    subprotocol: str | None


@attrs.frozen
class Reject:
    """Answer the upgrade with an HTTP error."""

    status: int
    body: str


def upgrade(*, path: str, offered: Sequence[str], origin: str | None, allowed: Collection[str]) -> Accept | Reject:
    """Decide what an upgrade request gets. ``allowed`` origins are written as by :func:`normal_origin`.

    A client without an Origin is no browser and passes: what a user may read is decided by the token, not by the page.
    """
    if path.partition("?")[0] != PATH:
        return Reject(404, f"there is nothing at this path; the endpoint is {PATH}")
    if origin is not None and normal_origin(origin) not in allowed:
        return Reject(403, "this origin is not allowed")
    if not offered:
        return Accept(None)
    known = next((name for name in offered if name in SERVED), None)
    if known is None:
        return Reject(400, f"none of the offered subprotocols is served; served: {', '.join(SERVED)}")
    return Accept(known)


def normal_origin(origin: str) -> str:
    """Write an origin as it is compared: in lower case, without a default port (RFC 6454, section 4).

    What is no scheme with a host (``null``, or a setting without its scheme) is equal to nothing but itself.
    """
    try:
        parts = urlsplit(origin.strip())
        port = parts.port
    except ValueError:
        return origin
    host = parts.hostname
    if not parts.scheme or not host:
        return origin
    host = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{host}" + (f":{port}" if port is not None and port != default else "")


class Conversation:
    """What may come when: a hello first and once, then everything else."""

    __slots__ = ("greeted",)

    def __init__(self) -> None:
        self.greeted = False
        """Whether the hello has come."""

    def receive(self, text: str) -> ClientFrame:
        """Read the client's next frame; raise :class:`.frames.BadFrame` for none, and out of order."""
        frame = parse(text)
        if isinstance(frame, Hello) == self.greeted:
            raise BadFrame("a second hello" if self.greeted else "a frame before hello")
        self.greeted = True
        return frame
