"""``greenroom serve``: serve an app."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import trio

from actors import ConfigError
from transport.app import Greenroom
from transport.cli._options import add_server_options, address_in

if TYPE_CHECKING:
    import argparse

    from transport.cli._options import AddParser


def add_to(add_parser: AddParser) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        "serve",
        help="serve an app",
        description="Serve an app until SIGTERM, then drain.",
        epilog="example: greenroom serve app:app --port 8765 --log sqlite:greenroom.db",
    )
    parser.add_argument("app", metavar="MODULE:APP", help="place of the app; the current folder is searched first")
    add_server_options(parser, "sqlite:greenroom.db unless the app says otherwise")
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> None:
    app = load_app(options.app)
    from transport.http.serving import serve  # noqa: PLC0415 - a wrong app is reported first, with or without the extra

    trio.run(serve, app, address_in(options), options.log)


def load_app(path: str) -> Greenroom:
    """Import and return the app at ``module:name``.

    Raises :class:`~actors.ConfigError` if there is no such app. Exceptions of the module itself are raised as they are.
    """
    module_name, colon, name = path.partition(":")
    if not colon or not module_name or module_name.startswith(".") or not name:
        raise ConfigError(f"{path!r} is not MODULE:APP")
    sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A module that the app's own module imports may be missing too: that is a fault of the app.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(f"there is no module {module_name!r}") from error
    app = getattr(module, name, None)
    if not isinstance(app, Greenroom):
        raise ConfigError(f"{path} is not a Greenroom" if app is not None else f"module {module_name} has no {name!r}")
    return app
