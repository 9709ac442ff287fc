"""Visits of the pages in the documents, in Chromium."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from browser.pages import load_without
from docs.documents import Block, document
from docs.shell import PORTS, SERVERS
from playwright.sync_api import Page, WebSocketRoute, expect

from transport import TokenAuth

if TYPE_CHECKING:
    from collections.abc import Callable

    from docs.shell import Terminal
    from playwright.sync_api import Browser

SLOWEST = 60_000
"""Milliseconds within which a page must show something. It takes longer only if it never does."""
KEY = "a key of at least 32 characters, from your secrets"
"""The key of the server in the chapter for operators."""


def ask(page: Page, url: str) -> None:
    """Ask for an answer, first while the page still loads, and see it."""
    library = load_without(page, url, "greenroom.js")
    page.get_by_placeholder("Ask").fill("Hamlet")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    library.continue_()
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_placeholder("Ask")).to_have_value("Hamlet")
    assert page.url == url
    answer = "Hamlet\nHamlet, act 1\nHamlet, act 2\nHamlet, act 3\n"
    expect(page.locator("pre")).to_have_text(answer, timeout=SLOWEST)
    be_interrupted_and_refused(page, url)


def be_interrupted_and_refused(page: Page, url: str) -> None:
    """See how an answer was interrupted, why the client was refused, and that a question is refused too."""
    page.route_web_socket(re.compile("^ws:"), lambda socket: socket.on_message(lambda _: tell(socket)))
    page.goto(url)
    expect(page.locator("pre").first).to_have_text("Macbeth\nThunder(interrupted)", timeout=SLOWEST)
    expect(page.locator("pre").last).to_have_text("closed: a token is required (4501)\n", timeout=SLOWEST)
    page.get_by_role("button", name="Send").click()
    expect(page.locator("pre").last).to_contain_text(
        "the client is closed: a token is required (4501)", timeout=SLOWEST
    )
    expect(page.locator("pre")).to_have_count(2)


def tell(socket: WebSocketRoute) -> None:
    """Answer a hello as a server that was killed during an answer, and that refuses the client now."""
    told = [
        ("agent_started", {"agent": "assistant", "input": "Macbeth"}),
        ("agent_output", {"text": "Thunder"}),
        ("agent_completed", {"agent": "assistant", "status": "interrupted", "duration_ms": 1}),
    ]
    events = [
        {"seq": seq, "type": type_, "ts": 0, "run_id": "r-1", "data": data} for seq, (type_, data) in enumerate(told, 1)
    ]
    welcome = {"session": "s1", "connection": "c1", "epoch": "e1", "oldest": 1, "latest": 3, "recovered": False}
    limits = {"ping_ms": 25_000, "max_frame_bytes": 65_536, "runs": [], "queued": [], "typing": []}
    socket.send(json.dumps({"type": "welcome", **welcome, **limits}))
    socket.send(json.dumps({"type": "events", "events": events}))
    socket.close(code=4501, reason="a token is required")


def bring_a_token(page: Page, url: str) -> None:
    """Be refused without a token, and be welcomed with one."""
    page.goto(url)
    expect(page.locator("p")).to_contain_text("token", timeout=SLOWEST)
    page.goto(f"{url}#{TokenAuth(KEY).issue('ann', 60)}")
    page.reload()
    expect(page.locator("p")).to_have_text("Hello, ann", timeout=SLOWEST)


def ask_the_application(page: Page, url: str) -> None:
    """Ask for an answer, see it, and see it again after a refresh. See the answer that a route has started, too."""
    page.goto(url)
    page.get_by_placeholder("Ask").fill("Hamlet")
    page.get_by_role("button", name="Send").click()
    answer = "Hamlet\nHamlet, act 1\nHamlet, act 2\nHamlet, act 3\n"
    expect(page.locator("pre")).to_have_text(answer, timeout=SLOWEST)
    assert page.request.post(f"{url}ask?prompt=Macbeth").ok
    expect(page.locator("pre").last).to_have_text(answer.replace("Hamlet", "Macbeth"), timeout=SLOWEST)


PAGES: dict[tuple[str, str], Callable[[Page, str], None]] = {
    ("README.md", "page/index.html"): ask,
    ("transport/cli/GUIDE.md", "page/index.html"): bring_a_token,
    ("transport/hosting/GUIDE.md", "page/index.html"): ask_the_application,
}
"""The function that visits each page of the documents, by document and page."""


def visit(own: Terminal, block: Block, chromium: Browser) -> None:
    """Start the server of the section in which the page is, and visit the page. A script's error is a failure."""
    of_the_section = (each for each in document(block.document).blocks if each.section == block.section)
    (serve,) = (each for each in of_the_section if each.text.startswith(tuple(f"$ {server}" for server in SERVERS)))
    port = "PORT" if serve.text.startswith("$ uvicorn") else "HTTP_PORT"
    errors: list[str] = []
    own.run_step(serve, 0)
    with chromium.new_page() as page:
        page.on("pageerror", lambda error: errors.append(str(error)))
        PAGES[block.document, block.name](page, f"http://127.0.0.1:{own.ports[PORTS[port]]}/")
    assert errors == []
