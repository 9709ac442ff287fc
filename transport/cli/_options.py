"""Options that several commands have."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from transport.app import DEFAULT_HOST, DEFAULT_PORT

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from transport.http.serving import Address

    AddParser: TypeAlias = Callable[..., argparse.ArgumentParser]

DEFAULT_HTTP_PORT = 8766


def add_server_options(parser: argparse.ArgumentParser, log: str) -> None:
    """Add the options of a server: its host, its ports and its log, with ``log`` named as the default."""
    parser.add_argument("--host", default=DEFAULT_HOST, help="address to listen on (default: %(default)s)")
    port = "WebSocket port, 0 for a free one (default: %(default)s)"
    http = "port of the pages, 0 for a free one (default: %(default)s)"
    parser.add_argument("--port", type=_port, default=DEFAULT_PORT, help=port)
    parser.add_argument("--http-port", type=_port, default=DEFAULT_HTTP_PORT, help=http)
    parser.add_argument("--log", metavar="URL", help=f"memory: or sqlite:PATH (default: {log})")


def address_in(options: argparse.Namespace) -> Address:
    """Return the address of the server. Needs the extra ``http``."""
    from transport.http.serving import Address  # noqa: PLC0415 - the other commands run without the extra

    return Address(host=options.host, port=options.port, http_port=options.http_port)


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 0 <= port < 1 << 16:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text!r}")
    return port
