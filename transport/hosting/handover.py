"""The hand-over of sockets, for uvicorn: ``uvicorn main:api --ws transport.hosting.handover:Protocol``.

A request for a WebSocket goes through the web application as always: through its middleware, its routers and the
function that finds the user. When it reaches a mounted endpoint, the connection's socket is given to the endpoint,
which answers the request and serves the connection as one of a port of its own. All rules of such connections hold,
and each costs less memory and time than through ASGI. Uvicorn's usual protocol serves all other WebSockets of the web
application, and those of a server with TLS of its own.

The hand-over uses private parts of uvicorn. With a version of uvicorn that it was not tested with, or without the
package ``websockets``, a line in the log says so, and all WebSockets go through ASGI.
"""

from __future__ import annotations

import logging
import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import uvicorn

from actors.failures import log_line

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("greenroom.hosting")

OLDEST, NEWEST = (0, 38), (0, 54)
"""The versions of uvicorn with which the hand-over was tested: major and minor numbers, inclusive."""


def protocol_for(version: str) -> Callable[..., Any] | None:
    """Return the protocol that hands sockets over. Return uvicorn's own, with a warning, for an untested version."""
    if not OLDEST <= _numbers(version) <= NEWEST:
        tested = f"{_text(OLDEST)} to {_text(NEWEST)}"
        reason = f"the hand-over was tested with uvicorn {tested}, and this is uvicorn {version}"
    elif find_spec("websockets") is None:
        reason = "the package websockets is not installed"
    else:
        from transport.hosting._uvicorn import Protocol as HandingOver  # noqa: PLC0415 - it imports websockets

        return HandingOver
    log_line(logger, logging.WARNING, "WebSockets go through ASGI, and no socket is handed over: %s", reason)
    # Only here: older versions import packages with it that sans-I/O protocols do without.
    from uvicorn.protocols.websockets.auto import AutoWebSocketsProtocol  # noqa: PLC0415 - as said

    return AutoWebSocketsProtocol


def _numbers(version: str) -> tuple[int, ...]:
    """Return the major and the minor number of a version."""
    return tuple(map(int, re.findall(r"\d+", version)[:2]))


def _text(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


Protocol = protocol_for(uvicorn.__version__)
"""The protocol for ``--ws``."""
