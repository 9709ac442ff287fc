"""The picture of the demo in the README.

``GREENROOM_SCREENSHOT=1 pytest tests/browser/test_screenshot.py`` takes it anew.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser.pages import ConversationPage

import transport

if TYPE_CHECKING:
    from collections.abc import Callable

    from browser.serving import ServerProcess
    from playwright.sync_api import BrowserContext

pytestmark = pytest.mark.timeout(300)  # a page needs a server, its index and a browser, and the machine may be busy

PICTURE = Path(transport.__file__).parent / "demo" / "screenshot.png"
TAKE_ANEW = os.environ.get("GREENROOM_SCREENSHOT") == "1"
WIDTH, HEIGHT = 1400, 880
MOST_BYTES = 250_000
STAND_STILL = """() => {
    const bottom = (name) => document.querySelector(name)?.getBoundingClientRect().bottom ?? 0;
    new MutationObserver(() => {
        if (bottom(".reply") < bottom("#footer") - 170) return;
        window.requestAnimationFrame = () => 0;
        window.stands = true;
    }).observe(document.getElementById("turns"), { childList: true, subtree: true });
}"""
"""A script that stops the page before it scrolls. A page that scrolls makes a torn picture."""


def test_picture_of_the_page(demo: ServerProcess, new_user: Callable[..., BrowserContext], tmp_path: Path) -> None:
    """A picture of the page shows the question, the answer so far and the events.

    A new picture for the README is of the middle of an answer. *A busy machine can show a whole answer in one frame.*
    """
    tab = ConversationPage(new_user(WIDTH, HEIGHT).new_page(), demo.url)
    tab.page.evaluate(STAND_STILL)
    tab.ask("How do I parse a csv file with a header?")
    tab.page.wait_for_function("() => window.stands")
    picture = PICTURE if TAKE_ANEW else tmp_path / "screenshot.png"
    tab.page.screenshot(path=picture)
    if TAKE_ANEW:
        assert tab.turn().get_attribute("data-status") == "running"
    for selector in (".question", ".reply .answer", ".events .cue"):
        assert tab.find(selector).first.bounding_box(), selector
    assert picture.stat().st_size <= MOST_BYTES
