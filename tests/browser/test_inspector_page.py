"""The views of the inspector's page in Chromium, against a pretended server: lists, figures, a session, failures."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from browser.inspected import Inspected
from browser.inspector_tab import VIEWS, Inspector
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext

    NewUser = Callable[..., BrowserContext]

pytestmark = pytest.mark.timeout(300)  # a browser on a machine that may be busy


def test_each_view(user: BrowserContext) -> None:
    """Each view is reached by the list of views, shows its data, and is marked there. Nothing breaks the policy."""
    server = Inspected(user)
    tab = Inspector(user)
    for view, title in VIEWS.items():
        if "?" in view:
            continue
        link = tab.page.get_by_role("navigation").get_by_role("link", name=re.compile(title))
        link.click()
        expect(tab.page.get_by_role("heading", level=1)).to_have_text(title)
        expect(tab.shown(view)).not_to_have_count(0)
        expect(link).to_have_attribute("aria-current", "page")
        tab.second()
    assert tab.page.title() == "Actors · Greenroom inspector"
    assert {path for path, _ in server.asked} >= {
        "me",
        "overview",
        "runs",
        "sessions",
        "failures",
        "connections",
        "tree",
    }
    assert tab.errors == []


def test_figures_with_their_history(user: BrowserContext) -> None:
    """A figure is shown with a line of its newest values. The server's samples begin it. Health has its reasons."""
    Inspected(user, evil=" and odd")
    tab = Inspector(user)
    card = tab.page.locator(".card", has_text="Events per second")
    expect(card.locator(".value")).to_have_text(re.compile(r"^\d+$"))
    line = card.locator(".spark-line")
    points = len(re.findall("[ML]", line.get_attribute("d") or ""))
    assert points >= 100
    tab.second(3)
    assert len(re.findall("[ML]", line.get_attribute("d") or "")) == points + 3
    expect(tab.page.locator(".reasons")).to_have_text("the log is slow and odd")
    expect(tab.page.locator("#health")).to_have_text("Not ready")
    table = tab.page.get_by_role("grid", name="Runs by agent")
    expect(table.get_by_role("row")).to_have_count(4)
    expect(tab.page.locator(".panel", has_text="Event log").locator("dd", has_text="50 MiB")).to_be_visible()


@pytest.mark.parametrize("port", [8772, None])
def test_workers(user: BrowserContext, port: int | None) -> None:
    """A worker names itself. The others are links to their own ports, if they have one; else the page says how."""
    server = Inspected(user)
    both = [{"worker": 1, "node": "web-1", "port": port and port - 1}, {"worker": 2, "node": None, "port": port}]
    server.workers = {"number": 2, "count": 2, "scheme": "http", "all": both}
    tab = Inspector(user)
    expect(tab.page.locator("#worker")).to_have_text("2 of 2")
    panel = tab.page.locator(".panel", has_text="Workers")
    expect(panel.locator("p")).to_contain_text("those of worker 2 of 2")
    first, second = panel.locator("li").all()
    if port is None:
        expect(panel.locator("p")).to_contain_text("set worker_http_port")
        expect(first.locator("a")).not_to_have_attribute("href", re.compile("."))
        expect(second).to_have_text("Worker 2 answers here")
    else:
        expect(first.locator("a")).to_have_attribute("href", "http://inspected.example:8771/inspect/")
        expect(first).to_have_text("Worker 1 web-1 · port 8771")
        expect(second).to_have_text("Worker 2 answers here · port 8772")
    server.workers = None
    tab.second()
    expect(panel).to_be_hidden()
    expect(tab.page.locator("#worker")).to_be_hidden()


def test_headings_are_whole(new_user: NewUser) -> None:
    """No heading of a column is cut, in any view and at any width. Where rows are cards, there are no headings."""
    context = new_user(1280, 800)
    Inspected(context)
    tab = Inspector(context)
    cut = """() => [...document.querySelectorAll("#view th")].filter((each) => each.checkVisibility())
        .filter((each) => each.scrollWidth > each.clientWidth || each.clientWidth < 24)
        .map((each) => `${each.textContent} at ${innerWidth}`)"""
    beyond = """() => [...document.querySelectorAll("#view .grid")]
        .filter((each) => each.offsetWidth > each.parentElement.offsetWidth + 1).map((each) => each.offsetWidth)"""
    for view in VIEWS:
        tab.show(view)
        for width in (1920, 1280, 1201, 1200, 1025, 1024, 769, 390):
            tab.page.set_viewport_size({"width": width, "height": 800})
            assert tab.page.evaluate(cut) == [], view
            assert tab.page.evaluate(beyond) == [], (view, width)
            assert width > 1024 or tab.page.locator("#view th:visible").count() == 0, view


def test_ten_thousand_rows(user: BrowserContext) -> None:
    """Of 10,000 rows a page shows 200. The buttons and the keys turn the pages, and a refresh stays on its page."""
    server = Inspected(user, rows=10_000)
    tab = Inspector(user, "runs")
    rows = tab.page.locator("#view tbody tr")
    expect(rows).to_have_count(200)
    expect(tab.page.locator(".range")).to_have_text("1\N{EN DASH}200 of 10,000")
    tab.page.get_by_role("button", name="Next").click()
    expect(tab.page.locator(".range")).to_have_text("201\N{EN DASH}400 of 10,000")
    tab.page.mouse.move(0, 0)
    tab.second(2)
    expect(rows).to_have_count(200)
    expect(rows.first.locator(".run")).to_have_text("r-00200")
    expect(rows.first).to_have_attribute("aria-rowindex", "202")
    tab.page.keyboard.press("[")
    expect(tab.page.locator(".range")).to_have_text("1\N{EN DASH}200 of 10,000")
    tab.page.get_by_label("State").select_option("asking")
    tab.page.get_by_label("Agent").fill("writer")
    tab.page.get_by_label("Older than").fill("5m")
    tab.page.clock.run_for(1_000)
    expect(tab.page).to_have_url(re.compile(r"#/runs\?agent=writer&state=asking&older=5m$"))
    tab.second()
    assert ("runs", {"agent": "writer", "state": "asking", "older_than": "300"}) in server.asked
    tab.page.get_by_label("Older than").fill("soon")
    tab.second()
    expect(tab.page.get_by_label("Older than")).to_have_attribute("aria-invalid", "true")
    tab.page.get_by_role("button", name="Clear").click()
    expect(tab.page.get_by_label("Agent")).to_have_value("")
    tab.show("tree")
    tab.page.get_by_role("row", name=re.compile("users")).click()
    expect(tab.page.locator("#view tbody tr")).to_have_count(204)
    tab.page.get_by_role("button", name="Next").click()
    expect(tab.page.get_by_role("row", name=re.compile("session-200 "))).to_be_visible()
    assert tab.errors == []


def test_rows_stay_under_the_pointer(user: BrowserContext) -> None:
    """While a person points at a list, its rows stay where they are, whatever order the server's answer has."""
    server = Inspected(user)
    tab = Inspector(user, "connections")
    expect(tab.page.locator("#view tbody tr")).to_have_count(3)
    before = tab.first_cells()
    tab.page.locator("#view tbody tr").nth(1).hover()
    server.backwards = True
    tab.second(2)
    assert tab.first_cells() == before
    server.rows = 2
    tab.second()
    assert tab.first_cells() == before
    expect(tab.page.locator("#view tbody tr[data-gone]")).to_have_count(1)
    tab.page.mouse.move(0, 0)
    tab.second()
    assert tab.first_cells() == before[1::-1]


def test_nothing_moves_on_refresh(user: BrowserContext) -> None:
    """A refresh changes numbers, and moves nothing on the page."""
    Inspected(user)
    tab = Inspector(user)
    for view in VIEWS:
        tab.show(view)
        tab.page.evaluate("""() => {
            window.shifts = [];
            window.observer?.disconnect();
            window.observer = new PerformanceObserver((list) => shifts.push(...list.getEntries()));
            window.observer.observe({ type: "layout-shift" });
        }""")
        places = """() => [...document.querySelectorAll("#view :is(.card, tr, summary, h2)")]
            .map((each) => each.offsetTop)"""
        before = tab.page.evaluate(places)
        tab.second()
        if "session?" not in view:  # its bars may get longer, and its events more
            assert tab.page.evaluate(places) == before, view
            assert tab.page.evaluate("() => window.shifts") == [], view


def test_actions_are_asked_about(user: BrowserContext) -> None:
    """An action is done only after its dialog, and says what became of it."""
    server = Inspected(user)
    tab = Inspector(user, "runs")
    page = tab.page
    page.get_by_role("button", name="Cancel run r-00000 of researcher").click()
    dialog = page.get_by_role("dialog", name="Cancel this run?")
    expect(dialog).to_contain_text("researcher, run r-00000 and its 3 sub-agents, of ada-0 in session draft-0")
    expect(dialog.get_by_role("button", name="Let it run")).to_be_focused()
    dialog.get_by_role("button", name="Let it run").click()
    assert server.posted == []
    page.get_by_role("button", name="Cancel run r-00000 of researcher").click()
    dialog.get_by_role("button", name="Cancel the run").click()
    expect(page.locator("#note")).to_have_text("Run r-00000 is cancelled.")
    ((path, body, headers),) = server.posted
    assert (path, body) == ("runs/cancel", {"user": "ada-0", "session": "draft-0", "run": "r-00000"})
    assert headers["x-requested-with"]
    assert headers["content-type"] == "application/json"
    tab.show("connections")
    page.get_by_role("button", name="Close connection k-2").click()
    page.get_by_role("dialog").get_by_role("button", name="Close it").click()
    expect(page.locator("#note")).to_have_text("Connection k-2 is closed.")
    assert server.posted[1][:2] == ("connections/close", {"connection": "k-2"})
    page.get_by_role("button", name="Waiting").click()
    expect(page.get_by_role("columnheader", name="Waiting")).to_have_attribute("aria-sort", "descending")
    tab.second()
    assert ("connections", {"sort": "waiting"}) in server.asked


def test_session_is_live(user: BrowserContext) -> None:
    """A session is shown with a bar for each run, sub-agent and tool, and with its newest events, which go on."""
    Inspected(user)
    tab = Inspector(user, "session?user=ada-1&session=draft-1&run=r-critic")
    page = tab.page
    expect(page.locator(".trace")).to_have_count(3)
    opened = page.locator(".trace[open]")
    expect(opened).to_have_count(1)
    names = ["researcher", "plan", "reader", "open_book", "take_notes", "critic", "compare", "fetch_page"]
    expect(opened.locator(".bar-name")).to_have_text(names)
    expect(opened.locator(".bar-row.wanted .bar-name")).to_have_text("critic")
    whole, part = (opened.locator(".bar").nth(index).bounding_box() for index in (0, 2))
    assert whole
    assert part
    assert whole["x"] < part["x"] < part["x"] + part["width"] < whole["x"] + whole["width"]
    events = page.locator(".event")
    expect(events.first).to_be_visible()
    newest = events.first.locator(".seq").inner_text()
    tab.second(3)
    expect(events.first.locator(".seq")).not_to_have_text(newest)
    page.get_by_label("Type, tool, run or status").fill("tool_completed")
    expect(page.locator(".event .type", has_text="agent_output")).to_have_count(0)
    page.get_by_label("Content").check()
    tab.second()
    expect(page.locator(".event details").first).to_be_attached()
    page.get_by_role("link", name="Sessions").first.click()
    expect(page.locator("#title")).to_have_text("Sessions")
    assert tab.errors == []


def test_failures_are_copied_and_unfolded(user: BrowserContext) -> None:
    """A failure has a reference to copy, a link to its run, and a traceback that is folded at first."""
    user.grant_permissions(["clipboard-read", "clipboard-write"])
    Inspected(user, rows=9)
    tab = Inspector(user, "failures")
    page = tab.page
    expect(page.locator(".failures > li")).to_have_count(9)
    expect(page.get_by_role("region", name="Traceback").first).to_be_hidden()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Traceback").first).to_contain_text("LookupError: gone")
    tab.second(2)
    expect(page.get_by_role("region", name="Traceback").first).to_be_visible()
    page.get_by_role("button", name="Copy reference f3a9c1d0").click()
    expect(page.get_by_role("button", name="Copy reference f3a9c1d0")).to_have_text(re.compile("Copied|Failed"))
    link = page.get_by_role("link", name=re.compile("ada-0 · draft-0 · run r-0"))
    expect(link).to_have_attribute("href", "#/session?user=ada-0&session=draft-0&run=r-0")
    page.get_by_label("Kind").select_option("connection")
    tab.second()
    expect(page.locator(".failures > li")).to_have_count(2)
    page.get_by_label("Text or reference").fill("nothing of that")
    tab.second()
    expect(page.locator(".empty")).to_have_text("No failure fits the filter.")
