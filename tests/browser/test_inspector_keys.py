"""The inspector's page by the keyboard alone, by screen readers and on a phone; and data that does harm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from browser.inspected import Inspected
from browser.inspector_tab import VIEWS, Inspector
from browser.stage import HOSTILE
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext

    NewUser = Callable[..., BrowserContext]

pytestmark = pytest.mark.timeout(300)  # a browser on a machine that may be busy

PHONE = 360


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
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.get_by_label("Single keys are shortcuts").uncheck()
    press("Escape")
    press("3")
    expect(page.locator("#title")).to_have_text("Runs")
    page.get_by_role("button", name="Shortcuts").click()
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
