"""``greenroom settings``: print each setting with its value, its source and its default."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import attrs
import orjson

from actors import EventLog
from actors.failures import class_name
from actors.valkey.address import without_password
from transport._sources import KEYWORD
from transport.cli._apps import load_app
from transport.cli._options import add_settings_option, settings_in
from transport.settings import DEFAULTS, Settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from transport.cli._options import AddParser

_WIDEST = 40
"""Maximum length of a text that makes its column wider.

A longer text does not fit into its column, and moves the rest of its own line to the right.
"""
HIDDEN = "[hidden]"
"""Text in place of a secret."""
_TITLES = ("setting", "value", "source", "default")


@attrs.frozen
class Line:
    """One setting, with the values that the command ``settings`` prints."""

    name: str
    value: object
    source: str
    """``default``, ``greenroom.toml``, an environment variable, ``keyword`` (given by the app) or ``--set``."""
    default: object


def add_to(add_parser: AddParser) -> None:
    """Add the command ``settings`` to the parser."""
    parser = add_parser(
        "settings",
        help="print every setting: its value, the source of the value, its default",
        description="Print every setting with its value, the source of the value, and its default. "
        "The sources, from the strongest: the command line, the app's own keywords, the environment "
        "(GREENROOM_ and the name in capitals), greenroom.toml in the current folder.",
        epilog="example: greenroom settings app:app --set port=9000",
    )
    parser.add_argument("app", metavar="MODULE:APP", nargs="?", help="the app whose keywords count too")
    parser.add_argument("--json", action="store_true", help="each setting as a JSON object, one a line")
    add_settings_option(parser)
    parser.set_defaults(run=_settings)


def _settings(options: argparse.Namespace) -> None:
    given = settings_in(options)
    if options.app is None:
        found = lines_of(Settings.load().overridden(given))
    else:
        app = load_app(options.app)
        app.override(given)
        found = lines_of(app.settings, app.log)
    for text in map(_json, found) if options.json else _table(found):
        print(text)


def lines_of(settings: Settings, log: str | EventLog | None = None) -> list[Line]:
    """Return a line for each setting. If ``log`` is a log object, the setting ``log`` shows the name of its class."""
    found: list[Line] = []
    for name, default in DEFAULTS.items():
        value, source = getattr(settings, name), settings.source(name)
        if name == "log" and isinstance(log, EventLog):
            value, source = f"<{class_name(log)}>", KEYWORD
        elif name == "log":
            value = without_password(str(value))
        elif name == "operator_token" and value is not None:
            value = HIDDEN
        found.append(Line(name, value, source, default))
    return found


def _json(line: Line) -> str:
    # JSON has no infinity: orjson would write null, which stands for no value at all.
    plain = {name: str(value) if value == math.inf else value for name, value in attrs.asdict(line).items()}
    return orjson.dumps(plain).decode()


def _table(found: Sequence[Line]) -> list[str]:
    """Return the lines of a table with aligned columns. The first line has the titles."""
    rows = [_TITLES, *((line.name, _text(line.value), line.source, _text(line.default)) for line in found)]
    widths = [max(len(row[column]) for row in rows if len(row[column]) <= _WIDEST) for column in range(len(_TITLES))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ",".join(map(str, cast("tuple[object, ...]", value))) or "(empty)"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.15g}" if isinstance(value, float) else str(value)
