"""The demo's page where a proxy refuses every WebSocket: it goes on over HTTP."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from browser.pages import ConversationPage

if TYPE_CHECKING:
    from browser.serving import ServerProcess
    from playwright.sync_api import BrowserContext

pytestmark = pytest.mark.timeout(300)  # a page needs a server and a browser, and the machine may be busy


def test_page_over_http(script_server: ServerProcess, user: BrowserContext) -> None:
    """Without a WebSocket, the page asks, answers a question and shows every event; a refresh shows them again."""
    page = user.new_page()
    page.route_web_socket(re.compile("^ws:"), lambda socket: socket.close(code=1011, reason="no WebSockets here"))
    tab = ConversationPage(page, script_server.url)
    assert page.evaluate("greenroomDemo.client.transport") == "sse"
    tab.ask("think | tool | ask | text")
    page.get_by_role("button", name="green").click()
    tab.expect_status("ok")
    tab.assert_each_event_once_in_order()
    before = tab.events()
    page.reload()
    tab.expect_state("live")
    tab.expect_status("ok")
    assert tab.events() == before
    assert tab.errors == []
