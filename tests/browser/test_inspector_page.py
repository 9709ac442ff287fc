"""The inspector's page in Chromium, against a pretended server: its lists, its keys, its errors, its accessibility."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from browser.inspected import URL, Inspected
from browser.pages import SLOWEST
from browser.stage import HOSTILE
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext, Page

    NewUser = Callable[..., BrowserContext]

pytestmark = pytest.mark.timeout(300)  # a browser on a machine that may be busy

VIEWS = {
    "overview": "Overview",
    "runs": "Runs",
    "sessions": "Sessions",
    "session?user=ada-1&session=draft-1": "Session",
    "failures": "Failures",
    "connections": "Connections",
    "tree": "Tree",
}
"""The address of each view, and its heading."""
PHONE = 360


class Inspector:
    """A tab that shows the inspector. Its clock stands until the test moves it, so that it asks when the test wants."""

    def __init__(self, context: BrowserContext, view: str = "overview") -> None:
        self.page: Page = context.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.set_default_timeout(SLOWEST)
        begin = datetime.now(UTC)
        self.page.clock.install(time=begin)
        self.page.clock.pause_at(begin + timedelta(seconds=1))
        self.page.goto(f"{URL}#/{view}")
        self.state = self.page.locator("#state")
        expect(self.state).not_to_have_attribute("data-state", "loading")

    def expect_state(self, state: str) -> None:
        """Wait until the page shows this state."""
        expect(self.state).to_have_attribute("data-state", state)

    def show(self, view: str) -> None:
        """Go to a view, and wait for its data."""
        if self.page.url.endswith(f"#/{view}"):
            self.second()
            return
        before = self.state.get_attribute("data-at") or ""
        self.page.evaluate("(hash) => { location.hash = hash; }", f"#/{view}")
        expect(self.page.locator("#title")).to_have_text(VIEWS[view])
        expect(self.state).not_to_have_attribute("data-at", before)
        expect(self.shown(view)).not_to_have_count(0)

    def shown(self, view: str) -> Any:
        """Return the elements that show the data of a view."""
        lists = {"overview": ".card", "session": ".bar-row", "failures": ".failures > li"}
        return self.page.locator(lists.get(view.partition("?")[0], "#view tbody tr"))

    def second(self, number: int = 1) -> None:
        """Let seconds pass. The page asks the server in each of them."""
        for _ in range(number):
            before = self.state.get_attribute("data-at") or ""
            self.page.clock.run_for(1_000)
            expect(self.state).not_to_have_attribute("data-at", before)

    def first_cells(self) -> list[str]:
        """Return the text of the first cell of each row."""
        return self.page.locator("#view tbody tr td:first-child").all_inner_texts()


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
    assert tab.page.title() == "Tree · Greenroom inspector"
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


def test_keys(user: BrowserContext) -> None:
    """Each view, each row and each action can be reached by the keyboard alone."""
    server = Inspected(user, rows=300)
    tab = Inspector(user)
    page, press = tab.page, tab.page.keyboard.press
    tab.expect_state("live")
    press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    press("Enter")
    expect(page.locator("#main")).to_be_focused()
    press("2")
    expect(page.locator("#title")).to_have_text("Runs")
    expect(page.locator("#view tbody tr")).to_have_count(200)
    for key in ("j", "j", "ArrowDown", "k"):
        press(key)
    expect(page.locator("#view tbody tr").nth(1)).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.second()
    expect(page.locator("#view tbody tr").nth(1)).to_be_focused()
    press("x")
    expect(page.locator("#confirm")).to_be_visible()
    press("Escape")
    expect(page.locator("#confirm")).to_be_hidden()
    assert server.posted == []
    press("End")
    expect(page.locator("#view tbody tr").nth(199)).to_be_focused()
    press("]")
    expect(page.locator(".range")).to_have_text("201\N{EN DASH}300 of 300")
    press("/")
    expect(page.get_by_label("Agent")).to_be_focused()
    page.keyboard.type("j2?")
    expect(page.get_by_label("Agent")).to_have_value("j2?")
    press("Escape")
    press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.get_by_label("Single keys are shortcuts").uncheck()
    press("Escape")
    press("3")
    expect(page.locator("#title")).to_have_text("Runs")
    page.get_by_role("button", name="Keys").click()
    page.get_by_label("Single keys are shortcuts").check()
    press("Escape")
    page.locator("#main").focus()
    press("3")
    expect(page.locator("#view tbody tr")).to_have_count(200)
    press("j")
    press("Enter")
    expect(page.locator("#title")).to_have_text("Session")
    assert tab.errors == []


def test_keys_of_the_tree(user: BrowserContext) -> None:
    """The arrow keys unfold and fold the tree."""
    Inspected(user)
    tab = Inspector(user, "tree")
    rows = tab.page.get_by_role("treegrid", name="Actors").locator("tbody tr")
    expect(rows).to_have_count(3)
    for key in ("j", "ArrowDown", "ArrowRight"):
        tab.page.keyboard.press(key)
    expect(rows).to_have_count(6)
    expect(rows.nth(1)).to_have_attribute("aria-expanded", "true")
    expect(rows.nth(2)).to_have_attribute("aria-level", "3")
    tab.second()
    tab.page.keyboard.press("ArrowRight")
    expect(rows.nth(2)).to_be_focused()
    tab.page.keyboard.press("ArrowLeft")
    expect(rows.nth(1)).to_be_focused()
    tab.page.keyboard.press("ArrowLeft")
    expect(rows).to_have_count(3)
    tab.second()
    expect(rows).to_have_count(3)


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


def test_no_data_becomes_markup(user: BrowserContext) -> None:
    """HTML in any field of any answer is shown as text."""
    evil = "".join(HOSTILE[:3])
    Inspected(user, evil=evil)
    tab = Inspector(user)
    for view in VIEWS:
        tab.show(view)
        tab.second()
        assert evil in tab.page.locator("#view").inner_text(), view
        assert tab.page.locator("#view :is(img, script, [onload], [onerror])").count() == 0
    assert tab.page.evaluate("window.pwned") is None
    assert tab.errors == []


def test_names_and_roles(user: BrowserContext) -> None:
    """Each field and button has a name, each table its roles, and the page one heading of the first level."""
    Inspected(user)
    tab = Inspector(user)
    for view in VIEWS:
        tab.show(view)
        assert tab.page.evaluate(FAULTS) == [], view
        expect(tab.page.get_by_role("heading", level=1)).to_have_count(1)
        for landmark in ("main", "navigation", "banner"):
            expect(tab.page.get_by_role(landmark)).to_have_count(1)
    tree = tab.page.get_by_role("main").aria_snapshot()
    assert 'treegrid "Actors"' in tree


FAULTS = """() => {
    const faults = [];
    const named = (each) => (each.getAttribute("aria-label") || each.textContent || "").trim()
        || each.getAttribute("aria-labelledby") || each.closest("label")?.textContent.trim();
    const all = "a[href], button, input, select, summary, dialog, nav, [role=grid], [role=treegrid]";
    for (const each of document.querySelectorAll(all)) {
        if (!named(each)) faults.push(`no name: ${each.outerHTML.slice(0, 120)}`);
    }
    for (const each of document.querySelectorAll("input, select")) {
        if (!each.labels.length) faults.push(`no label: ${each.outerHTML}`);
    }
    for (const each of document.querySelectorAll("img:not([alt])")) faults.push(`no alt: ${each.src}`);
    const bare = "svg:not([aria-hidden]), tr:not([role=row]), td:not([role=gridcell]), th:not([role=columnheader])";
    for (const each of document.querySelectorAll(bare)) faults.push(`no role: ${each.outerHTML.slice(0, 80)}`);
    for (const list of document.querySelectorAll("[role=grid] tbody, [role=treegrid] tbody")) {
        const reached = list.querySelectorAll('tr[tabindex="0"]').length;
        if (list.rows.length && reached !== 1) faults.push(`the Tab key reaches ${reached} rows`);
    }
    for (const each of document.querySelectorAll("[aria-labelledby], [aria-describedby], [aria-controls]")) {
        for (const name of ["aria-labelledby", "aria-describedby", "aria-controls"]) {
            for (const id of (each.getAttribute(name) ?? "").split(" ").filter(Boolean)) {
                if (!document.getElementById(id)) faults.push(`no element ${id}`);
            }
        }
    }
    if (document.querySelector("[tabindex]:not([tabindex='0'], [tabindex='-1'])")) faults.push("another order");
    if (!document.documentElement.lang) faults.push("no language");
    return faults;
}"""
"""A script that returns what is wrong with the page for people who do not see it."""


def test_phone(new_user: NewUser) -> None:
    """On a phone, no view is wider than its window, all views can be reached, and buttons are large enough."""
    context = new_user(PHONE, 720, "dark")
    Inspected(context, rows=5)
    tab = Inspector(context)
    for view in VIEWS:
        tab.show(view)
        assert tab.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, view
        wide = """(width) => [...document.querySelectorAll("#view *")]
            .filter((each) => each.checkVisibility() && each.getBoundingClientRect().right > width + 1
                && getComputedStyle(each.parentElement).overflowX === "visible")
            .map((each) => each.outerHTML.slice(0, 100))"""
        assert tab.page.evaluate(wide, PHONE) == [], view
        small = """() => [...document.querySelectorAll("#views a, #view button, .top button")]
            .filter((each) => each.checkVisibility() && each.getBoundingClientRect().height < 24)
            .map((each) => each.textContent)"""
        assert tab.page.evaluate(small) == [], view
