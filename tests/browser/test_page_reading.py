"""The demo's page for its readers: it follows without pulling, copies, can be used by keyboard, and shows only text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from browser.pages import STANDS, ConversationPage
from browser.stage import HOSTILE
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from browser.serving import ServerProcess
    from playwright.sync_api import BrowserContext

    OpenTab = Callable[[str], ConversationPage]
    NewUser = Callable[..., BrowserContext]

pytestmark = pytest.mark.timeout(300)  # a page needs a server, its index and a browser, and the machine may be busy

LINES = " | ".join(["a line of the answer\n\n"] * 60)
TAGS = "node => [...new Set([...node.querySelectorAll('*')].map((each) => each.localName))]"
ATTRIBUTES = "node => [...new Set([...node.querySelectorAll('*')].flatMap((each) => each.getAttributeNames()))]"
OWN_TAGS = (
    "article h1 h2 h3 h4 p div span ol ul li code pre strong em a blockquote table thead tbody tr th td button form "
    "section details summary"
)
THOUGHTS = " | ".join(["think"] * 60)


def test_reader_is_not_moved(script_server: ServerProcess, open_tab: OpenTab) -> None:
    """The page follows an answer while its reader is at the end, and stands still once the reader has scrolled up."""
    tab = open_tab(script_server.url)
    tab.ask(f"{LINES} | ask | {LINES}")
    tab.find(".cue.ask form").wait_for()
    at_end = "() => document.documentElement.scrollHeight - innerHeight - scrollY < 80"
    tab.page.wait_for_function(at_end)
    expect(tab.find("#latest")).to_be_hidden()
    tab.page.mouse.wheel(0, -400)
    expect(tab.find("#latest")).to_be_visible()
    tab.page.wait_for_function(STANDS)  # a wheel scrolls for some frames
    before = tab.page.evaluate("scrollY")
    tab.page.evaluate("document.querySelector('.cue.ask button').click()")
    tab.expect_status("ok")
    assert tab.page.evaluate("scrollY") == before
    tab.page.get_by_role("button", name="Newest").click()
    tab.page.wait_for_function(at_end)
    expect(tab.find("#latest")).to_be_hidden()


def test_events_follow_the_newest(script_server: ServerProcess, open_tab: OpenTab) -> None:
    """The list of events scrolls to the newest event, unless the reader has scrolled up in the list."""
    tab = open_tab(script_server.url)
    tab.ask(f"{THOUGHTS} | ask | {THOUGHTS} | hang")
    tab.find(".cue.ask form").wait_for()
    events = tab.find(".events > .cues")
    at_end = "node => node.scrollHeight - node.clientHeight - node.scrollTop < 2"
    tab.page.wait_for_function(at_end, arg=events.element_handle())
    events.evaluate("node => new Promise(done => { node.onscroll = done; node.scrollTop = 10; })")
    tab.page.get_by_role("button", name="green").click()
    tab.find('.cue.tool[data-status="running"]').wait_for(state="attached")
    assert events.evaluate("node => node.scrollTop") == 10
    tab.page.click("#stop")
    tab.expect_status("cancelled")


def test_phone(script_server: ServerProcess, new_user: NewUser) -> None:
    """On a phone the list of events is folded: only its title is visible, with the newest event.

    A question of the agent is visible nevertheless. If the user unfolds the list, it stays open.
    """
    tab = ConversationPage(new_user(390, 780).new_page(), script_server.url)
    tab.ask("think | ask")
    expect(tab.find(".cue.ask")).to_be_visible()
    expect(tab.find(".events > .cues")).to_be_hidden()
    expect(tab.find(".events > summary")).to_contain_text("Which colour?")
    tab.find(".events > summary").click()
    expect(tab.find(".events > .cues")).to_be_visible()
    assert tab.overflow() <= 0
    tab.page.get_by_role("button", name="red").click()
    tab.expect_status("ok")
    expect(tab.find(".events > .cues")).to_be_visible()  # an event does not fold what a person has opened


@pytest.mark.parametrize("clipboard", [True, False])
def test_copy(script_server: ServerProcess, user: BrowserContext, *, clipboard: bool) -> None:
    """Code and whole answers can be copied, also on a page over plain http, where browsers offer no clipboard API."""
    user.grant_permissions(["clipboard-read", "clipboard-write"])
    if not clipboard:
        user.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    tab = ConversationPage(user.new_page(), script_server.url)
    answer = "Look:\n\n```python\nx = '<b>'\ny = 2\n```\n\n**end**"
    tab.ask(answer)
    tab.expect_status("ok")
    field = tab.find("#question")
    for name, text in (("Copy code", "x = '<b>'\ny = 2"), ("Copy the answer", answer)):
        button = tab.page.get_by_role("button", name=name)
        button.click()
        expect(button).to_have_text("Copied")
        field.fill("")
        field.press("Control+v")
        expect(field).to_have_value(text)


def test_table(script_server: ServerProcess, open_tab: OpenTab) -> None:
    """The page shows a Markdown table in an answer as a table, with the alignment of its columns."""
    tab = open_tab(script_server.url)
    tab.ask("|name|size|\n|---|--:|\n|`a`|1|\n|**b**|2|")
    tab.expect_status("ok")
    table = tab.find(".reply .answer table")
    assert table.locator("th").all_inner_texts() == ["name", "size"]
    assert table.locator("td").all_inner_texts() == ["a", "1", "b", "2"]
    assert table.locator("td strong").inner_text() == "b"
    assert table.locator("td").nth(1).evaluate("node => getComputedStyle(node).textAlign") == "right"


def test_escape_stops(script_server: ServerProcess, open_tab: OpenTab) -> None:
    """Escape stops the newest run."""
    tab = open_tab(script_server.url)
    for number in range(2):
        tab.ask("hang")
        expect(tab.turn(number)).to_have_attribute("data-status", "running")
    tab.page.keyboard.press("Escape")
    tab.expect_status("cancelled", turn=1)
    expect(tab.turn(0)).to_have_attribute("data-status", "running")
    tab.page.keyboard.press("Escape")
    tab.expect_status("cancelled", turn=0)


def test_screen_reader(script_server: ServerProcess, open_tab: OpenTab) -> None:
    """When an answer is complete, it is written into the live region, which a screen reader reads aloud.

    Every button, field and link has a name for the screen reader. An old answer is not read again after a refresh.
    """
    tab = open_tab(script_server.url)
    tab.ask("the whole answer | ask")
    tab.find(".cue.ask form").wait_for()
    unnamed = """[...document.querySelectorAll("button, input, textarea, a, summary, [tabindex]")].filter((node) =>
        !(node.getAttribute("aria-label") || node.labels?.length || node.textContent.trim())).length"""
    assert tab.page.evaluate(unnamed) == 0
    tab.page.get_by_role("button", name="red").click()
    tab.expect_status("ok")
    expect(tab.find("#announcer")).to_contain_text("Done")
    expect(tab.find("#announcer")).to_contain_text("the whole answer")
    tab.page.reload()
    tab.expect_status("ok")
    expect(tab.find("#announcer")).to_be_empty()  # an old answer is not read again


def test_reduced_motion(script_server: ServerProcess, open_tab: OpenTab) -> None:
    """If the user's system asks for reduced motion, the page runs no animation."""
    tab = open_tab(script_server.url)
    tab.ask("text | type")
    tab.find("#typing").wait_for()
    tab.page.emulate_media(reduced_motion="no-preference")
    assert tab.page.evaluate("document.getAnimations().length") > 0
    tab.page.emulate_media(reduced_motion="reduce")
    assert tab.page.evaluate("document.getAnimations().length") == 0
    tab.page.click("#stop")
    tab.expect_status("cancelled")


def test_no_field_becomes_markup(script_server: ServerProcess, open_tab: OpenTab) -> None:
    """HTML and script in any field of any event is shown as text, and runs nothing."""
    tab = open_tab(script_server.url)
    for text in HOSTILE:
        tab.ask(text)
        tab.expect_status("ok")
    tab.ask("hostile | ask")
    # The hostile step asks too, and its questions are open for a moment. Only the last question stays open.
    tab.find('.cue.ask[data-status="open"]').filter(has_text="Which colour?").wait_for()
    turns = tab.find("#turns")
    turns.evaluate("node => node.querySelectorAll('details').forEach((each) => (each.open = true))")
    assert set(turns.evaluate(TAGS)) - set(OWN_TAGS.split()) == set()
    assert [name for name in turns.evaluate(ATTRIBUTES) if name.startswith("on") or name in {"src", "style"}] == []
    links = turns.evaluate("node => [...node.querySelectorAll('a')].map((each) => each.protocol)")
    assert set(links) <= {"https:"}
    shown = turns.inner_text()
    assert all(shown.count(text) >= 8 for text in HOSTILE)
    assert tab.page.evaluate("[window.pwned ?? 0, Object.keys(Object.prototype).length]") == [0, 0]
    assert tab.errors == []
    tab.page.click("#stop")


def test_configuration_is_text(script_server: ServerProcess, user: BrowserContext) -> None:
    """The title, the suggestions, the agent and the model of the configuration are shown as text."""
    evil = HOSTILE[0]
    config = {"ws_url": script_server.ws_url, "agent": evil, "title": evil, "suggestions": [evil], "model": evil}
    page = user.new_page()
    page.route("**/config", lambda route: route.fulfill(json=config))
    page.goto(script_server.url)
    expect(page.locator("#opening-title")).to_have_text(evil)
    expect(page.locator("#suggestions button")).to_have_text(evil)
    expect(page.locator("#model")).to_have_text(f"Model: {evil}")
    assert page.locator("img").count() == 0
