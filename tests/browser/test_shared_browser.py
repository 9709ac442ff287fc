"""The browser of all tests of a process: a browser that has died harms one test only, and its loop no other test."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from _requires import require

if TYPE_CHECKING:
    from browser.shared import SharedBrowser


async def answer() -> int:
    return 42


def test_browser_that_died_is_started_again(shared_browser: SharedBrowser) -> None:
    """After a test in which the browser has died, the next test gets a new one. In between, asyncio can run."""
    path = require("chromium")
    with shared_browser.opened(path) as first:
        first.close()
    assert asyncio.run(answer()) == 42
    with shared_browser.opened(path) as second, second.new_page() as page:
        assert page.evaluate("6 * 7") == 42
    with shared_browser.opened(path) as third:
        assert third is second
        assert third.contexts == []
