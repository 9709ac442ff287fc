"""The demo page for each outcome of a run or a tool. The agent follows a script."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from browser.pages import ConversationPage
    from browser.serving import ServerProcess

    OpenTab = Callable[[str], ConversationPage]


pytestmark = pytest.mark.timeout(300)  # a page needs a server, its index and a browser, and the machine may be busy


def test_outcomes_look_different(script_server: ServerProcess, open_tab: OpenTab) -> None:
    """The page shows each outcome of a tool (done, failed, timed out, cancelled) with its own word and its own look."""
    tab = open_tab(script_server.url)
    tab.ask("tool | fail | time out | hang")
    cues = tab.find(".cue.tool")
    expect(cues).to_have_count(4)
    expect(cues.nth(3)).to_have_attribute("data-status", "running")
    tab.page.click("#stop")
    tab.expect_status("cancelled")
    statuses = [cue.get_attribute("data-status") for cue in cues.all()]
    assert statuses == ["ok", "error", "timeout", "cancelled"]
    words = [cue.locator(".status").text_content() for cue in cues.all()]
    assert words == ["done", "failed", "timed out", "cancelled"]
    look = "node => [getComputedStyle(node, '::after').content, getComputedStyle(node, '::after').color].join()"
    assert len({cue.evaluate(look) for cue in cues.all()}) == 4
    expect(cues.nth(1).locator(".fault")).to_contain_text("the prop is <b>gone</b>")
    expect(tab.find("#stop")).to_be_hidden()
    assert tab.errors == []


def test_failed_run(script_server: ServerProcess, open_tab: OpenTab) -> None:
    """The page shows a failed run as failed, and the user can send the same question again with one click."""
    tab = open_tab(script_server.url)
    tab.ask("think | ruin")
    tab.expect_status("error")
    expect(tab.turn().locator(".ending")).to_contain_text("Failed")
    tab.page.click(".again")
    expect(tab.find(".turn")).to_have_count(2)
    tab.expect_status("error", turn=1)
    assert tab.types().count("agent_started") == 2


def test_interrupted_run(script_server: ServerProcess, open_tab: OpenTab) -> None:
    """If the server is killed during a run, the page shows this run as interrupted.

    A question that is asked while the server is down is sent when the server runs again.
    """
    tab = open_tab(script_server.url)
    tab.ask("tool | extras")
    running = tab.find('.cue.run .cue.tool[data-status="running"]')
    expect(running).to_have_count(2)
    script_server.kill()
    tab.expect_state("waiting")
    tab.ask("asked while nobody was there")
    tab.expect_status("pending")
    expect(tab.turn().locator(".ending")).to_have_text("Waiting to be sent")
    script_server.start()
    tab.expect_status("ok", turn=1)
    tab.expect_status("interrupted", turn=0)
    assert tab.find(".cue.run .cue.tool").count() == 4
    assert tab.find('.cue.run .cue.tool[data-status="interrupted"]').count() == 2
    assert tab.find('.cue.run[data-status="interrupted"]').count() == 2
    assert tab.find('[data-status="running"]').count() == 0
    assert tab.types().count("agent_started") == 4  # the run, its two extras, and the one that waited, once
    tab.assert_each_event_once_in_order()


def test_question_to_the_user(script_server: ServerProcess, open_tab: OpenTab) -> None:
    """If an agent asks the user a question, any tab can answer it, and then every tab shows the answer."""
    first = open_tab(script_server.url)
    second = open_tab(first.url)
    first.ask("ask")
    expect(first.find(".cue.ask .hint")).to_have_text("Which colour?")
    second.page.get_by_role("button", name="green").click()
    for tab in (first, second):
        tab.expect_status("ok")
        expect(tab.find(".reply .answer")).to_contain_text("You said green.")
        expect(tab.find(".cue.ask form")).to_have_count(0)


def test_withdrawn_question(script_server: ServerProcess, open_tab: OpenTab) -> None:
    """If a question of an agent times out or its run is stopped, the page removes the form for the answer.

    The form is also absent after a refresh.
    """
    tab = open_tab(script_server.url)
    tab.ask("ask in vain")
    withdrawn = tab.find('.cue.ask[data-status="timeout"]')
    expect(withdrawn).to_have_count(1)
    expect(withdrawn.locator("form")).to_have_count(0)
    tab.page.reload()
    expect(withdrawn).to_have_count(1)
    expect(withdrawn.locator("form")).to_have_count(0)
    tab.page.click("#stop")
    tab.expect_status("cancelled")
    tab.ask("ask")
    expect(tab.find(".cue.ask form")).to_have_count(1)
    tab.page.click("#stop")
    expect(tab.find('.cue.ask[data-status="cancelled"]')).to_have_count(1)
    expect(tab.find(".cue.ask form")).to_have_count(0)


def test_queued_start(script_server: ServerProcess, open_tab: OpenTab) -> None:
    """If five runs of a user are open, every tab shows further runs as waiting, also after a refresh.

    A waiting run can be stopped from any tab, and starts when an open run ends.
    """
    tab = open_tab(script_server.url)
    for number in range(5):
        tab.ask("hang")
        expect(tab.turn(number)).to_have_attribute("data-status", "running")
    for text in ("sixth", "seventh"):
        tab.ask(text)
    expect(tab.turn(6).locator(".ending")).to_have_text("Waiting for its turn")
    other = open_tab(tab.url)
    tab.page.reload()
    for each in (tab, other):
        expect(each.find('.turn[data-status="queued"] .ending')).to_have_text(["Waiting for its turn"] * 2)
        expect(each.turn(6).locator(".question")).to_have_text("A question to the player")
    other.page.click("#stop")
    for each in (tab, other):
        expect(each.find('.turn[data-status="queued"]')).to_have_count(1)
    assert other.page.evaluate("greenroomDemo.client.cancel(greenroomDemo.events[0].run_id)")
    for each in (tab, other):
        each.expect_status("ok", turn=5)
        expect(each.turn(5).locator(".question")).to_have_text("sixth")
        expect(each.find('.turn[data-status="queued"]')).to_have_count(0)
        expect(each.find(".turn")).to_have_count(6)
    begun = "greenroomDemo.events.filter((event) => event.type === 'agent_started')"
    tab.page.evaluate(f"Promise.all({begun}.map((event) => greenroomDemo.client.cancel(event.run_id)))")


def test_agent_typing(script_server: ServerProcess, open_tab: OpenTab) -> None:
    """If an agent says that it is typing, the page shows this until the run ends."""
    tab = open_tab(script_server.url)
    tab.ask("type")
    expect(tab.find("#typing")).to_contain_text("player is typing")
    tab.page.click("#stop")
    tab.expect_status("cancelled")
    expect(tab.find("#typing")).to_be_hidden()


def test_secrets_are_redacted(script_server: ServerProcess, open_tab: OpenTab) -> None:
    """The values of secret keys in a tool's arguments do not reach the page."""
    tab = open_tab(script_server.url)
    tab.ask("hang")
    tab.find(".cue.tool").wait_for()
    tab.page.click("#stop")
    tab.expect_status("cancelled")
    assert "sesame" not in tab.page.content()


def test_markdown(script_server: ServerProcess, open_tab: OpenTab) -> None:
    """The page renders Markdown in an answer. HTML and unsafe links in the answer are shown as text."""
    tab = open_tab(script_server.url)
    evil = '<img src=x onerror="document.title=1"> [a](javascript:alert(1)) [b](https://example.org/)'
    tab.ask(f"# Title\n\n1. one\n2. **two**\n\n- `code`\n\n> said\n\n```python\ndef f(): return 'x'\n```\n\n{evil}")
    tab.expect_status("ok")
    answer = tab.find(".reply .answer")
    assert answer.locator("h2").inner_text() == "Title"
    assert answer.locator("ol li").all_inner_texts() == ["one", "two"]
    assert answer.locator("ol strong").inner_text() == "two"
    assert answer.locator("ul code").inner_text() == "code"
    assert answer.locator("blockquote").inner_text() == "said"
    assert answer.locator("pre .h-keyword").all_inner_texts() == ["def", "return"]
    assert answer.locator("pre .h-string").inner_text() == "'x'"
    assert answer.locator("img").count() == 0
    assert [link.get_attribute("href") for link in answer.locator("a").all()] == ["https://example.org/"]
    assert evil.split(" [b]", maxsplit=1)[0] in answer.locator("p").last.inner_text()
    assert tab.errors == []
