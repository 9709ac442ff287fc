"""A page in React 19, in StrictMode, on the packed npm package: one connection, refresh, tabs, outages, renders."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _requires import require
from browser.pages import SLOWEST
from browser.react_app import PIECES
from browser.serving import ServerProcess
from browser.wire import Wire
from docs.documents import document
from playwright.sync_api import expect
from web.packed import bundled, installed, printed_by

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = pytest.mark.timeout(300)  # a page needs a server and a browser, and the machine may be busy

HERE = Path(__file__).parent
WEB_TESTS = HERE.parent / "web"
GUIDE = document("transport/web/GUIDE.md")
HTML = '<!doctype html><meta charset="utf-8"><body></body><script type="module" src="page.js"></script>'
WHOLE = "".join(f"{number} " for number in range(PIECES))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the package and React are installed, with the app."""
    folder = installed(tmp_path_factory, "react")
    shutil.copy(HERE / "react_app.py", folder)
    shutil.copy(HERE / "react_page.jsx", folder)
    (folder / "page").mkdir()
    (folder / "page" / "index.html").write_text(HTML)
    bundled(folder, folder / "react_page.jsx", folder / "page" / "page.js", "--jsx=automatic")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Run the app in its own process."""
    require("chromium")
    server = ServerProcess(tmp_path_factory.mktemp("log"), "serve", "react_app:app", apps=folder)
    yield server
    server.stop()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Return the name of the test's own session."""
    return str(request.node.name)


class ReactPage:
    """A browser tab with the page, in a session of the test's own."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.sockets = 0
        self.errors: list[str] = []
        page.set_default_timeout(SLOWEST)
        page.on("websocket", self._count)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.goto(url)
        self.expect_state("live")

    def _count(self, _: object) -> None:
        self.sockets += 1

    def expect_state(self, state: str) -> None:
        """Wait until the page shows this state of its connection."""
        expect(self.page.locator("main")).to_have_attribute("data-state", state, timeout=SLOWEST)

    def start(self, agent: str, value: Any = None) -> None:
        """Start a run, and do not wait for its end."""
        self.page.evaluate("([agent, value]) => { session.start(agent, value); }", [agent, value])

    def expect_run(self, status: str, text: str) -> None:
        """Wait until the newest run has this status and text."""
        run = self.page.locator("main p").last
        expect(run).to_have_attribute("data-status", status)
        expect(run).to_have_text(text)

    @property
    def counts(self) -> dict[str, int]:
        """How often each view has rendered, and how many frames the browser has shown."""
        found: dict[str, int] = self.page.evaluate("({ ...counts })")
        return found


@pytest.fixture
def url(server: ServerProcess, name: str) -> str:
    """Return the address of the page, with the test's own session."""
    return f"{server.url}#{name}"


def test_one_socket(user: BrowserContext, url: str) -> None:
    """Three components of a page in StrictMode have one WebSocket, also after they were unmounted and mounted again."""
    tab = ReactPage(user.new_page(), url)
    tab.start("writer", PIECES)
    tab.expect_run("ok", WHOLE)
    expect(tab.page.locator("aside")).to_have_text(str(PIECES + 2))
    expect(tab.page.locator("footer")).to_have_text("1")
    tab.page.evaluate("document.querySelector('button').click()")
    tab.page.evaluate("document.querySelector('button').click()")
    tab.expect_run("ok", WHOLE)
    assert tab.sockets == 1
    tab.page.evaluate("document.querySelector('button').click()")
    tab.page.wait_for_function("() => session.client === undefined")  # `linger` is over, and nothing is left open
    assert tab.errors == []


def test_renders(user: BrowserContext, url: str) -> None:
    """A run of 148 events renders a view at most once for each frame. One with a selection renders when that changes.

    In StrictMode React calls each component twice.
    """
    tab = ReactPage(user.new_page(), url)
    before = tab.counts
    tab.start("writer", PIECES)
    tab.expect_run("ok", WHOLE)
    after = tab.counts
    frames = after["frames"] - before["frames"]
    assert after["whole"] - before["whole"] <= 2 * (frames + 2)
    assert after["finished"] - before["finished"] == 2


def test_refresh_and_second_tab(user: BrowserContext, url: str) -> None:
    """A refreshed page, and a second tab, show the open question. The answer of one reaches both."""
    tab = ReactPage(user.new_page(), url)
    tab.start("asker", "Which colour?")
    expect(tab.page.locator("form")).to_be_visible()
    tab.page.reload()
    expect(tab.page.locator("form")).to_be_visible()
    second = ReactPage(user.new_page(), url)
    second.page.locator("input[value=green]").click()
    for each in (tab, second):
        each.expect_run("ok", "before green")
        expect(each.page.locator("form")).to_have_count(0)
    assert (tab.sockets, second.sockets) == (2, 1)  # one for each time that the page was loaded
    assert tab.errors + second.errors == []


def test_another_session(user: BrowserContext, url: str) -> None:
    """A component that gets another session shows that one, over its own connection, and comes back to the first."""
    tab = ReactPage(user.new_page(), url)
    tab.start("writer", 1)
    tab.expect_run("ok", "0 ")
    tab.page.evaluate("go('another')")
    expect(tab.page.locator("main p")).to_have_count(0)
    tab.expect_state("live")
    tab.start("writer", 2)
    tab.expect_run("ok", "0 1 ")
    tab.page.evaluate("name => go(name)", url.rpartition("#")[2])
    tab.expect_run("ok", "0 ")
    assert tab.errors == []


@pytest.fixture
def wire(server: ServerProcess) -> Iterator[Wire]:
    """Return a network between the browser and the server, which the test can cut."""
    wire = Wire(int(server.ws_url.rstrip("/").rpartition(":")[2]))
    yield wire
    wire.close()


@pytest.fixture
def far_user(chromium: Browser, wire: Wire) -> Iterator[BrowserContext]:
    """Return a browser context with WebSockets that go through the wire."""
    context = chromium.new_context(bypass_csp=True)  # the page's policy allows only the server's own port
    context.add_init_script(wire.script())
    yield context
    context.close()


def test_offline_and_online(far_user: BrowserContext, wire: Wire, url: str) -> None:
    """A page that loses the network says so, takes a call meanwhile, and has every event when the network is back."""
    tab = ReactPage(far_user.new_page(), url)
    tab.start("sleeper", "sleeps")
    tab.expect_run("running", "sleeps")
    wire.cut()
    far_user.set_offline(offline=True)
    tab.expect_state("waiting")
    tab.page.evaluate("session.send('written offline'); session.cancel(snapshot.runs[0].id); 0")
    wire.mend()
    far_user.set_offline(offline=False)
    tab.expect_state("live")
    tab.expect_run("cancelled", "sleeps")
    expect(tab.page.locator("q")).to_have_text("written offline")
    assert tab.page.evaluate("snapshot.seq") == len(["started", "output", "message", "completed"])


@pytest.fixture(scope="module")
def guide(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guide]:
    """Run the app of the guide, which serves the pages, in a folder in which the package is installed."""
    require("chromium")
    shop = folder / "guide"
    (shop / "page").mkdir(parents=True)
    (shop / "page" / "index.html").write_text(HTML)
    shop_py = next(block.text for block in GUIDE.blocks if block.name == "shop.py")
    (shop / "shop.py").write_text(shop_py.replace('log="memory:"', 'log="memory:", pages="page"'))
    server = ServerProcess(tmp_path_factory.mktemp("guide"), "serve", "shop:app", apps=shop)
    yield Guide(shop, server)
    server.stop()


class Guide:
    """A reader of the guide, who writes its components to a folder."""

    def __init__(self, folder: Path, server: ServerProcess) -> None:
        self.folder = folder
        self.server = server

    def write(self, language: str) -> None:
        """Write the components in a language, for the server that runs."""
        blocks = [block for block in GUIDE.blocks if block.language == language]
        for block in blocks:
            text = block.text.replace("ws://127.0.0.1:8765/", self.server.ws_url).replace('"s3"', f'"in-{language}"')
            (self.folder / (block.name or f"page.{language}")).write_text(text)

    def visit(self, user: BrowserContext) -> Page:
        """Open the page in a new tab."""
        page = user.new_page()
        page.set_default_timeout(SLOWEST)
        page.goto(self.server.url)
        return page


def test_react_page_of_the_guide(user: BrowserContext, guide: Guide) -> None:
    """The page in React of the guide works as it is written there: bundled, served by the guide's app, and used."""
    assert HTML in GUIDE.prose
    guide.write("jsx")
    printed_by(guide.folder, guide.folder / "build.mjs")
    page = guide.visit(user)
    for number in (1, 2):
        page.get_by_role("button", name="Greet").click()
        expect(page.locator("main > p")).to_have_count(1 + number)
        expect(page.locator("main > p").last).to_have_text("greeter: Hello, Ann (ok)")
        expect(page.locator("footer")).to_have_text(f"{number} runs")


@pytest.mark.parametrize("framework", ["vue", "svelte"])
def test_component_of_the_guide(user: BrowserContext, guide: Guide, framework: str) -> None:
    """The components in Vue and in Svelte of the guide work as they are written there."""
    guide.write(framework)
    script = guide.folder / f"{framework}_component.mjs"
    shutil.copy(WEB_TESTS / script.name, script)
    printed_by(guide.folder, script)
    bundled(guide.folder, guide.folder / f"{framework}.js", guide.folder / "page" / "page.js")
    page = guide.visit(user)
    for number in (1, 2):
        page.get_by_role("button", name="Greet").click()
        expect(page.locator("p")).to_have_count(number)
        expect(page.locator("p").last).to_have_text("Hello, Ann")
