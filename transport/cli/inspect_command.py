"""``greenroom inspect``, ``sessions`` and ``cancel``: look at a running server, and stop a run, as its operator."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson

from actors import ConfigError
from actors.failures import one_line
from transport._extras import ExtraMissing, import_extra
from transport.cli._operator import Operator, add_operator_options
from transport.cli._terminal import aligned, say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence

    from transport.cli._options import AddParser

NOT_FOUND = 1
"""The exit status of ``cancel`` if there is no such run."""
_INTERVAL = 1.0
"""Time between two looks of the live view, in seconds."""
_SHOWN = 15
"""Maximum number of runs, connections and failures that a view shows of each."""


def add_to(add_parser: AddParser) -> None:
    """Add the commands ``inspect``, ``sessions`` and ``cancel`` to the parser."""
    inspect = add_parser(
        "inspect",
        help="look at a running server",
        description="Show a running server: its load, its oldest runs, slowest connections and newest failures. On a "
        "terminal with the extra cli the view is live, until Ctrl-C; otherwise it is printed once.",
        epilog="example: greenroom inspect --url http://127.0.0.1:8766/",
    )
    add_operator_options(inspect)
    inspect.add_argument("--once", action="store_true", help="print it once, also on a terminal")
    inspect.add_argument("--json", action="store_true", help="print it once, as a JSON object")
    inspect.set_defaults(run=_inspect)
    sessions = add_parser(
        "sessions",
        help="list the sessions in memory of a running server",
        description="List the sessions that a running server has in memory, sorted by user and name.",
        epilog="example: greenroom sessions --user ann",
    )
    add_operator_options(sessions)
    sessions.add_argument("--user", help="only sessions of this user")
    sessions.add_argument("--json", action="store_true", help="each session as a JSON object, one a line")
    sessions.set_defaults(run=_sessions)
    cancel = add_parser(
        "cancel",
        help="stop a run of a running server",
        description="Ask a run to stop, also a queued one, or one of another node of a cluster. It ends as cancelled. "
        "Ends with status 1 if there is no such run.",
        epilog="example: greenroom cancel ann s1 r-0123456789abcdef",
    )
    for name in ("user", "session", "run_id"):
        cancel.add_argument(name, metavar=name.removesuffix("_id").upper())
    add_operator_options(cancel)
    cancel.add_argument("--json", action="store_true", help="print the result as a JSON object")
    cancel.set_defaults(run=_cancel)


def _cancel(options: argparse.Namespace) -> int:
    answer = Operator.of(options).post("runs/cancel", user=options.user, session=options.session, run=options.run_id)
    cancelled = bool(answer.get("cancelled"))
    if options.json:
        print(orjson.dumps({"cancelled": cancelled}).decode())
    else:
        print(one_line(f"{options.run_id} {'was asked to stop' if cancelled else 'is unknown, or over'}"))
    return 0 if cancelled else NOT_FOUND


def _sessions(options: argparse.Namespace) -> None:
    found = _pages(Operator.of(options), "sessions", "sessions", user=options.user)
    if options.json:
        for each in found:
            print(orjson.dumps(each).decode())
        return
    titles = ("user", "session", "events", "connections", "runs", "queued", "agents")
    for line in aligned([titles, *(_session_row(each) for each in found)]):
        print(line)


def _session_row(each: Mapping[str, Any]) -> tuple[str, ...]:
    numbers = (str(each.get(name, "?")) for name in ("seq", "connections", "runs", "queued"))
    return one_line(str(each["user"])), str(each["session"]), *numbers, ",".join(map(str, each.get("agents", ())))


def _pages(operator: Operator, route: str, name: str, **arguments: object) -> Iterator[dict[str, Any]]:
    """Yield the entries of all pages of a list."""
    after: str | None = None
    while True:
        page = operator.get(route, after=after, **arguments)
        yield from page[name]
        after = page.get("next")
        if after is None:
            return


def _inspect(options: argparse.Namespace) -> None:
    operator = Operator.of(options)
    if options.json:
        print(orjson.dumps(look(operator)).decode())
        return
    if sys.stdout.isatty() and not options.once:
        try:
            live, text = import_extra("the live view", "cli", "rich.live", "rich.text")
        except ExtraMissing as missing:
            say(f"printed once: {missing}")
        else:
            _show_live(operator, live, text)
            return
    for line in view(look(operator)):
        print(line)


def _show_live(operator: Operator, live: Any, text: Any) -> None:
    """Show the view again and again, until Ctrl-C. A server that is away is waited for."""
    lines = view(look(operator))  # the first look fails as a command does
    try:
        with live.Live(text.Text("\n".join(lines)), auto_refresh=False, screen=True) as shown:
            while True:
                shown.update(text.Text("\n".join(lines)), refresh=True)
                time.sleep(_INTERVAL)
                try:
                    lines = view(look(operator))
                except ConfigError as error:
                    lines = [one_line(f"trying again: {error}")]
    except KeyboardInterrupt:
        pass  # Ctrl-C is the way to end this view


def look(operator: Operator) -> dict[str, Any]:
    """Return the content of the view: the answers of the server by the names of their routes."""
    return {
        "overview": operator.get("overview"),
        "runs": operator.get("runs", limit=_SHOWN)["runs"],
        "connections": operator.get("connections", sort="lag", limit=_SHOWN)["connections"],
        "failures": operator.get("failures", limit=_SHOWN)["failures"],
    }


def view(seen: Mapping[str, Any]) -> list[str]:
    """Return the lines of the view."""
    overview = seen["overview"]
    lines = [*_summary(overview), ""]
    runs = [
        (each["user"], each["session"], each["agent"], each["state"], _age(each.get("age")), _open(each), each["run"])
        for each in seen["runs"]
    ]
    lines += _part("oldest runs", "no open runs", ("user", "session", "agent", "state", "age", "tool", "run"), runs)
    slow = [
        (each["user"] or "-", each["session"] or "-", each["address"], each["lag_events"], each["waiting_bytes"])
        for each in seen["connections"]
        if each["lag_events"] or each["waiting_bytes"]
    ]
    lines += _part(
        "slow connections",
        "no slow connections",
        ("user", "session", "address", "events behind", "bytes waiting"),
        slow,
    )
    failed = [
        (time.strftime("%H:%M:%S", time.localtime(each["at"])), each["reference"] or "-", each["what"], each["message"])
        for each in seen["failures"]
    ]
    return [*lines, *_part("newest failures", "no failures", ("time", "reference", "where", "message"), failed)]


def _summary(overview: Mapping[str, Any]) -> list[str]:
    runs, health = overview["runs"], overview["health"]
    up = timedelta(seconds=max(0, round(overview["at"] - overview["started_at"])))
    state = "ready" if health["ready"] else f"not ready: {', '.join(map(str, health['reasons']))}"
    wait, lag = overview["commit_wait"], overview["loop_lag"]
    waits = "" if wait is None else f", commit wait {_ms(wait['p50'])} (99 % below {_ms(wait['p99'])})"
    # None at the first look: the server takes samples only after an operator has looked.
    rate = overview["events_per_second"]
    per_second = "" if rate is None else f", {rate:.1f} per second"
    events = _count(overview["events_total"], "event")
    load = f"{_count(runs['running'], 'run')}, {runs['queued']} queued"
    workers = overview.get("workers")  # an older server, and a process alone, have none
    worker = "" if not workers else f"  worker {workers['number']} of {workers['count']}"
    return [
        one_line(f"{overview['node']}{worker}  greenroom {overview['version']}  up {up}  {state}"),
        f"{_count(overview['sessions'], 'session')}, {_count(overview['connections'], 'connection')}, {load}",
        f"{events}{per_second}{waits}, longest lag of the event loop {_ms(lag['max'])}",
        f"{_count(overview['failures'], 'failure')}, {_count(overview['restarts'], 'restart')} since the start",
    ]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _part(title: str, none: str, titles: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    if not rows:
        return [none]
    cells = [tuple(one_line(str(cell))[:60] for cell in row) for row in rows]
    return [f"{title}:", *(f"  {line}" for line in aligned([tuple(titles), *cells])), ""]


def _open(run: Mapping[str, Any]) -> str:
    tool = run.get("open_tool")
    return "-" if not tool else f"{tool['name']} {_age(tool.get('age'))}"


def _age(seconds: object) -> str:
    return f"{seconds:.0f} s" if isinstance(seconds, (int, float)) else "-"


def _ms(seconds: object) -> str:
    return f"{seconds * 1000:.1f} ms" if isinstance(seconds, (int, float)) else "-"
