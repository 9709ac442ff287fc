"""The demo's page while it loads: nothing that a person types or presses is lost."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from browser.pages import SLOWEST, load_without
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from browser.pages import ConversationPage
    from browser.serving import ServerProcess
    from playwright.sync_api import BrowserContext, WebSocketRoute

    OpenTab = Callable[[str], ConversationPage]

pytestmark = pytest.mark.timeout(300)  # a page needs a server, its index and a browser, and the machine may be busy

USABLE = ":is(button, textarea, input):enabled, a[href]"


@pytest.mark.parametrize("file", ["demo.js", "words.js"])
def test_nothing_works_without_its_script(script_server: ServerProcess, user: BrowserContext, file: str) -> None:
    """Until the scripts of the page run, no control of the page can be used, so no question is lost."""
    page = user.new_page()
    missing = load_without(page, script_server.url, file)
    expect(page.locator(USABLE).filter(visible=True)).to_have_count(0)
    page.locator("#send").click(force=True)
    page.locator("#question").click(force=True)
    page.keyboard.type("too early\n")
    missing.continue_()
    expect(page.locator("#question")).to_be_focused(timeout=SLOWEST)
    expect(page.locator("#question")).to_have_value("")
    assert "?" not in page.url
    expect(page.locator(USABLE).filter(visible=True)).to_have_count(5)


def test_no_question_without_settings(script_server: ServerProcess, user: BrowserContext) -> None:
    """Until the page has its settings it takes no question. A new conversation can be begun."""
    page = user.new_page()
    missing = load_without(page, script_server.url, "config")
    expect(page.locator(USABLE).filter(visible=True)).to_have_text("New conversation")
    before = page.url
    with page.expect_request("**/demo.js"):
        page.click("#new")
    assert page.url != before
    missing.abort()


def test_question_before_the_connection(script_server: ServerProcess, user: BrowserContext) -> None:
    """A question that is asked before the first connection is answered when the page is connected."""
    held: list[WebSocketRoute] = []

    def hold_the_first(socket: WebSocketRoute) -> None:
        if held:
            socket.connect_to_server()
        held.append(socket)

    page = user.new_page()
    page.route_web_socket(re.compile("^ws:"), hold_the_first)
    page.goto(script_server.url)
    page.fill("#question", "asked early")
    page.keyboard.press("Enter")
    expect(page.locator(".turn")).to_have_attribute("data-status", "pending")
    held[0].close(code=1001)
    expect(page.locator(".turn")).to_have_attribute("data-status", "ok", timeout=SLOWEST)
    expect(page.locator(".reply .answer")).to_have_text("asked early")


def test_skip_to_the_question(script_server: ServerProcess, open_tab: OpenTab) -> None:
    """The link to the question moves the focus there, and stays in the conversation."""
    tab = open_tab(script_server.url)
    before = tab.url
    tab.find("#skip").focus()
    tab.page.keyboard.press("Enter")
    expect(tab.find("#question")).to_be_focused()
    assert tab.url == before
    tab.ask("text")
    tab.expect_status("ok")
