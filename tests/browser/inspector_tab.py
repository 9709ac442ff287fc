"""A tab that shows the inspector, and whose clock the test moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from browser.inspected import URL
from browser.pages import SLOWEST
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext, Page

    NewUser = Callable[..., BrowserContext]

VIEWS = {
    "overview": "Overview",
    "runs": "Runs",
    "sessions": "Sessions",
    "session?user=ada-1&session=draft-1": "Session",
    "failures": "Failures",
    "connections": "Connections",
    "tree": "Actors",
}
"""The address of each view, and its heading."""


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
