"""How the demo's page shows its connection: why it ended, when the page tries again, and how the user can help."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from browser.pages import SLOWEST
from browser.serving import ServerProcess
from browser.stage import HOSTILE
from playwright.sync_api import expect

from transport import TokenAuth

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import BrowserContext, Page, WebSocketRoute

pytestmark = pytest.mark.timeout(300)  # a page needs a server, its index and a browser, and the machine may be busy

KEY = "a key that is long enough for HS256"
PRIVATE = f"""
from actors import Run
from transport import Greenroom, TokenAuth

app = Greenroom(auth=TokenAuth({KEY!r}))


@app.agent
async def echo(run: Run, text: str) -> str:
    return text
"""

WELCOME = {
    "type": "welcome", "session": "s", "connection": "k", "epoch": "e", "oldest": 1, "latest": 0, "recovered": False,
    "ping_ms": 25_000, "max_frame_bytes": 65_536, "runs": [], "queued": [], "typing": [],
}  # fmt: skip
A_LONG_TIME_MS = 600_000


def scripted_page(context: BrowserContext, url: str, *ends: dict[str, Any]) -> Page:
    """Return a page. Its first connections get a welcome and then end as ``ends`` says. Later connections stay open."""
    page = context.new_page()
    waiting = list(ends)

    def answer(socket: WebSocketRoute, hello: str | bytes) -> None:
        if json.loads(hello)["type"] != "hello":
            return
        socket.send(json.dumps(WELCOME))
        if waiting:
            end = waiting.pop(0)
            socket.send(json.dumps({"type": "goodbye", "reason": "", **end}))
            socket.close(code=end["code"])

    page.route_web_socket(re.compile("^ws:"), lambda socket: socket.on_message(lambda text: answer(socket, text)))
    page.goto(url)
    return page


def expect_state(page: Page, state: str) -> None:
    """Wait until the page shows this state."""
    expect(page.locator("#state")).to_have_attribute("data-state", state, timeout=SLOWEST)


def test_try_now(script_server: ServerProcess, user: BrowserContext) -> None:
    """While the page waits to reconnect, it shows the reason and a countdown to the next attempt.

    The button "Try now" reconnects at once.
    """
    page = scripted_page(user, script_server.url, {"code": 4005, "retry_ms": A_LONG_TIME_MS})
    expect_state(page, "waiting")
    expect(page.locator("#notice-text")).to_contain_text("too much to do")
    countdown = page.locator("#countdown")
    expect(countdown).to_have_text(re.compile(r"Next try in \d+ s"))
    shown = countdown.inner_text()
    expect(countdown).not_to_have_text(shown)
    assert shown not in page.locator("[aria-live]").all_inner_texts()  # it would be read aloud each second
    page.get_by_role("button", name="Try now").click()
    expect_state(page, "live")
    expect(page.locator("#notice")).to_be_hidden()


@pytest.mark.parametrize(
    ("code", "part", "button"),
    [
        (4501, "token", "Reload the page"),
        (4504, "Close some other tabs", "Reload the page"),
        (4506, "closed for good", "New conversation"),
    ],
)
def test_closed(script_server: ServerProcess, user: BrowserContext, code: int, part: str, button: str) -> None:
    """If the connection is closed permanently, the page shows the reason in words, and the question field is disabled.

    A button (for example "Reload the page") makes the page work again.
    """
    page = scripted_page(user, script_server.url, {"code": code})
    expect_state(page, "closed")
    notice = page.locator("#notice")
    expect(notice).to_contain_text(part)
    expect(page.locator("#announcer")).to_contain_text(part)
    assert str(code) not in page.inner_text("body")
    expect(page.locator("#question")).to_be_disabled()
    before = page.url
    expect(notice.get_by_role("button", name=button)).to_be_focused()
    page.keyboard.press("Enter")
    expect_state(page, "live")
    expect(page.locator("#question")).to_be_enabled()
    assert (page.url == before) == (code != 4506)


def test_no_frame_becomes_markup(script_server: ServerProcess, user: BrowserContext) -> None:
    """HTML in any field of a frame that is no event, such as the reason of a close, is shown as text."""
    evil = HOSTILE[0]
    signal = {"type": "signal", "name": evil, "data": {evil: evil}}
    queued = {"command_id": evil, "agent": evil, "waiting": True, "since": 1}
    welcome = {**WELCOME, "session": evil, "queued": [queued], "runs": [{"run_id": evil, "agent": evil, "started": 1}]}
    first = (
        welcome,
        signal,
        signal | {"name": "queued", "data": queued},
        {"type": "error", "code": evil, "message": evil},
    )
    end = {"type": "goodbye", "code": 4999, "reason": evil}

    def answer(socket: WebSocketRoute, text: str | bytes) -> None:
        said = json.loads(text)
        if said["type"] == "hello":
            for frame in first:
                socket.send(json.dumps(frame))
        elif said["type"] == "command":
            refusal = {"type": "reply", "id": said["id"], "ok": False, "error": {"code": evil, "message": evil}}
            socket.send(json.dumps(refusal))
            socket.send(json.dumps(end))
            socket.close(code=4999, reason=evil)

    page = user.new_page()
    page.route_web_socket(re.compile("^ws:"), lambda socket: socket.on_message(lambda text: answer(socket, text)))
    page.goto(script_server.url)
    expect_state(page, "live")
    page.fill("#question", "x")
    page.press("#question", "Enter")
    expect_state(page, "closed")
    expect(page.locator("#turns")).to_contain_text(evil)
    expect(page.locator("#notice")).to_have_attribute("title", f"Close code 4999: {evil}")
    assert page.locator("img").count() == 0
    assert page.evaluate("window.pwned ?? 0") == 0


def test_refused_origin(script_server: ServerProcess, user: BrowserContext) -> None:
    """If the server refuses the address of the page (its origin), the page names the setting ``allowed_origins``."""
    page = user.new_page()
    page.goto(script_server.url.replace("127.0.0.1", "app.localhost"))
    expect(page.locator("#notice-text")).to_contain_text("allowed_origins", timeout=SLOWEST)
    expect(page.locator("#state")).not_to_have_attribute("data-state", "live")


def test_token_in_the_address(new_user: Callable[[], BrowserContext], tmp_path: Path) -> None:
    """A page whose server hands out no tokens takes one from its address, and keeps it for this tab and its second tab.

    The token leaves the address. Without a token, the page says how to give one.
    """
    (tmp_path / "private.py").write_text(PRIVATE)
    server = ServerProcess(tmp_path, "serve", "private:app", apps=tmp_path)
    try:
        page = new_user().new_page()
        page.goto(server.url)
        expect_state(page, "closed")
        expect(page.locator("#notice-text")).to_contain_text("/#token=")
        page.goto(f"{server.url}#token={TokenAuth(KEY).issue('ann', 600)}")
        expect_state(page, "live")
        assert "token" not in page.url
        page.reload()
        expect_state(page, "live")
        with page.expect_popup() as second:
            page.locator("#second").click()
        expect_state(second.value, "live")
    finally:
        server.stop()


def test_settings_that_cannot_be_read(script_server: ServerProcess, user: BrowserContext) -> None:
    """A page that cannot read its settings says so, and offers to load again."""
    page = user.new_page()
    page.route("**/config", lambda route: route.fulfill(status=500))
    page.goto(script_server.url)
    expect_state(page, "closed")
    expect(page.locator("#notice")).to_contain_text("could not read its settings")
    expect(page.locator("#reload")).to_be_visible()


@pytest.mark.parametrize(
    ("model", "text"),
    [("gpt-5-mini", "Model: gpt-5-mini"), (None, "No model: answers come from the index"), (..., "Agent: player")],
)
def test_model(script_server: ServerProcess, user: BrowserContext, model: object, text: str) -> None:
    """The page shows the model that writes the answers, or says that no model is used.

    If the server does not say whether there is a model, the page shows the name of the agent.
    """
    config = {"ws_url": script_server.ws_url, "agent": "player", "title": "", "suggestions": ["How?"]}
    page = user.new_page()
    page.route("**/config", lambda route: route.fulfill(json=config | ({} if model is ... else {"model": model})))
    page.goto(script_server.url)
    expect(page.locator("#model")).to_have_text(text)
