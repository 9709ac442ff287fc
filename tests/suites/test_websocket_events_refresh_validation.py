"""Does a real browser have every event exactly once, however often and whenever its page is loaded again?

The rules tested here, in Chromium:

- After a refresh before, during or after a run, and after several in a row, the page has every event once, in order.
- The same holds for connections that are cut, by a killed server or by a network outage, and for a second tab.
- The same holds when the user goes back to the page, and the browser loads it again or restores it from its
  back/forward cache.
- The page gets no reset where nothing was lost.

The agent asks questions that the test answers, so that "during a run" does not depend on time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from _requires import require
from _scale import scaled
from browser.conftest import chromium, new_user, open_tab, script_server, user
from browser.pages import ConversationPage
from browser.quiet import QUIET
from browser.wire import Wire
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from browser.serving import ServerProcess
    from playwright.sync_api import Browser, BrowserContext

    OpenTab = Callable[[str], ConversationPage]

__all__ = ["chromium", "new_user", "open_tab", "script_server", "user"]

SCRIPT = "think | tool | one | two | ask | three | fail | four"
BEFORE_THE_QUESTION, IN_ALL = 7, 15
REFRESHES = scaled(2, 10)


def wait_for_events(tab: ConversationPage, count: int) -> None:
    """Wait until the page has ``count`` events. Check that it has each once, and had no reset."""
    tab.page.wait_for_function("count => window.greenroomDemo?.events.length >= count", arg=count)
    tab.assert_each_event_once_in_order()
    assert len(tab.events()) == count
    assert tab.page.evaluate("greenroomDemo.resets") == 0


def answer_question(tab: ConversationPage) -> None:
    """Answer the agent's question and wait for the end of the run."""
    tab.page.get_by_role("button", name="green").click()
    tab.expect_status("ok")


def test_refresh_around_a_run(script_server: ServerProcess, open_tab: OpenTab) -> None:
    """If a page is refreshed before, during and after a run, it shows every event exactly once."""
    tab = open_tab(script_server.url)
    tab.page.reload()
    tab.expect_state("live")
    tab.ask(SCRIPT)
    wait_for_events(tab, BEFORE_THE_QUESTION)
    during = tab.events()
    tab.page.reload()
    wait_for_events(tab, BEFORE_THE_QUESTION)
    assert tab.events() == during
    answer_question(tab)
    wait_for_events(tab, IN_ALL)
    after = tab.events()
    tab.page.reload()
    wait_for_events(tab, IN_ALL)
    assert tab.events() == after
    assert after[:BEFORE_THE_QUESTION] == during
    assert tab.errors == []


def test_many_refreshes(script_server: ServerProcess, open_tab: OpenTab) -> None:
    """After several refreshes in a row (ten in ``make soak``) the page has every event exactly once.

    Some of them come before the page has connected.
    """
    tab = open_tab(script_server.url)
    tab.ask(SCRIPT)
    wait_for_events(tab, BEFORE_THE_QUESTION)
    for number in range(REFRESHES):
        tab.page.reload(wait_until="domcontentloaded" if number % 2 else "load")
    wait_for_events(tab, BEFORE_THE_QUESTION)
    answer_question(tab)
    for number in range(REFRESHES):
        tab.page.reload(wait_until="domcontentloaded" if number % 2 else "load")
    wait_for_events(tab, IN_ALL)
    expect(tab.find(".turn")).to_have_count(1)


def test_connections_of_a_killed_server(script_server: ServerProcess, open_tab: OpenTab) -> None:
    """After the server was killed and started again, both tabs have reconnected and have every event exactly once."""
    first = open_tab(script_server.url)
    first.ask(SCRIPT)
    wait_for_events(first, BEFORE_THE_QUESTION)
    second = open_tab(first.url)
    wait_for_events(second, BEFORE_THE_QUESTION)
    script_server.kill()
    for tab in (first, second):
        tab.expect_state("waiting")
    script_server.start()
    for tab in (first, second):
        tab.expect_status("interrupted")
        tab.assert_each_event_once_in_order()
        assert tab.page.evaluate("greenroomDemo.resets") == 0
    assert first.events() == second.events()
    first.page.reload()
    wait_for_events(first, len(second.events()))
    assert first.events() == second.events()


def test_second_tab(script_server: ServerProcess, open_tab: OpenTab) -> None:
    """Two tabs of one session have the same events, each once, even if one tab is refreshed during the run."""
    first = open_tab(script_server.url)
    first.ask(SCRIPT)
    wait_for_events(first, BEFORE_THE_QUESTION)
    second = open_tab(first.url)
    wait_for_events(second, BEFORE_THE_QUESTION)
    first.page.reload()
    answer_question(second)
    for tab in (first, second):
        wait_for_events(tab, IN_ALL)
    assert first.events() == second.events()


@pytest.mark.parametrize("during", [True, False])
def test_back_and_forward(script_server: ServerProcess, open_tab: OpenTab, during: bool) -> None:
    """If the user leaves the page and goes back to it, the page has every event exactly once."""
    tab = open_tab(script_server.url)
    tab.ask(SCRIPT)
    wait_for_events(tab, BEFORE_THE_QUESTION)
    if not during:
        answer_question(tab)
        wait_for_events(tab, IN_ALL)
    for _ in range(scaled(2, 3)):
        tab.page.goto("about:blank")
        tab.page.go_back()
        wait_for_events(tab, BEFORE_THE_QUESTION if during else IN_ALL)
    if during:
        answer_question(tab)
        wait_for_events(tab, IN_ALL)


# The network


@pytest.fixture
def wire(script_server: ServerProcess) -> Iterator[Wire]:
    """Return the network between the browser and the server."""
    made = Wire(int(script_server.ws_url.rstrip("/").rpartition(":")[2]))
    yield made
    made.close()


@pytest.fixture
def browser_on_wire(chromium: Browser, wire: Wire) -> Iterator[BrowserContext]:
    """Return a browser context with WebSockets that go through the wire."""
    context = chromium.new_context(bypass_csp=True)  # the page's policy allows only the server's own port
    context.add_init_script(wire.script())
    yield context
    context.close()


def set_offline(tab: ConversationPage, wire: Wire, *, offline: bool) -> None:
    """Cut the network of a tab, or repair it. The browser tells the page."""
    if offline:
        wire.cut()
    else:
        wire.mend()
    tab.page.context.set_offline(offline)
    assert tab.page.evaluate("navigator.onLine") is not offline


@pytest.mark.parametrize("times", [1, scaled(2, 5)])
def test_network_outage(
    script_server: ServerProcess, browser_on_wire: BrowserContext, user: BrowserContext, wire: Wire, times: int
) -> None:
    """After a network outage the page has all events, and questions that the user asked offline are sent once."""
    tab = ConversationPage(browser_on_wire.new_page(), script_server.url)
    assert wire.carried == 1
    tab.ask(SCRIPT)
    wait_for_events(tab, BEFORE_THE_QUESTION)
    beside = ConversationPage(user.new_page(), tab.url)
    for number in range(times):
        set_offline(tab, wire, offline=True)
        tab.expect_state("waiting")
        if number == 0:
            answer_question(beside)
        tab.ask(f"asked offline {number}")
        assert "asked offline" not in str(beside.shown().splitlines()[:number])
        set_offline(tab, wire, offline=False)
        tab.expect_state("live")
        wait_for_events(tab, IN_ALL + 3 * (number + 1))
    wait_for_events(beside, IN_ALL + 3 * times)
    assert tab.events() == beside.events()
    assert wire.carried == 1 + times
    expect(tab.find(".turn")).to_have_count(1 + times)


def test_refresh_during_an_outage(script_server: ServerProcess, browser_on_wire: BrowserContext, wire: Wire) -> None:
    """A page that is refreshed during a network outage gets all events when the network works again."""
    tab = ConversationPage(browser_on_wire.new_page(), script_server.url)
    tab.ask(SCRIPT)
    wait_for_events(tab, BEFORE_THE_QUESTION)
    wire.cut()
    tab.page.reload()
    tab.expect_state("waiting")
    assert tab.events() == []
    wire.mend()
    wait_for_events(tab, BEFORE_THE_QUESTION)
    answer_question(tab)
    wait_for_events(tab, IN_ALL)


# The back/forward cache


@pytest.fixture(scope="module")
def caching_browser(chromium: Browser) -> Iterator[Browser]:
    """Return a browser with the back/forward cache, which Playwright switches off by default."""
    browser = chromium.browser_type.launch(
        executable_path=require("chromium"), args=QUIET, ignore_default_args=["--disable-back-forward-cache"]
    )
    yield browser
    browser.close()


WATCH = """() => {
    window.seen = { hidden: [], shown: [], states: [] };
    addEventListener("pagehide", ({ persisted }) => seen.hidden.push(persisted));
    addEventListener("pageshow", ({ persisted }) => seen.shown.push(persisted));
    greenroomDemo.client.addEventListener("state", ({ detail }) => seen.states.push(detail.state));
}"""
RESTORED = {"hidden": [True], "shown": [True], "states": ["waiting", "connecting", "live"]}
"""Result of the script on a restored page: the page was kept, and its client stopped and started again."""


def leave_page(tab: ConversationPage, script_server: ServerProcess) -> None:
    """Go to another page of the same server."""
    tab.page.goto(f"{script_server.url}icon.svg")


def go_back(tab: ConversationPage) -> dict[str, list[object]]:
    """Go back to the page. Return the page events and connection states since the last call."""
    # Not page.go_back(): it waits for a page load, and a restored page has none.
    tab.page.evaluate("history.back()")
    tab.page.wait_for_function("() => window.seen?.states.at(-1) === 'live'")
    seen: dict[str, list[object]] = tab.page.evaluate(
        "Object.fromEntries(Object.entries(seen).map(([name, values]) => [name, values.splice(0)]))"
    )
    return seen


@pytest.mark.parametrize("meanwhile", ["nothing", "the end of the run", "another run"])
def test_back_forward_cache(
    script_server: ServerProcess, caching_browser: Browser, user: BrowserContext, meanwhile: str
) -> None:
    """A page that the browser restores from its back/forward cache reconnects, resumes, and misses no event."""
    context = caching_browser.new_context()
    tab = ConversationPage(context.new_page(), script_server.url)
    tab.ask(SCRIPT)
    wait_for_events(tab, BEFORE_THE_QUESTION)
    beside = ConversationPage(user.new_page(), tab.url)
    tab.page.evaluate(WATCH)
    expected = BEFORE_THE_QUESTION
    for time in range(scaled(2, 3)):
        leave_page(tab, script_server)
        if meanwhile != "nothing" and time == 0:
            answer_question(beside)
            expected = IN_ALL
        if meanwhile == "another run":
            beside.ask("one | two")
            expected += 4
            wait_for_events(beside, expected)
        assert go_back(tab) == RESTORED
        wait_for_events(tab, expected)
        assert tab.events() == beside.events()
    if meanwhile == "nothing":
        answer_question(tab)
        wait_for_events(tab, IN_ALL)
    assert [error for error in tab.errors if "404" not in error] == []  # the other page has no icon
    context.close()
