"""Visits of the pages in the documents, in Chromium."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _requires import require
from browser.quiet import QUIET
from docs.documents import Block, document
from docs.shell import PORTS
from playwright.sync_api import Page, expect, sync_playwright

from transport import TokenAuth

if TYPE_CHECKING:
    from collections.abc import Callable

    from docs.shell import Terminal

SLOWEST = 30_000
"""Milliseconds within which a page must show something. It takes longer only if it never does."""
KEY = "a key of at least 32 characters, from your secrets"
"""The key of the server in the chapter for operators."""


def ask(page: Page, url: str) -> None:
    """Ask for an answer, and see it."""
    page.goto(url)
    page.get_by_placeholder("Ask").fill("Hamlet")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("pre")).to_have_text("Hamlet, act 1\nHamlet, act 2\nHamlet, act 3\n", timeout=SLOWEST)


def bring_a_token(page: Page, url: str) -> None:
    """Be refused without a token, and be welcomed with one."""
    page.goto(url)
    expect(page.locator("p")).to_contain_text("token", timeout=SLOWEST)
    page.goto(f"{url}#{TokenAuth(KEY).issue('ann', 60)}")
    page.reload()
    expect(page.locator("p")).to_have_text("Hello, ann", timeout=SLOWEST)


PAGES: dict[tuple[str, str], Callable[[Page, str], None]] = {
    ("README.md", "page/index.html"): ask,
    ("transport/cli/GUIDE.md", "page/index.html"): bring_a_token,
}
"""The function that visits each page of the documents, by document and page."""


def visit(own: Terminal, block: Block) -> None:
    """Start the server of the section in which the page is, and visit the page. A script's error is a failure."""
    path = require("chromium")
    of_the_section = (each for each in document(block.document).blocks if each.section == block.section)
    (serve,) = (each for each in of_the_section if each.text.startswith("$ greenroom serve"))
    errors: list[str] = []
    own.run_step(serve, 0)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        page = browser.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        PAGES[block.document, block.name](page, f"http://127.0.0.1:{own.ports[PORTS['HTTP_PORT']]}/")
        browser.close()
    assert errors == []
