"""The ``greenroom`` command."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

import trio

from actors import ConfigError, GreenroomError, RestartLimit
from actors.failures import class_name, describe, text_of
from transport._border import leaves
from transport.app import DEFAULT_HOST, DEFAULT_PORT, Greenroom
from transport.auth import TokenAuth
from transport.cli import log_commands, tail

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from transport.http.serving import Address

    AddParser: TypeAlias = Callable[..., argparse.ArgumentParser]

DEFAULT_HTTP_PORT = 8766
FAILED, USAGE_ERROR = 1, 2
INTERRUPTED, UNREAD = 128 + signal.SIGINT, 128 + signal.SIGPIPE  # as a shell tells of a program that a signal ended


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE_ERROR, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the process's exit status: 0, 1 for a log with faults, 2 after a line on what is wrong.

    1 too, after a line, for a server that failed again and again: its supervisor is to start it anew (systemd,
    Kubernetes). 130 after Ctrl-C, where that is not the way to end it, and 141 where nobody reads what it prints.
    """
    options = _parser().parse_args(arguments)
    level = options.log_level.upper()
    logging.basicConfig(stream=sys.stderr, level=level, format="%(levelname)s %(name)s: %(message)s")
    status = 0
    try:
        status = options.run(options) or 0
    except* KeyboardInterrupt:
        status = INTERRUPTED
    except* BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still in its buffer goes nowhere
        status = UNREAD
    except* RestartLimit as group:
        print(f"greenroom: {_with_cause(group)}", file=sys.stderr)
        status = FAILED
    except* (GreenroomError, OSError) as group:
        print(f"greenroom: {_one_line(group)}", file=sys.stderr)
        status = USAGE_ERROR
    return status


def _one_line(error: BaseException) -> str:
    error = next(leaves(error))
    text = error.strerror if isinstance(error, OSError) and error.strerror and not error.filename else text_of(error)
    return " ".join(text.split()) or class_name(error)


def _with_cause(error: BaseException) -> str:
    cause = next(leaves(error)).__cause__
    return _one_line(error) if cause is None else f"{_one_line(error)}: {' '.join(describe(cause).split())}"


def _parser() -> argparse.ArgumentParser:
    epilog = "example: greenroom demo; what a command takes: greenroom serve --help"
    parser = _Parser(prog="greenroom", description="Every user session a supervised actor.", epilog=epilog)
    levels = ["debug", "info", "warning", "error"]
    parser.add_argument("--log-level", default="warning", choices=levels, help="on stderr (default: %(default)s)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands.add_parser)
    _add_demo(commands.add_parser)
    _add_token(commands.add_parser)
    _add_verify(commands.add_parser)
    _add_export(commands.add_parser)
    _add_tail(commands.add_parser)
    return parser


def _add_serve(add_parser: AddParser) -> None:
    serve = add_parser(
        "serve",
        help="serve an app",
        description="Serve an app until SIGTERM, then drain.",
        epilog="example: greenroom serve app:app --port 8765 --log sqlite:greenroom.db",
    )
    serve.add_argument("app", metavar="MODULE:APP", help="where the app is; the current folder comes first")
    _add_server_options(serve, "sqlite:greenroom.db unless the app says otherwise")
    serve.set_defaults(run=_serve)


def _add_demo(add_parser: AddParser) -> None:
    demo = add_parser(
        "demo",
        help="serve the built-in agent and its page",
        description="Ask the standard library: an agent, its page, and a user of its own for every browser.",
        epilog="example: greenroom demo --http-port 8080",
    )
    _add_server_options(demo, "sqlite:greenroom-demo.db")
    demo.set_defaults(run=_demo)


def _add_server_options(parser: argparse.ArgumentParser, log: str) -> None:
    parser.add_argument("--host", default=DEFAULT_HOST, help="address to listen on (default: %(default)s)")
    port = "WebSocket port, 0 for a free one (default: %(default)s)"
    http = "port of the pages, 0 for a free one (default: %(default)s)"
    parser.add_argument("--port", type=_port, default=DEFAULT_PORT, help=port)
    parser.add_argument("--http-port", type=_port, default=DEFAULT_HTTP_PORT, help=http)
    parser.add_argument("--log", metavar="URL", help=f"memory: or sqlite:PATH (default: {log})")


def _add_token(add_parser: AddParser) -> None:
    token = add_parser(
        "token",
        help="print a signed token, for trying things out",
        description="Print a token for TokenAuth(KEY): sub is USER, signed with HS256.",
        epilog='example: greenroom token alice --key "$KEY" --seconds 600',
    )
    token.add_argument("user", metavar="USER")
    token.add_argument("--key", required=True, help="the key that the server's TokenAuth has")
    token.add_argument("--seconds", type=float, default=3600.0, help="how long it is good for (default: %(default)s)")
    token.add_argument("--audience", help="the audience that the server's TokenAuth asks for")
    token.set_defaults(run=_token)


def _add_verify(add_parser: AddParser) -> None:
    verify = add_parser(
        "verify",
        help="check every session in a log",
        description="Check the grammar of every session in a log, also while a server has it open; changes nothing. "
        "Ends with 1 and a line for each fault where it is broken.",
        epilog="example: greenroom verify greenroom.db",
    )
    verify.add_argument("log", metavar="LOG", help="a file, or sqlite:PATH")
    verify.set_defaults(run=_verify)


def _add_export(add_parser: AddParser) -> None:
    export = add_parser(
        "export",
        help="print a log's events as JSON lines",
        description="Print every event in a log as one JSON object a line, with its user, session and epoch.",
        epilog="example: greenroom export greenroom.db --user alice --session s1 > s1.jsonl",
    )
    export.add_argument("log", metavar="LOG", help="a file, or sqlite:PATH")
    export.add_argument("--user", help="only this user's")
    export.add_argument("--session", help="only sessions of this name")
    export.set_defaults(run=_export)


def _add_tail(add_parser: AddParser) -> None:
    tail = add_parser(
        "tail",
        help="follow a session in the terminal",
        description="Print a session's events as they come, one a line, until Ctrl-C; comes back after a lost network.",
        epilog="example: greenroom tail s1 --url ws://127.0.0.1:8765/ --latest",
    )
    tail.add_argument("session", metavar="SESSION")
    url = "the server's address (default: %(default)s)"
    tail.add_argument("--url", default=f"ws://{DEFAULT_HOST}:{DEFAULT_PORT}/", help=url)
    tail.add_argument("--token", help="who asks")
    tail.add_argument("--latest", action="store_true", help="only what comes from now on")
    tail.add_argument("--json", action="store_true", help="each event as a JSON object")
    tail.set_defaults(run=_tail)


def _verify(options: argparse.Namespace) -> int:
    return trio.run(log_commands.verify, options.log)


def _export(options: argparse.Namespace) -> int:
    return trio.run(log_commands.export, options.log, options.user, options.session)


def _tail(options: argparse.Namespace) -> None:
    try:
        trio.run(tail.follow, options.url, options.session, options.token, options.latest, options.json)
    except* KeyboardInterrupt:
        pass
    except* ValueError as group:
        raise ConfigError(_one_line(group)) from group


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 0 <= port < 1 << 16:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text!r}")
    return port


def _serve(options: argparse.Namespace) -> None:
    app = load_app(options.app)
    from transport.http.serving import serve  # noqa: PLC0415 - needs the extra http

    trio.run(serve, app, _address(options), options.log)


def _demo(options: argparse.Namespace) -> None:
    from transport.demo.serving import serve_demo  # noqa: PLC0415 - needs the extras http and jwt

    trio.run(serve_demo, _address(options), options.log)


def _address(options: argparse.Namespace) -> Address:
    from transport.http.serving import Address  # noqa: PLC0415 - needs the extra http

    return Address(host=options.host, port=options.port, http_port=options.http_port)


def _token(options: argparse.Namespace) -> None:
    try:
        print(TokenAuth(options.key, audience=options.audience).issue(options.user, options.seconds))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def load_app(path: str) -> Greenroom:
    """The app at ``module:name``; raises :class:`~actors.ConfigError`. What the module itself raises goes through."""
    module_name, colon, name = path.partition(":")
    if not colon or not module_name or module_name.startswith(".") or not name:
        raise ConfigError(f"{path!r} is not MODULE:APP")
    sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(f"there is no module {module_name!r}") from error
    app = getattr(module, name, None)
    if not isinstance(app, Greenroom):
        raise ConfigError(f"{path} is not a Greenroom" if app is not None else f"module {module_name} has no {name!r}")
    return app


if __name__ == "__main__":
    sys.exit(main())
