"""The demo's visitors in a browser: pages of other sites cannot replace them, and the page works at any address."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from _requires import require
from _scale import SOAK
from _shared import library_cache
from browser.pages import SLOWEST, ConversationPage
from browser.serving import ServerProcess
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import BrowserContext

pytestmark = pytest.mark.timeout(300)  # a page needs a server, its index and a browser, and the machine may be busy

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - the subject of these tests


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Run ``greenroom demo`` at every address of the machine."""
    require("chromium")
    folder, cache = tmp_path_factory.mktemp("demo"), library_cache(tmp_path_factory)
    server = ServerProcess(folder, "demo", "--host", ANY_ADDRESS, cache=cache)
    yield server
    server.stop()


@pytest.fixture
def foreign_site() -> Iterator[str]:
    """Serve an empty page, and a redirect to an address in the path. Return its address: another port of a site."""

    class Handler(BaseHTTPRequestHandler):
        """Answers every request without a log line."""

        def do_GET(self) -> None:
            target = self.path[1:].rstrip("?")
            self.send_response(302 if target else 200)
            if target:
                self.send_header("Location", target)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET  # noqa: N815 - the base class chooses the name

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f":{server.server_address[1]}/"
    server.shutdown()
    thread.join()
    server.server_close()


def url_at(host: str, server: ServerProcess) -> str:
    """Return the URL of the page of a server that listens at every address, at one address."""
    return server.url.replace(ANY_ADDRESS, host)


def visitor_in(context: BrowserContext, url: str) -> str:
    """Return the visitor that a browser is for the server at ``url``, from its cookie."""
    (cookie,) = (each for each in context.cookies(url) if each.get("name", "").startswith("greenroom_"))
    claims = cookie.get("value", "").split(".")[1]
    user: str = json.loads(base64.urlsafe_b64decode(f"{claims}=="))["sub"]
    return user


ATTACKS = {
    "link": "url => { const a = document.createElement('a'); a.href = url; document.body.append(a); a.click(); }",
    "window": "url => { window.open(url); }",
    "location": "url => { location.href = url; }",
    "form GET": """url => {
        const f = document.createElement('form');
        f.action = url;
        document.body.append(f);
        f.submit();
    }""",
    "form POST": """url => {
        const f = document.createElement('form');
        Object.assign(f, { action: url, method: 'POST', enctype: 'text/plain' });
        document.body.append(f);
        f.submit();
    }""",
    "image": """url => new Promise(done => {
        const image = new Image();
        image.onload = image.onerror = done;
        image.src = url;
    })""",
    "frame": """url => new Promise(done => {
        const frame = document.createElement('iframe');
        frame.onload = done;
        frame.src = url;
        document.body.append(frame);
    })""",
    "fetch": "url => fetch(url, { method: 'POST', mode: 'no-cors', credentials: 'include' })",
    "fetch with the header": """url => fetch(url, {
        method: 'POST', credentials: 'include', headers: { 'X-Requested-With': 'greenroom' },
    }).then(() => { throw new Error('allowed'); }, () => {})""",
    "beacon": "url => { navigator.sendBeacon(url, 'x'); }",
}


SITES = ("127.0.0.1", "foreign.example")


@pytest.mark.parametrize("site", SITES)
def test_foreign_page_cannot_replace_a_visitor(
    everywhere: ServerProcess, user: BrowserContext, foreign_site: str, site: str
) -> None:
    """No link, form, image or script of another page, or of a page at another port, changes or reads a visitor.

    Each attack requests the address of the token itself, or is redirected to it. Each attack does one of these at one
    site, and the other at the other site. In ``make soak`` it does both at both sites.
    """
    own = url_at("127.0.0.1", everywhere)
    ConversationPage(user.new_page(), own)
    visitor = visitor_in(user, own)
    targets = (f"{own}token", f"http://{site}{foreign_site}{own}token")
    for number, (attack, script) in enumerate(ATTACKS.items(), SITES.index(site)):
        for target in targets if SOAK else targets[number % 2 :][:1]:
            run_attack(user, f"http://{site}{foreign_site}", script, target)
            assert (attack, visitor_in(user, own)) == (attack, visitor)
    again = ConversationPage(user.new_page(), own)
    assert visitor_in(user, own) == visitor
    assert again.errors == []


def run_attack(user: BrowserContext, foreign: str, script: str, target: str) -> None:
    """Run a script in a foreign page. Return when its request for ``target`` has been answered or refused."""
    ended: list[str] = []
    page = user.pages[1] if len(user.pages) > 1 else user.new_page()  # a new page takes longer than an attack
    page.goto(foreign)
    for event in ("requestfinished", "requestfailed"):
        user.on(event, lambda request: ended.append(request.url.rstrip("?")))
    page.evaluate(script, target)
    give_up = time.monotonic() + SLOWEST / 1000
    while f"http{target.rpartition('http')[2]}" not in ended:
        assert time.monotonic() < give_up, ended
        user.pages[0].evaluate("0")  # the events come while a call waits for its result
    for each in user.pages[2:]:
        each.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_page_at_any_address(everywhere: ServerProcess, user: BrowserContext, host: str) -> None:
    """A server at every address serves a page that works at the address by which the browser has reached it."""
    page = ConversationPage(user.new_page(), url_at(host, everywhere))
    page.expect_state("live")
    assert page.errors == []


@pytest.mark.parametrize("server", ["everywhere", "demo"])
def test_foreign_name_of_this_machine(server: str, user: BrowserContext, request: pytest.FixtureRequest) -> None:
    """A page whose foreign name means this machine (DNS rebinding) is not one of the server's own pages."""
    process: ServerProcess = request.getfixturevalue(server)
    page = user.new_page()
    page.goto(url_at("foreign.example", process).replace("127.0.0.1", "foreign.example"))
    expect(page.locator("#notice-text")).to_contain_text("allowed_origins", timeout=SLOWEST)
    expect(page.locator("#state")).not_to_have_attribute("data-state", "live")
