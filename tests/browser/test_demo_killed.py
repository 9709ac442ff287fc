"""The demo page in Chromium when its server is killed and started again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from browser.pages import SLOWEST
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from browser.pages import ConversationPage
    from browser.serving import ServerProcess

    OpenTab = Callable[[str], ConversationPage]

pytestmark = pytest.mark.timeout(300)  # a page needs a server, its index and a browser, and the machine may be busy


def open_runs(events: list[dict[str, Any]]) -> set[str]:
    """Return the runs that have started and not ended."""
    started, ended = (
        {e["run_id"] for e in events if e["type"] == kind} for kind in ("agent_started", "agent_completed")
    )
    return started - ended


def test_killed_server(script_server: ServerProcess, open_tab: OpenTab) -> None:
    """If the server is killed, the page keeps all its events and shows open runs as interrupted. New questions work."""
    tab = open_tab(script_server.url)
    tab.ask("extra | tool | a line")
    tab.expect_status("ok")
    tab.ask("extra | a line | extras")  # the two sub-agents at the end do not end by themselves
    expect(tab.turn().locator('.cue.run .cue.tool[data-status="running"]')).to_have_count(2)
    script_server.kill()
    tab.expect_state("waiting")
    before = tab.events()
    script_server.start()
    tab.expect_status("interrupted")
    after = tab.events()
    assert after[: len(before)] == before
    tab.assert_each_event_once_in_order()
    assert tab.find('[data-status="running"]').count() == 0
    expect(tab.turn().locator(".ending")).to_contain_text("Interrupted")
    interrupted = {cue.get_attribute("data-run") for cue in tab.find('.cue.run[data-status="interrupted"]').all()}
    run = tab.turn().get_attribute("data-run")
    assert {run} | interrupted == open_runs(before)
    assert len(interrupted) == 2
    tab.ask("extra | tool | a line")
    tab.expect_status("ok")
    tab.assert_each_event_once_in_order()
    assert tab.page.evaluate("greenroomDemo.resets") == 0
    shown = tab.shown()
    tab.page.reload()
    expect(tab.find(".turn")).to_have_count(3, timeout=SLOWEST)
    tab.expect_status("ok")
    assert tab.shown() == shown


def test_killed_demo(demo: ServerProcess, open_tab: OpenTab) -> None:
    """If the demo is killed and started again, its visitor is still the same user, and goes on in the conversation."""
    tab = open_tab(demo.url)
    tab.ask("zzzz qqqq")
    tab.expect_status("ok")
    before = tab.events()
    demo.kill()
    tab.expect_state("waiting")
    demo.start()
    tab.ask("qqqq zzzz")
    tab.expect_status("ok", turn=1)
    tab.page.reload()
    expect(tab.find(".turn")).to_have_count(2)
    tab.expect_status("ok")
    assert tab.events()[: len(before)] == before
    tab.assert_each_event_once_in_order()
