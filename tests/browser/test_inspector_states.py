"""The inspector's page while it cannot show data: logged out, refused, without its server, hidden."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from browser.inspected import URL, Inspected
from browser.inspector_tab import Inspector
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext

    NewUser = Callable[..., BrowserContext]

pytestmark = pytest.mark.timeout(300)  # a browser on a machine that may be busy


def test_login(user: BrowserContext) -> None:
    """Without a login, the page asks for the operator token. After it, the page shows what was asked for."""
    server = Inspected(user)
    server.refusal = 401, "log in"
    tab = Inspector(user, "runs")
    page = tab.page
    tab.expect_state("login")
    field = page.get_by_label("Operator token")
    expect(field).to_be_focused()
    expect(page.locator("#view")).to_be_hidden()
    field.fill("something else")
    page.keyboard.press("Enter")
    expect(page.locator("#login-fault")).to_have_text("This is not the operator token.")
    expect(field).to_be_focused()
    page.keyboard.type("the operator's token")
    page.keyboard.press("Enter")
    tab.expect_state("live")
    expect(page.locator("#view tbody tr")).to_have_count(3)
    expect(page.locator("#who")).to_have_text("ops")
    assert "token" not in page.url
    server.refusal = 401, "log in"
    page.get_by_role("button", name="Log out").click()
    tab.expect_state("login")
    assert server.posted[-1][0] == "logout"


def test_closed(user: BrowserContext) -> None:
    """If the inspector is closed to a person, the page shows the server's reason."""
    server = Inspected(user)
    server.refusal = 403, "Set operator_token to use it from another machine."
    tab = Inspector(user)
    tab.expect_state("refused")
    expect(tab.page.get_by_text("Set operator_token")).to_be_visible()
    server.refusal = None
    tab.page.get_by_role("button", name="Try again").click()
    tab.expect_state("live")


def test_unknown_session(user: BrowserContext) -> None:
    """If the server refuses what a view asks for, the page says so, and goes on."""
    server = Inspected(user)
    tab = Inspector(user)
    tab.expect_state("live")
    user.route(f"{URL}api/session?*", lambda route: route.fulfill(status=404, json={"error": {"code": "not_found"}}))
    tab.page.evaluate("location.hash = '#/session?user=a&session=b'")
    expect(tab.page.locator("#fault")).to_have_text("The server knows nothing of this name.")
    tab.expect_state("live")
    before = server.count("overview")
    tab.second()
    assert server.count("overview") > before


def test_lost_server(user: BrowserContext) -> None:
    """If the server is lost, the page says so, keeps what it has shown, and tries again, later and later."""
    server = Inspected(user)
    tab = Inspector(user, "runs")
    page = tab.page
    tab.expect_state("live")
    server.lost = True
    page.clock.run_for(1_000)
    tab.expect_state("lost")
    lost = page.get_by_role("alert").filter(has_text="does not answer")
    expect(lost).to_be_visible()
    expect(page.locator("#view tbody tr")).to_have_count(3)
    page.clock.run_for(250)
    expect(page.locator("#countdown")).to_have_text(re.compile("Next try in 1 s|Trying now…"))
    server.lost = False
    page.get_by_role("button", name="Try now").click()
    tab.expect_state("live")
    expect(lost).to_be_hidden()


def test_hidden_tab(user: BrowserContext) -> None:
    """A tab that is hidden or paused asks for nothing. When it is seen again, it asks at once."""
    server = Inspected(user)
    tab = Inspector(user, "session?user=ada-1&session=draft-1")
    page = tab.page
    expect(page.locator(".event").first).to_be_visible()
    tab.second()
    hide = """(state) => {
        Object.defineProperty(document, "hidden", { value: state === "hidden", configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(hide, "hidden")
    before = len(server.asked)
    page.clock.run_for(120_000)
    page.evaluate("() => fetch('icon.svg')")  # whatever the page asked for before is answered before this
    assert len(server.asked) - before <= 1  # what was on its way
    page.evaluate(hide, "visible")
    tab.expect_state("live")
    tab.second()
    page.get_by_role("button", name="Pause").click()
    tab.expect_state("paused")
    before = server.count("overview")
    page.clock.run_for(120_000)
    page.evaluate("() => fetch('icon.svg')")
    assert server.count("overview") == before
    page.keyboard.press("p")
    tab.expect_state("live")
