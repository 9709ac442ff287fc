"""The pages in the documents work in Chromium, served as the document says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from _requires import require
from browser.quiet import QUIET
from docs.documents import Block, blocks, document
from docs.shell import PORTS, terminal
from playwright.sync_api import Page, expect, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def ask(page: Page) -> None:
    """Ask for an answer, and see it."""
    page.get_by_placeholder("Ask").fill("Hamlet")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("pre")).to_have_text("Hamlet, act 1\nHamlet, act 2\nHamlet, act 3\n")


PAGES: dict[tuple[str, str], Callable[[Page], None]] = {("README.md", "page/index.html"): ask}
"""What a visitor does on each page."""


@pytest.mark.parametrize("block", blocks("html"), ids=lambda block: block.place)
def test_page(block: Block, tmp_path: Path) -> None:
    """A page in a document is served by the app of its document, and does what a visitor expects."""
    path = require("chromium")
    visit = PAGES[block.document, block.name]
    (serve,) = (each for each in document(block.document).blocks if "$ greenroom serve" in each.text)
    errors: list[str] = []
    with terminal(tmp_path, block.document) as own, sync_playwright() as playwright:
        own.run_step(serve, 0)
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        page = browser.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"http://127.0.0.1:{own.ports[PORTS['HTTP_PORT']]}/")
        visit(page)
        browser.close()
    assert errors == []
