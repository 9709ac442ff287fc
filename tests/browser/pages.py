"""The demo page as a person sees and uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Route

SLOWEST = 60_000.0
"""Timeout in ms. The demo's first question takes longest, since it waits for an index of the whole library."""
# Playwright's own 5 s are too short on a busy machine. This holds for every `expect` of the process.
expect.set_options(timeout=SLOWEST)

STANDS = """() => new Promise((done) => {
    const before = scrollY;
    requestAnimationFrame(() => requestAnimationFrame(() => done(scrollY === before)));
})"""
"""A condition for ``wait_for_function``: the page does not scroll any more."""


def load_without(page: Page, url: str, file: str) -> Route:
    """Begin to load a page, and return the request for one of its files. The caller has to continue it."""
    held: list[Route] = []
    page.route(f"**/{file}", lambda route: held.append(route), times=1)  # noqa: PLW0108 - Playwright takes no builtin function
    with page.expect_request(f"**/{file}"):
        page.goto(url, wait_until="commit")
    expect(page.locator("body")).to_be_visible()
    return held.pop()


class ConversationPage:
    """A browser tab that shows a conversation with an agent."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.set_default_timeout(SLOWEST)
        page.goto(url)
        self.expect_state("live")

    @property
    def url(self) -> str:
        """Address of the page."""
        return self.page.url

    def find(self, selector: str) -> Locator:
        """Return the elements of the page that match a CSS selector."""
        return self.page.locator(selector)

    def ask(self, question: str) -> None:
        """Type a question and send it."""
        self.page.fill("#question", question)
        self.page.keyboard.press("Enter")

    def expect_state(self, state: str) -> None:
        """Wait until the page shows this state of its connection."""
        expect(self.find("#state")).to_have_attribute("data-state", state, timeout=SLOWEST)

    def expect_status(self, status: str, turn: int = -1) -> None:
        """Wait until the run of this turn (a question with its answer) has this status."""
        expect(self.turn(turn)).to_have_attribute("data-status", status, timeout=SLOWEST)

    def turn(self, number: int = -1) -> Locator:
        """Return one turn (a question with its answer) of the conversation, by default the last one."""
        turns = self.find(".turn")
        return turns.last if number == -1 else turns.nth(number)

    def events(self) -> list[dict[str, Any]]:
        """Return all events that this tab has received since it was loaded, in order."""
        found: list[dict[str, Any]] = self.page.evaluate("greenroomDemo.events")
        return found

    def types(self) -> list[str]:
        """Return the types of all events that this tab has received."""
        return [event["type"] for event in self.events()]

    def assert_each_event_once_in_order(self) -> None:
        """Check that the tab has received every event once and in order, from the first event on."""
        seqs = [event["seq"] for event in self.events()]
        assert seqs == list(range(1, len(seqs) + 1))

    def shown(self) -> str:
        """Return the visible text of the conversation, without closed ``details``."""
        return self.find("#turns").inner_text()

    def overflow(self) -> int:
        """Return the number of px by which the page is wider than its window."""
        found: int = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        return found
