"""Does a real browser have every event exactly once, however often and whenever its page is loaded again?

The rules held here, in Chromium, with no duplicate allowed:

- a refresh before, during and after a run, and ten in a row, leave the page with every event once, in order;
- so do connections that are cut by a server which dies and comes back, a second tab, and going back to the page;
- the page is never told to begin again (a reset) where nothing was lost.

What a run does is held back by questions that the test answers, so that "during" is no matter of time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from browser.conftest import chromium, new_user, open_tab, stage, user
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from browser.pages import ConversationPage
    from browser.serving import ServerProcess

    OpenTab = Callable[[str], ConversationPage]

__all__ = ["chromium", "new_user", "open_tab", "stage", "user"]

SCRIPT = "think | tool | one | two | ask | three | fail | four"
BEFORE_THE_QUESTION, IN_ALL = 7, 15
REFRESHES = 10


def wait_for_events(tab: ConversationPage, count: int) -> None:
    """Wait until the page has that many events, all of them, once each."""
    tab.page.wait_for_function("count => window.greenroomDemo?.events.length >= count", arg=count)
    tab.assert_each_event_once_in_order()
    assert len(tab.events()) == count
    assert tab.page.evaluate("greenroomDemo.resets") == 0


def answer(tab: ConversationPage) -> None:
    tab.page.get_by_role("button", name="green").click()
    tab.expect_status("ok")


def test_a_refresh_before_during_and_after_a_run_costs_nothing(stage: ServerProcess, open_tab: OpenTab) -> None:
    tab = open_tab(stage.url)
    tab.page.reload()
    tab.expect_state("live")
    tab.ask(SCRIPT)
    wait_for_events(tab, BEFORE_THE_QUESTION)
    during = tab.events()
    tab.page.reload()
    wait_for_events(tab, BEFORE_THE_QUESTION)
    assert tab.events() == during
    answer(tab)
    wait_for_events(tab, IN_ALL)
    after = tab.events()
    tab.page.reload()
    wait_for_events(tab, IN_ALL)
    assert tab.events() == after
    assert after[:BEFORE_THE_QUESTION] == during
    assert tab.errors == []


def test_ten_refreshes_in_a_row_cost_nothing(stage: ServerProcess, open_tab: OpenTab) -> None:
    """Some of them before the page has even connected."""
    tab = open_tab(stage.url)
    tab.ask(SCRIPT)
    wait_for_events(tab, BEFORE_THE_QUESTION)
    for number in range(REFRESHES):
        tab.page.reload(wait_until="domcontentloaded" if number % 2 else "load")
    wait_for_events(tab, BEFORE_THE_QUESTION)
    answer(tab)
    for number in range(REFRESHES):
        tab.page.reload(wait_until="domcontentloaded" if number % 2 else "load")
    wait_for_events(tab, IN_ALL)
    expect(tab.find(".turn")).to_have_count(1)


def test_connections_that_a_killed_server_cut_cost_nothing(stage: ServerProcess, open_tab: OpenTab) -> None:
    first = open_tab(stage.url)
    first.ask(SCRIPT)
    wait_for_events(first, BEFORE_THE_QUESTION)
    second = open_tab(first.url)
    wait_for_events(second, BEFORE_THE_QUESTION)
    stage.kill()
    for tab in (first, second):
        tab.expect_state("waiting")
    stage.start()
    for tab in (first, second):
        tab.expect_status("interrupted")
        tab.assert_each_event_once_in_order()
        assert tab.page.evaluate("greenroomDemo.resets") == 0
    assert first.events() == second.events()
    first.page.reload()
    wait_for_events(first, len(second.events()))
    assert first.events() == second.events()


def test_a_second_tab_has_what_the_first_has_and_neither_has_it_twice(stage: ServerProcess, open_tab: OpenTab) -> None:
    first = open_tab(stage.url)
    first.ask(SCRIPT)
    wait_for_events(first, BEFORE_THE_QUESTION)
    second = open_tab(first.url)
    wait_for_events(second, BEFORE_THE_QUESTION)
    first.page.reload()
    answer(second)
    for tab in (first, second):
        wait_for_events(tab, IN_ALL)
    assert first.events() == second.events()


@pytest.mark.parametrize("during", [True, False])
def test_back_and_forward_cost_nothing(stage: ServerProcess, open_tab: OpenTab, during: bool) -> None:
    tab = open_tab(stage.url)
    tab.ask(SCRIPT)
    wait_for_events(tab, BEFORE_THE_QUESTION)
    if not during:
        answer(tab)
        wait_for_events(tab, IN_ALL)
    for _ in range(3):
        tab.page.goto("about:blank")
        tab.page.go_back()
        wait_for_events(tab, BEFORE_THE_QUESTION if during else IN_ALL)
    if during:
        answer(tab)
        wait_for_events(tab, IN_ALL)
