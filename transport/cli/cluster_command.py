"""``greenroom cluster``: print the nodes of a log in Valkey."""

from __future__ import annotations

import time
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING

import attrs
import orjson
import trio

from actors import ConfigError, open_log
from actors.failures import one_line
from actors.valkey.address import without_password
from transport.cli._options import add_settings_option, settings_in
from transport.settings import Settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from actors.cluster.looking import SeenNode
    from actors.eventlog import ValkeyOptions
    from transport.cli._options import AddParser

_TITLES = ("node", "beating", "beats", "up", "lease", "users", "version")


def add_to(add_parser: AddParser) -> None:
    """Add the command ``cluster`` to the parser."""
    parser = add_parser(
        "cluster",
        help="print the servers (nodes) that share a log in Valkey",
        description="Print the nodes of a log in Valkey: the servers and workers that share it. A node that does not "
        "beat stands still, or has died and was not removed by another node yet. This takes up to half a lease, and "
        "changes nothing.",
        epilog="example: greenroom cluster valkey://localhost",
    )
    parser.add_argument("log", metavar="LOG", help="valkey://HOST:PORT")
    parser.add_argument("--json", action="store_true", help="each node as a JSON object, one a line")
    add_settings_option(parser)
    parser.set_defaults(run=_cluster)


def _cluster(options: argparse.Namespace) -> None:
    settings = Settings.load().overridden(settings_in(options))
    nodes = trio.run(nodes_of, options.log, settings.valkey_options())
    if options.json:
        for node in nodes:
            print(orjson.dumps(attrs.asdict(node)).decode())
    elif not nodes:
        print(f"{without_password(options.log)}: no nodes")
    else:
        for line in table(nodes, time.time()):
            print(line)


async def nodes_of(log: str, options: ValkeyOptions) -> tuple[SeenNode, ...]:
    """Return the nodes of a log.

    Raises:
        ConfigError: The URL does not name a log in Valkey.
        LogError: The log cannot be opened, or does not answer.
    """
    if not log.startswith("valkey"):
        raise ConfigError(f"{without_password(log)} is no log in Valkey: any other log belongs to one server")
    async with open_log(log, read_only=True, valkey=options) as opened:
        # Imported here, as the engine: other commands need no client library.
        nodes: tuple[SeenNode, ...] = await import_module("actors.cluster.looking").seen_nodes(opened)
        return nodes


def table(nodes: Sequence[SeenNode], now: float) -> list[str]:
    """Return the lines of a table of nodes, with its titles. ``now`` is the time in seconds since 1970."""
    rows = [_TITLES, *(_row(node, now) for node in nodes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(node: SeenNode, now: float) -> tuple[str, ...]:
    up = timedelta(seconds=max(0, round(now - node.start / 1000)))
    told = (one_line(node.info.get(name, "?")) for name in ("lease", "users", "version"))
    return node.name, "yes" if node.is_beating else "no", str(node.beats), str(up), *told
