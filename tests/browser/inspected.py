"""A server for the inspector's page that is only pretended: it answers the page's requests inside the browser.

It has as many rows as a test wants, texts that do harm, and failures at the moment that a test chooses.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import transport

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext, Route

PAGE = Path(transport.__file__).parent / "inspector" / "page"
URL = "http://inspected.example/below/any/path/"
"""The page's address. Nothing is asked of a network: each request is answered here."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The policy of the inspector's answers."""
NOW = 1_780_000_000.0
PAGE_ROWS = 200
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class Inspected:
    """A pretended server. Its lists have ``rows`` rows each, and ``evil`` is in each of its texts."""

    def __init__(self, context: BrowserContext, rows: int = 3, evil: str = "") -> None:
        self.rows = rows
        self.evil = evil
        self.asked: list[tuple[str, dict[str, str]]] = []
        """Path and query of each request for data."""
        self.posted: list[tuple[str, Any, dict[str, str]]] = []
        """Path, body and headers of each action."""
        self.refusal: tuple[int, str] | None = None
        """The status and the message with which each request for data is refused, if it is."""
        self.lost = False
        """Whether the server answers nothing."""
        self.ticks = 0
        """Number of overviews so far. All figures change with it."""
        self.workers: dict[str, Any] | None = None
        """The workers of the server, if it has several."""
        self.backwards = False
        """Whether connections are sorted the other way round."""
        context.route(f"{URL}**", self._answer)

    def count(self, path: str) -> int:
        """Return how many requests for this path came so far."""
        return sum(each == path for each, _ in self.asked)

    def _answer(self, route: Route) -> None:
        path = urlsplit(route.request.url).path.removeprefix(urlsplit(URL).path)
        if not path.startswith("api/"):
            file = PAGE / (path or "index.html")
            headers = {"Content-Security-Policy": POLICY}
            route.fulfill(body=file.read_bytes(), content_type=KINDS[file.suffix], headers=headers)
        elif self.lost:
            route.abort()
        else:
            status, body = self._data(route, path.removeprefix("api/"))
            route.fulfill(status=status, body=json.dumps(body), content_type="application/json")

    def _data(self, route: Route, path: str) -> tuple[int, Any]:
        request = route.request
        query = dict(parse_qsl(urlsplit(request.url).query))
        if request.method == "POST":
            self.posted.append((path, request.post_data_json, request.headers))
            if path == "login":
                return self._login(request.post_data_json)
            return 200, {"cancelled": True, "closed": True}
        self.asked.append((path, query))
        if self.refusal is not None:
            status, message = self.refusal
            return status, {"error": {"code": "any", "message": message}}
        answers: dict[str, Callable[[dict[str, str]], Any]] = {
            "me": self._me,
            "overview": self._overview,
            "runs": self._runs,
            "sessions": self._sessions,
            "session": self._session,
            "session/events": self._events,
            "failures": self._failures,
            "connections": self._connections,
            "tree": self._tree,
        }
        return 200, answers[path](query)

    def _login(self, body: Any) -> tuple[int, Any]:
        if body["token"] != "the operator's token":
            return 401, {"error": {"code": "wrong_token", "message": "wrong"}}
        self.refusal = None
        return 200, {"who": "token"}

    def _me(self, query: dict[str, str]) -> Any:
        return {"who": f"ops{self.evil}", "how": "cookie", "can_log_out": True, "content": True}

    def _overview(self, query: dict[str, str]) -> Any:
        self.ticks += 1
        tick = self.ticks
        running = 12 + 7 * tick % 5
        ended = {"ok": 900 + tick, "error": 12, "cancelled": 30, "timeout": 4, "interrupted": 1}
        agents = [
            {"agent": f"{name}{self.evil}", "running": running // part, "queued": 0, "asking": 1, **ended}
            for part, name in enumerate(("researcher", "writer", "reviewer"), 1)
        ]
        samples = [
            {
                "at": NOW - 100 + second,
                "events_per_second": 300 + 37 * second % 111,
                "loop_lag": 0.001 + second % 7 / 1_000,
            }
            for second in range(100)
        ]
        return {
            "at": NOW + tick,
            "node": f"node-1{self.evil}",
            "version": "1.2.3",
            "workers": self.workers,
            "started_at": NOW - 7_300,
            "health": {
                "ok": True,
                "ready": not self.evil,
                "reasons": [f"the log is slow{self.evil}"] if self.evil else [],
            },
            "events_per_second": 300 + 37 * tick % 111,
            "events_total": 1_234_567 + tick,
            "commit_wait": {"p50": 0.0012, "p99": 0.0086 + tick % 3 / 1_000, "max": 0.041, "count": 900},
            "loop_lag": {"last": 0.001 + tick % 7 / 1_000, "max": 0.013},
            "samples": samples,
            "sessions": self.rows,
            "connections": self.rows,
            "users": 2,
            "waiting_bytes": 2_048,
            "blocked": 0,
            "longest_tool": {
                "name": f"open_book{self.evil}",
                "since": NOW - 90,
                "age": 90.0 + tick,
                "user": f"ada-1{self.evil}",
                "session": f"draft-1{self.evil}",
                "run": f"r-1{self.evil}",
                "agent": f"researcher{self.evil}",
            },
            "runs": {"running": running, "queued": 3, "asking": 1, "by_agent": agents},
            "restarts": 2,
            "failures": 7,
            "actors": self.rows + 9,
            "tool_threads": {"threads": 4, "waiting": 0, "limit": 256},
            "log": {"engine": f"sqlite{self.evil}", "file_bytes": 52_428_800, "commits": 12_345, "rows": 1_234_567},
            "quotas": {"starts_per_minute": 0, "sessions_per_user": 0, "tool_threads_per_user": 2},
            "endpoint": {"connections": self.rows, "accepted": 4_321, "refused": 0},
            "cluster": None,
        }

    def _page(self, name: str, query: dict[str, str], row: Callable[[int], Any], total: int | None = None) -> Any:
        whole = self.rows if total is None else total
        first = int(query.get("after", "0"))
        last = min(whole, first + PAGE_ROWS)
        return {name: [row(n) for n in range(first, last)], "total": whole, "next": str(last) if last < whole else None}

    def _runs(self, query: dict[str, str]) -> Any:
        def row(n: int) -> Any:
            state = ("running", "running", "asking", "queued")[n % 4]
            tool = {"name": f"search_library{self.evil}", "call_id": "c", "since": NOW, "age": 1.2 + self.ticks}
            return {
                "run": f"r-{n:05}{self.evil}",
                "agent": f"{('researcher', 'writer', 'reviewer')[n % 3]}{self.evil}",
                "user": f"ada-{n % 7}{self.evil}",
                "session": f"draft-{n}{self.evil}",
                "parent": f"r-{n - 1:05}" if n % 3 == 1 else None,
                "depth": int(n % 3 == 1),
                "started_at": NOW - n,
                "age": n * 1.7 + self.ticks,
                "state": state,
                "open_tool": tool if n % 2 else None,
                "open_tools": n % 2,
                "question": {"call_id": "q", "since": NOW, "age": 40} if state == "asking" else None,
                "subruns": 3 if n % 3 == 0 else 0,
            }

        return self._page("runs", query, row)

    def _sessions(self, query: dict[str, str]) -> Any:
        def row(n: int) -> Any:
            return {
                "user": f"ada-{n % 7}{self.evil}",
                "session": f"draft-{n}{self.evil}",
                "runs": n % 3,
                "agents": [f"researcher{self.evil}"] * (n % 3),
                "queued": 0,
                "connections": 1 + n % 2,
                "seq": 4_000 + n + self.ticks,
                "committed": 4_000 + n,
                "oldest": 1,
                "events_in_memory": 500,
                "bytes_in_memory": 61_000,
                "faults": [f"a fault{self.evil}"] if self.evil else [],
            }

        return self._page("sessions", query, row)

    def _session(self, query: dict[str, str]) -> Any:
        start = NOW - 20

        def tool(name: str, begin: float, end: float | None, status: str = "ok") -> Any:
            ended = None if end is None else start + end
            return {
                "call_id": f"c-{name}",
                "name": name + self.evil,
                "kind": "tool",
                "status": status,
                "started_at": start + begin,
                "ended_at": ended,
            }

        def run(name: str, parent: str | None, begin: float, end: float | None, *tools: Any) -> Any:
            status = "running" if end is None else "ok"
            return {
                "run": f"r-{name}{self.evil}",
                "parent": parent and f"r-{parent}{self.evil}",
                "agent": f"{name}{self.evil}",
                "status": status,
                "started_at": start + begin,
                "ended_at": None if end is None else start + end,
                "tools": list(tools),
            }

        runs = [
            run("researcher", None, 0, None, tool("plan", 0.4, 2), tool("fetch_page", 14, None, "running")),
            run("reader", "researcher", 2.2, 9.5, tool("open_book", 2.6, 5), tool("take_notes", 5.2, 9.1, "error")),
            run("critic", "researcher", 2.4, 13.2, tool("compare", 3, 12.5)),
            run("writer", None, -60, -48, tool("draft", -58, -50)),
            run("reviewer", None, -90, -70, tool("read", -89, -88), tool("judge", -86, -71, "timeout")),
        ]
        told = {"live": True, "connections": 2, "next": None, "seq": 4_000, "oldest": 1, "epoch": f"e7f3{self.evil}"}
        return {**query, **told, "runs": runs}

    def _events(self, query: dict[str, str]) -> Any:
        after = int(query.get("after", 3_960))
        types = ("agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_output")

        def event(seq: int) -> Any:
            type_ = types[seq % 5]
            data: dict[str, Any] = {"tool": f"search_library{self.evil}"} if type_.startswith("tool") else {}
            if type_ == "tool_completed":
                data |= {"status": "ok", "duration_ms": 420}
            if "content" in query:
                data |= {"text": f"some text{self.evil}"}
            ids = {"seq": seq, "ts": 1_000 * (NOW + seq - 4_000), "run_id": f"r-1{self.evil}"}
            return {**ids, "type": type_ + self.evil, "data": data, "size": 120 + seq % 900}

        last = min(after + 40, 4_000 + self.ticks)
        return {
            "epoch": "e",
            "events": [event(seq) for seq in range(after + 1, last + 1)],
            "seq": max(after, last),
            "latest": last,
        }

    def _failures(self, query: dict[str, str]) -> Any:
        trace = f'Traceback (most recent call last):\n  File "agents.py", line 40\nLookupError: gone{self.evil}'

        def row(n: int) -> Any:
            return {
                "reference": f"f3a9c1d{n}{self.evil}",
                "at": NOW - 61.5 * n,
                "kind": ("agent", "connection", "actor", "http")[n % 4],
                "what": f"agent researcher{self.evil}",
                "user": f"ada-{n}{self.evil}" if n % 2 == 0 else None,
                "session": f"draft-{n}{self.evil}",
                "run": f"r-{n}{self.evil}",
                "connection": f"k-{n}{self.evil}",
                "path": f"/greenroom/sessions/all/ada-{n}:draft{self.evil}" if n % 4 == 2 else None,
                "incarnation": 3 if n % 4 == 2 else None,
                "message": f"LookupError: the prop is gone{self.evil}",
                "traceback": trace,
            }

        return {"failures": [row(n) for n in range(min(self.rows, PAGE_ROWS))], "total": self.rows}

    def _connections(self, query: dict[str, str]) -> Any:
        def row(n: int) -> Any:
            return {
                "connection": f"k-{n}{self.evil}",
                "user": f"ada-{n % 7}{self.evil}",
                "session": f"draft-{n}{self.evil}",
                "address": f"192.0.2.{n % 250}{self.evil}",
                "since": NOW - 60 * n,
                "age": 60.0 * n + self.ticks,
                "state": f"open{self.evil}",
                "lag_events": max(0, 900 - 11 * n),
                "waiting_bytes": max(0, 70_000 - 1_000 * n),
                "blocked_seconds": 3.5 if n == 0 else 0,
                "position": 4_000,
            }

        answer = self._page("connections", query, row)
        if self.backwards:
            answer["connections"].reverse()
        return answer

    def _tree(self, query: dict[str, str]) -> Any:
        path = query["path"]

        def actor(name: str, children: int, kind: str = "actor") -> Any:
            full = f"{path.rstrip('/')}/{name}{self.evil}"
            strategy = "one_for_one" if kind == "supervisor" else None
            told = {
                "kind": kind,
                "strategy": strategy,
                "state": "running",
                "restarts": int(name == "users"),
                "mailbox": 0,
            }
            return {"path": full, "name": name + self.evil, "children": children, **told}

        root = {
            "path": "/",
            "name": "/",
            "kind": "system",
            "state": "running",
            "restarts": 0,
            "mailbox": 0,
            "children": 2,
        }
        if path == "/":
            return {
                "path": path,
                "node": root,
                "children": [actor("users", self.rows, "supervisor"), actor("clock", 0)],
                "next": None,
                "total": 2,
            }
        return {"path": path, "node": root, **self._page("children", query, lambda n: actor(f"session-{n}", 0))}
