"""Options that several commands have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transport._sources import Given, from_assignments, read_text
from transport.settings import DEFAULT_HOST, DEFAULT_HTTP_PORT, DEFAULT_PORT, DEFAULTS, Settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import TypeAlias

    from actors.eventlog import ValkeyOptions

    AddParser: TypeAlias = Callable[..., argparse.ArgumentParser]

LEVELS = ("debug", "info", "warning", "error")
"""The values of ``--log-level``."""
DEFAULT_LEVEL = "warning"

_OWN_OPTIONS = ("host", "port", "http_port", "log", "tls_cert", "tls_key", "workers")
"""The settings that have an option of their own: ``--host``, ``--port``, ``--http-port`` …"""


def add_log_level(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the option ``--log-level`` to the parser of the program or of one command.

    The ``default`` for a command is ``argparse.SUPPRESS``. Otherwise the command's default would replace a level that
    stands before the command.
    """
    text = f"least level of the lines on stderr: {', '.join(LEVELS)} (default: {DEFAULT_LEVEL})"
    parser.add_argument("--log-level", default=default, choices=LEVELS, metavar="LEVEL", help=text)


def add_settings_option(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--set NAME=VALUE``, which may be repeated."""
    text = "a setting, as `greenroom settings` lists them; may be repeated"
    parser.add_argument("--set", dest="assignments", action="append", default=[], metavar="NAME=VALUE", help=text)


def add_server_options(parser: argparse.ArgumentParser, log: str) -> None:
    """Add the options of a server: its host, its ports, its log and its settings.

    ``log`` is the text that the help shows as the default of ``--log``.
    """
    parser.add_argument("--host", help=f"address to listen on (default: {DEFAULT_HOST})")
    parser.add_argument("--port", help=f"WebSocket port, 0 for a free one (default: {DEFAULT_PORT})")
    parser.add_argument("--http-port", help=f"port of the pages, 0 for a free one (default: {DEFAULT_HTTP_PORT})")
    parser.add_argument("--log", metavar="URL", help=f"memory:, sqlite:PATH or valkey://HOST:PORT (default: {log})")
    parser.add_argument("--tls-cert", metavar="FILE", help="TLS certificate of both ports, in PEM (default: no TLS)")
    parser.add_argument("--tls-key", metavar="FILE", help="private key of --tls-cert, in PEM (default: in its file)")
    add_settings_option(parser)


def valkey_options(url: str) -> ValkeyOptions | None:
    """Return the options of a log in Valkey from the environment and ``greenroom.toml``; None for any other log."""
    return Settings.load().valkey_options() if url.startswith("valkey") else None


def settings_in(options: argparse.Namespace) -> list[Given]:
    """Return the settings on the command line. A setting's own option, such as ``--port``, wins over ``--set``.

    Raises:
        ConfigError: ``--set`` names no setting.
    """
    given = from_assignments(options.assignments, DEFAULTS)
    for name in _OWN_OPTIONS:
        text: str | None = getattr(options, name, None)
        if text is not None:
            given.append(Given(name, read_text(text, DEFAULTS[name]), f"--{name.replace('_', '-')}"))
    return given
