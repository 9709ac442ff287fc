"""Fixtures: a real Chromium, and a real server in its own process."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from _requires import require
from _shared import library_cache
from browser.pages import ConversationPage
from browser.serving import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from browser.shared import SharedBrowser
    from playwright.sync_api import Browser, BrowserContext


@pytest.fixture(scope="module")
def chromium(shared_browser: SharedBrowser) -> Iterator[Browser]:
    """Return the browser that all modules share. Each test makes its own browser contexts."""
    with shared_browser.opened(require("chromium")) as browser:
        yield browser


@pytest.fixture
def new_user(chromium: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Return a function that makes a browser context without cookies, so that each context is another user."""
    with ExitStack() as contexts:

        def make(width: int = 1280, height: int = 800, scheme: str = "light") -> BrowserContext:
            """Make the browser context of another user, with this window size and colour scheme."""
            context = chromium.new_context(
                viewport={"width": width, "height": height},
                color_scheme=scheme,  # type: ignore[arg-type]  # light or dark
                reduced_motion="reduce",  # a page that moves is drawn 60 times a second
            )
            contexts.callback(context.close)
            return context

        yield make


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
