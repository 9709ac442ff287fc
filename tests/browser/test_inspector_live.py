"""The inspector of a real server in Chromium, while runs are going: every view, a run that is cancelled there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from _requires import require
from _scale import scaled
from browser.pages import SLOWEST, ConversationPage
from browser.serving import HERE, ServerProcess
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.timeout(300)  # a server and a browser, and the machine may be busy

USERS = scaled(4, 1_000)
RUNS_OF_A_USER = 3
"""A run, and its two sub-agents."""


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Run the app in crowd.py."""
    require("chromium")
    server = ServerProcess(tmp_path_factory.mktemp("crowd"), "serve", "browser.crowd:app", apps=HERE.parent)
    yield server
    server.kill()  # its runs never end, so it would wait for them
    server.stop()


def opened(context: BrowserContext, url: str, view: str, errors: list[str]) -> Page:
    """Open the inspector at a view, and note what goes wrong in it."""
    page = context.new_page()
    page.set_default_timeout(SLOWEST)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(f"{url}inspect/#/{view}")
    expect(page.locator("#state")).to_have_attribute("data-state", "live")
    return page


def test_every_view_while_runs_go(crowded: ServerProcess, new_user: Callable[..., BrowserContext]) -> None:
    """The inspector shows the runs of all users in each view. A run that is cancelled there ends, also for its user."""
    errors: list[str] = []
    visitor = ConversationPage(new_user().new_page(), crowded.url)
    visitor.ask(str(USERS))
    visitor.expect_status("ok")
    page = opened(new_user(), crowded.url, "overview", errors)
    running = page.locator(".card", has_text="Runs running").locator(".value")
    expect(running).to_have_text(f"{USERS * RUNS_OF_A_USER:,}")
    expect(page.locator("#health")).to_have_text("Healthy")
    navigation = page.get_by_role("navigation")

    navigation.get_by_role("link", name="Runs").click()
    rows = page.locator("#view tbody tr")
    expect(rows).to_have_count(min(200, USERS * RUNS_OF_A_USER))
    expect(page.locator(".range")).to_have_text(re.compile(f"{USERS * RUNS_OF_A_USER:,}"))
    page.get_by_label("User").fill("user-0001")
    expect(rows).to_have_count(RUNS_OF_A_USER)
    expect(rows.filter(has_text="endless")).to_have_count(2)
    top = rows.filter(has_text="player")
    top.get_by_role("link").click()
    expect(page.locator(".trace[open] .bar-name")).to_have_count(7)
    expect(page.locator(".trace[open] .bar-row[data-status=running]")).to_have_count(5)
    expect(page.locator(".event .type").first).to_have_text("tool_executing")

    page.locator(".trace[open]").get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the run").click()
    expect(page.locator("#note")).to_have_text(re.compile("is cancelled"))
    expect(page.locator(".trace[open] .bar-row[data-status=cancelled]")).to_have_count(5)
    expect(page.locator(".event .type").first).to_have_text("agent_completed")
    navigation.get_by_role("link", name="Runs").click()
    page.get_by_role("button", name="Clear").click()
    page.mouse.move(0, 0)
    expect(page.locator(".range")).to_have_text(re.compile(f"{(USERS - 1) * RUNS_OF_A_USER:,}"))

    navigation.get_by_role("link", name="Sessions").click()
    expect(rows).to_have_count(min(200, USERS + 1))
    navigation.get_by_role("link", name="Connections").click()
    expect(rows).to_have_count(1)
    navigation.get_by_role("link", name="Actors").click()
    expect(page.get_by_role("row", name=re.compile("sessions"))).to_be_visible()
    assert page.get_by_role("treegrid").locator("tbody tr").count() < 200
    assert errors == []


def test_failure_and_closed_connection(crowded: ServerProcess, new_user: Callable[..., BrowserContext]) -> None:
    """A run that fails is among the failures. A connection that is closed there comes back by itself."""
    errors: list[str] = []
    visitor = ConversationPage(new_user().new_page(), crowded.url)
    visitor.ask("not a number")
    visitor.expect_status("error")
    page = opened(new_user(), crowded.url, "failures", errors)
    failure = page.locator(".failures > li").first
    failure.locator("summary").click()
    expect(failure.get_by_role("region", name="Traceback")).to_contain_text("ValueError")
    page.get_by_role("navigation").get_by_role("link", name="Connections").click()
    rows = page.locator("#view tbody tr")
    expect(rows.first).to_be_visible()
    known = page.get_by_role("button", name=re.compile("^Close connection")).evaluate_all(
        "(all) => all.map((each) => each.ariaLabel)"
    )
    for name in known:
        page.get_by_role("button", name=name, exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name="Close it").click()
        expect(page.locator("#note")).to_have_text(re.compile("is closed|was gone"))
    visitor.expect_state("live")
    assert errors == []
