"""Fixtures: a real Chromium, and a real server in its own process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from _requires import require
from _shared import library_cache
from browser.pages import ConversationPage
from browser.quiet import QUIET
from browser.serving import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Run one browser for a module. It does not run longer, since Playwright keeps an event loop in this thread."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - after the check that there is a browser

    path = require("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def new_user(chromium: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Return a function that makes a browser context without cookies, so that each context is another user."""
    contexts: list[BrowserContext] = []

    def make(width: int = 1280, height: int = 800, scheme: str = "light") -> BrowserContext:
        """Make the browser context of another user, with this window size and colour scheme."""
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]  # light or dark
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def user(new_user: Callable[..., BrowserContext]) -> BrowserContext:
    """Return the browser context of one user."""
    return new_user()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Run ``greenroom demo`` in its own process."""
    require("chromium")
    server = ServerProcess(tmp_path_factory.mktemp("demo"), "demo", cache=library_cache(tmp_path_factory))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def script_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Run the app in stage.py, for outcomes that are rare or very short with the demo's agent."""
    require("chromium")
    server = ServerProcess(tmp_path_factory.mktemp("stage"), "serve", "stage:app")
    yield server
    server.stop()


@pytest.fixture
def open_tab(user: BrowserContext) -> Callable[[str], ConversationPage]:
    """Return a function that opens a URL in a new tab of the user."""
    return lambda url: ConversationPage(user.new_page(), url)
