"""Pages in Chromium behind an nginx that knows no WebSockets: events and commands come over HTTP/1.1, in every tab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from browser.pages import SLOWEST
from proxies.nginx import nginx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from browser.serving import ServerProcess
    from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.timeout(300)  # a page needs a server and a browser, and the machine may be busy

PASSING = "location / {{ proxy_pass {url}; proxy_set_header Host $http_host; proxy_http_version 1.1; }}"
CONNECT = """async (session) => {
    Math.random = () => 0; // no delay between the attempts
    const { connect } = await import("/greenroom.js");
    window.seqs = [];
    window.client = connect("/", { session });
    client.addEventListener("event", ({ detail }) => seqs.push(detail.seq));
    await new Promise((resolve) => client.addEventListener("welcome", resolve));
    return client.transport;
}"""


@pytest.fixture(scope="module")
def proxy(script_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run nginx before the port of the pages, without the lines for WebSockets. Return its address."""
    server = PASSING.format(url=script_server.url.rstrip("/"))
    with nginx(tmp_path_factory.mktemp("nginx"), server) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture
def open_page(user: BrowserContext, proxy: str) -> Callable[[str], tuple[Page, str]]:
    """Return a function that opens a tab with a client of a session. It returns the tab and the client's transport."""

    def opened(session: str) -> tuple[Page, str]:
        page = user.new_page()
        page.set_default_timeout(SLOWEST)
        page.goto(f"{proxy}healthz")
        return page, page.evaluate(CONNECT, session)

    return opened


def count_of(page: Page, wanted: int) -> list[int]:
    """Wait until the page has got so many events, and return their numbers."""
    page.wait_for_function("(wanted) => seqs.length >= wanted", arg=wanted)
    found: list[int] = page.evaluate("seqs")
    return found


def test_run_without_websockets(open_page: Callable[[str], tuple[Page, str]]) -> None:
    """A run is started and read over HTTP. After a refresh the page begins with a WebSocket again."""
    page, transport = open_page("refused")
    sockets: list[Any] = []
    page.on("websocket", lambda one: sockets.append(one))  # noqa: PLW0108 - Playwright takes no builtin function
    assert transport == "sse"
    page.evaluate("client.start('player', 'one | tool | two').then(() => {})")
    assert count_of(page, 6) == [1, 2, 3, 4, 5, 6]
    page.reload()
    assert page.evaluate(CONNECT, "refused") == "sse"
    assert count_of(page, 6) == [1, 2, 3, 4, 5, 6]
    assert len(sockets) >= 3  # and one beside the new stream
    assert page.evaluate("client.send('hello').then(() => 'sent')") == "sent"
    assert count_of(page, 7)[-1] == 7


def test_tabs_over_http_1(open_page: Callable[[str], tuple[Page, str]], user: BrowserContext, proxy: str) -> None:
    """Three tabs hold a connection, the others poll: a browser has six to a host, and the next tab needs one to load.

    When a tab is closed, one that polls takes its place.
    """
    tabs = [open_page("tabs") for _ in range(5)]
    assert [transport for _, transport in tabs] == ["sse"] * 3 + ["poll"] * 2
    next_tab = user.new_page()
    next_tab.set_default_timeout(SLOWEST)
    assert next_tab.goto(f"{proxy}readyz") is not None
    tabs[4][0].evaluate("client.start('player', 'one').then(() => {})")
    assert [count_of(page, 3) for page, _ in tabs] == [[1, 2, 3]] * 5
    for closed in (0, 3):
        tabs[closed][0].close()
    tabs[4][0].wait_for_function("() => client.transport === 'sse'")
