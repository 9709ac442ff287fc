"""The demo page in Chromium: one tab, several tabs, a refresh."""

from __future__ import annotations

import csv
import inspect
from typing import TYPE_CHECKING

import pytest
from _scale import SOAK
from browser.pages import ConversationPage
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from browser.serving import ServerProcess
    from playwright.sync_api import BrowserContext

    OpenTab = Callable[[str], ConversationPage]
    NewUser = Callable[..., BrowserContext]

pytestmark = pytest.mark.timeout(300)  # a page needs a server, its index and a browser, and the machine may be busy

QUESTION = "How do I parse a csv file with a header?"
LAYOUTS = [(360, "dark"), (1280, "light"), (360, "light"), (1280, "dark")]


def test_question_and_answer(demo: ServerProcess, open_tab: OpenTab) -> None:
    """The demo answers a question with real source code, and the page shows every tool and sub-agent that was used."""
    tab = open_tab(demo.url)
    tab.ask(QUESTION)
    tab.expect_status("ok")
    tab.assert_each_event_once_in_order()
    expected = {
        "agent_started",
        "agent_thinking",
        "agent_output",
        "tool_executing",
        "tool_completed",
        "agent_completed",
    }
    assert expected <= set(tab.types())
    answer = tab.turn().locator(".reply .answer")
    source = inspect.getsource(csv.DictReader)
    shown = [line for line in answer.locator("pre").last.inner_text().splitlines() if line.strip().startswith("def ")]
    assert shown
    assert all(line in source for line in shown)
    assert answer.locator("pre .h-keyword").count() > 0
    assert answer.locator("li", has_text="csv.py:").count() > 0
    subagents = tab.turn().locator(".cue.run")
    assert subagents.count() == 3
    for cue in [*subagents.all(), *tab.turn().locator(".cue.tool").all()]:
        assert cue.get_attribute("data-status") in {"ok", "error"}
        assert cue.locator("> details > summary .time").inner_text().endswith("s")
    assert subagents.first.locator(".cues .cue.tool").count() > 0
    assert tab.errors == []
    tool = tab.turn().locator(".cue.tool").first
    expect(tool.locator(".detail").first).to_be_hidden()
    tool.locator("summary").click()
    expect(tool.locator(".detail pre").first).to_contain_text(QUESTION)
    expect(tool.locator(".detail pre").nth(1)).to_contain_text("csv")


def test_refresh_during_a_run(script_server: ServerProcess, open_tab: OpenTab) -> None:
    """If the page is refreshed during a run, it shows the whole run afterwards, with each event once."""
    tab = open_tab(script_server.url)
    tab.ask("extra | tool | a line | ask | another line")
    for _ in range(2):
        tab.find(".cue.ask form").wait_for()
        tab.page.reload()
        tab.expect_status("running")
    tab.page.get_by_role("button", name="red").click()
    tab.expect_status("ok")
    tab.assert_each_event_once_in_order()
    assert tab.types().count("agent_started") == tab.types().count("agent_completed")
    assert tab.find(".turn").count() == 1


def test_two_tabs(demo: ServerProcess, open_tab: OpenTab, new_user: NewUser) -> None:
    """All tabs of a user show the same conversation, also a tab that is opened later. Another user sees none of it."""
    first = open_tab(demo.url)
    second = open_tab(first.url)
    stranger = ConversationPage(new_user().new_page(), first.url)
    first.ask(QUESTION)
    second.find(".cue.run").first.wait_for()
    late = open_tab(first.url)
    for tab in (first, second, late):
        tab.expect_status("ok")
    assert first.events() == second.events() == late.events()
    assert first.shown() == second.shown() == late.shown()
    stranger.ask("What is the length of a list?")
    stranger.expect_status("ok")
    stranger.assert_each_event_once_in_order()
    assert QUESTION not in stranger.page.inner_text("body")
    assert not {event["run_id"] for event in stranger.events()} & {event["run_id"] for event in first.events()}


def test_typing_shows_in_other_tabs(demo: ServerProcess, open_tab: OpenTab) -> None:
    """If a user types in one tab, the user's other tabs show it, and the tab itself does not."""
    first = open_tab(demo.url)
    second = open_tab(first.url)
    first.page.locator("#question").press_sequentially("How")
    expect(second.find("#typing")).to_contain_text("another tab")
    expect(first.find("#typing")).to_be_hidden()
    first.page.fill("#question", "")
    expect(second.find("#typing")).to_be_hidden()


def test_keyboard(script_server: ServerProcess, user: BrowserContext, open_tab: OpenTab) -> None:
    """A user can reach and use the suggestions, the question field and the stop button with the keyboard alone."""
    suggestions = {"suggestions": ["hang", "think", "tool"]}  # the first answer does not end by itself
    user.route("**/config", lambda route: route.fulfill(json=route.fetch().json() | suggestions))
    tab = open_tab(script_server.url)
    expect(tab.find("#question")).to_be_focused()
    suggestion = tab.find("#suggestions button").first
    for _ in range(tab.find("#suggestions button").count()):
        tab.page.keyboard.press("Shift+Tab")
    expect(suggestion).to_be_focused()
    assert suggestion.evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
    text = suggestion.inner_text()
    tab.page.keyboard.press("Enter")
    expect(tab.find(".question")).to_have_text(text)
    expect(tab.find("#question")).to_be_focused()
    tab.find("#stop").wait_for()
    tab.page.keyboard.press("Tab")
    expect(tab.find("#stop")).to_be_focused()
    tab.page.keyboard.press("Enter")
    tab.expect_status("cancelled")
    expect(tab.turn().locator(".ending")).to_contain_text("Stopped")


@pytest.mark.parametrize(("width", "scheme"), LAYOUTS if SOAK else LAYOUTS[:2])
def test_layout(script_server: ServerProcess, new_user: NewUser, width: int, scheme: str) -> None:
    """The page is not wider than its window, and its buttons are large enough for a finger, in each colour scheme."""
    tab = ConversationPage(new_user(width, 740, scheme).new_page(), script_server.url)
    assert tab.overflow() <= 0
    tab.ask(f"tool | ```python\nprint({'x' * 300!r})\n```\n | hang")  # an answer that does not end while it is measured
    tab.find(".reply .answer pre").first.wait_for()
    assert tab.overflow() <= 0
    for selector in ("#state", "#new", "#question", "#stop", "#send"):
        box = tab.find(selector).bounding_box()
        assert box, selector
        assert box["x"] >= 0, selector
        assert box["x"] + box["width"] <= width, selector
        assert box["y"] + box["height"] <= 740, selector
    for selector in ("#new", "#stop", "#send"):
        box = tab.find(selector).bounding_box()
        assert box, selector
        assert min(box["width"], box["height"]) >= 40, f"{selector} is too small for a finger"
    dark = "Math.max(...getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)) < 64"
    assert tab.page.evaluate(dark) == (scheme == "dark")
    tab.page.click("#stop")
    tab.expect_status("cancelled")


def test_new_conversation(demo: ServerProcess, open_tab: OpenTab) -> None:
    """A new conversation begins empty. The old conversation is still there when the user goes back to it."""
    tab = open_tab(demo.url)
    old = tab.url
    tab.ask("zzzz qqqq")
    tab.expect_status("ok")
    tab.page.click("#new")
    expect(tab.find(".turn")).to_have_count(0)
    expect(tab.find("#opening")).to_be_visible()
    assert tab.url != old
    tab.page.go_back()
    expect(tab.find(".question")).to_have_text("zzzz qqqq")
