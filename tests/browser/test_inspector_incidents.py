"""Three incidents, found from the inspector alone: a tool that hangs, a client that does not read, a full disk.

Each begins at the overview, as an operator does who knows nothing yet. The comments count the clicks.
"""

from __future__ import annotations

import re
import resource
import socket
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from _requires import require
from browser.incidents import CROWD, SESSION
from browser.pages import SLOWEST, ConversationPage
from browser.serving import HERE, ServerProcess
from delivery.stuck_peers import REQUEST, SMALL_BUFFER
from playwright.sync_api import expect
from protocol.raw import told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import BrowserContext, Locator, Page

    NewUser = Callable[..., BrowserContext]

pytestmark = pytest.mark.timeout(300)  # a server and a browser, and the machine may be busy


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Run the app in incidents.py."""
    require("chromium")
    server = ServerProcess(tmp_path_factory.mktemp("desk"), "serve", "browser.incidents:app", apps=HERE.parent)
    yield server
    server.kill()  # its runs never end, so it would wait for them
    server.stop()


def begun(new_user: NewUser, server: ServerProcess, incident: str) -> None:
    """Let an incident begin."""
    visitor = ConversationPage(new_user().new_page(), server.url)
    visitor.ask(incident)
    visitor.expect_status("ok")


def inspector_of(new_user: NewUser, server: ServerProcess) -> Page:
    """Open the inspector at its overview."""
    page = new_user().new_page()
    page.set_default_timeout(SLOWEST)
    page.goto(f"{server.url}inspect/")
    expect(page.locator("#state")).to_have_attribute("data-state", "live")
    return page


def card(page: Page, label: str) -> Locator:
    """Return one figure of the overview."""
    return page.locator(".card", has_text=label)


def test_tool_that_hangs(desk: ServerProcess, new_user: NewUser) -> None:
    """The tool that is open for longest is on the overview. Three clicks end its run."""
    begun(new_user, desk, "hang")
    page = inspector_of(new_user, desk)
    expect(card(page, "Runs running").locator(".value")).to_have_text(str(CROWD + 2))
    hanging = card(page, "Longest open tool")
    expect(hanging.locator(".detail")).to_have_text("fetch_invoice of archivist · ada")
    expect(hanging.locator(".value")).to_have_text(re.compile(r"[1-9]"))
    hanging.click()  # 1
    expect(page.locator(".session-name")).to_have_text(f"{SESSION} of ada")
    bars = page.locator(".trace[open] .bar-row")
    expect(bars.locator(".bar-name")).to_have_text(["clerk", "archivist", "fetch_invoice"])
    expect(page.locator(".trace[open] .bar-row[data-status=running]")).to_have_count(3)
    expect(bars.nth(2)).to_have_attribute("title", re.compile(r"tool fetch_invoice, since \d\d:\d\d:\d\d$"))
    page.get_by_role("button", name=re.compile("^Cancel run .* of clerk$")).click()  # 2
    page.get_by_role("dialog").get_by_role("button", name="Cancel the run").click()  # 3
    expect(page.locator("#note")).to_have_text(re.compile("is cancelled"))
    expect(page.locator(".trace[open] .bar-row[data-status=cancelled]")).to_have_count(3)
    page.get_by_role("navigation").get_by_role("link", name="Overview").click()
    expect(hanging.locator(".detail")).to_have_text("no tool is open")


@contextmanager
def deaf_client(server: ServerProcess, user: str) -> Iterator[None]:
    """Join the session of a user, and read nothing of it."""
    port = int(server.ws_url.rstrip("/").rpartition(":")[2])
    with closing(socket.socket()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        client.connect(("127.0.0.1", port))
        client.sendall(REQUEST)
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += client.recv(1)
        client.sendall(told("hello", session=SESSION, token=user))
        yield


def test_client_that_does_not_read(desk: ServerProcess, new_user: NewUser) -> None:
    """A client that takes no data is counted on the overview, and comes first in its list. Three clicks close it."""
    with deaf_client(desk, "bob"):
        begun(new_user, desk, "flood")
        page = inspector_of(new_user, desk)
        connections = card(page, "Connections")
        expect(connections.locator(".detail")).to_have_text("1 takes no data")
        connections.click()  # 1
        row = page.locator("#view tbody tr").first
        expect(row.locator(".user")).to_have_text("bob")
        expect(row.locator(".lag")).to_have_text(re.compile(r"^[\d,]{3,}$"))
        expect(row.get_by_role("gridcell").nth(5)).to_have_text(re.compile(r"s$"))
        name = row.get_by_role("button").get_attribute("aria-label") or ""
        row.get_by_role("button").click()  # 2
        expect(page.get_by_role("dialog")).to_contain_text("of bob, from 127.0.0.1")
        page.get_by_role("dialog").get_by_role("button", name="Close it").click()  # 3
        expect(page.locator("#note")).to_have_text(re.compile("is closed"))
        page.mouse.move(0, 0)
        page.locator("#main").focus()
        expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)


@contextmanager
def full_disk(server: ServerProcess) -> Iterator[None]:
    """Let the server write to no file, as on a full disk."""
    _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard, hard))


def test_disk_that_is_full(desk: ServerProcess, new_user: NewUser) -> None:
    """If the log cannot be written, the overview says so, and the failures have the cause. The page stays usable."""
    visitor = ConversationPage(new_user().new_page(), desk.url)
    page = inspector_of(new_user, desk)
    expect(page.locator("#health")).to_have_text("Healthy")
    with full_disk(desk):
        visitor.ask("flood")
        expect(page.locator("#health")).to_have_text("Not ready")
        expect(page.locator(".verdict")).to_have_text("The server works, but takes no new clients now.")
        reasons = page.locator(".reasons li")
        expect(reasons).to_have_text(["the log cannot be written", re.compile("^the log: .*log.db: disk I/O error$")])
        expect(visitor.find("#turns")).to_contain_text("Its log has the details.")
        card(page, "Failures").click()  # 1
        failure = page.locator(".failures > li", has_text="a session failed").first
        expect(failure).to_contain_text("disk I/O error")
        failure.locator("summary").click()  # 2
        expect(failure.get_by_role("link")).to_have_text(re.compile("^visitor · "))
        expect(failure.locator(".fact", has_text="Actor")).to_contain_text("/greenroom/sessions/all/visitor:")
        page.get_by_role("navigation").get_by_role("link", name="Actors").click()
        expect(page.get_by_role("treegrid").get_by_role("row").nth(1)).to_be_visible()
        expect(page.locator("#state")).to_have_attribute("data-state", "live")
    page.get_by_role("navigation").get_by_role("link", name="Overview").click()
    visitor.ask("flood")
    visitor.expect_status("ok")
    expect(page.locator("#health")).to_have_text("Healthy")
    expect(reasons).to_have_count(0)
