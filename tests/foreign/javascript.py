"""Clients in JavaScript: the package ws in Node, and the WebSocket of a page in Chromium."""

from __future__ import annotations

import http.server
import json
import subprocess
import threading
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _processes import started
from browser.quiet import QUIET
from protocol.threaded import PATIENCE
from web.node import HERE as PACKAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from foreign.clients import Connection

HERE = Path(__file__).parent
SOCKETS = HERE / "sockets.js"
_numbers = count()


class OfJavaScript:
    """A connection in JavaScript, as sockets.js describes it."""

    def __init__(self, run: Callable[[str], Any], url: str) -> None:
        self._run = run
        self._name = f"kept.s{next(_numbers)}"
        run(f"{self._name} = socketOf(WebSocket, {json.dumps(url)})")
        self.agreed: tuple[str | None, str] = tuple(run(f"return {self._name}.opened()"))

    def _call(self, method: str, *arguments: object) -> Any:
        return self._run(f"return {self._name}.{method}({', '.join(map(json.dumps, arguments))})")

    def send(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self._call("send", message)
        else:
            self._call("sendBytes", list(message))

    def receive(self) -> str:
        return str(self._call("receive"))

    def ping(self) -> None:
        assert self._call("ping")

    def close(self, code: int, reason: str) -> None:
        self._call("close", code, reason)

    def ended(self) -> tuple[int, str]:
        code, reason = self._call("ended")
        return code, reason


class JavaScript:
    """A kind of client in JavaScript. ``run`` runs code, and returns its value."""

    sees_the_answer = True

    def __init__(self, run: Callable[[str], Any]) -> None:
        self._run = run

    def connect(self, url: str) -> Connection:
        return OfJavaScript(self._run, url)


@contextmanager
def node(program: str) -> Generator[JavaScript]:
    """Run the package ws in Node inside the block."""
    command = [program, str(HERE / "node.mjs"), str(SOCKETS), str(PACKAGES / "package.json")]
    with started(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:

        def run(js: str) -> Any:
            print(json.dumps(js), file=process.stdin, flush=True)
            assert process.stdout
            return json.loads(process.stdout.readline())

        yield JavaScript(run)
        assert process.stdin
        process.stdin.close()
        process.wait(PATIENCE)


@contextmanager
def page_server() -> Generator[str]:
    """Serve an empty page inside the block, and return its address.

    *A page that Playwright makes up is foreign to this machine: Chromium lets it connect to none of its ports.*
    """
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _EmptyPage)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(PATIENCE)


class _EmptyPage(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>A page</title>")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in http.server
        """Write nothing."""


@contextmanager
def chromium(path: str, url: str) -> Generator[JavaScript]:
    """Open a page in Chromium inside the block."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - after the check that there is a browser

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        page = browser.new_page()
        page.goto(url)
        page.add_script_tag(path=SOCKETS)
        page.evaluate("globalThis.kept = {}")
        yield JavaScript(lambda js: page.evaluate(f"(async () => {{ {js} }})()"))
        browser.close()
