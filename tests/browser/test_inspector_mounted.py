"""The inspector in a FastAPI application, served by uvicorn, in Chromium: the application decides about operators."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from browser.pages import SLOWEST
from fastapi import FastAPI
from hosting.mounted import by_cookie
from hosting.uvicorn_thread import UvicornThread
from playwright.sync_api import expect

from transport import Greenroom
from transport.hosting import lifespan, mount_inspector

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext

pytestmark = pytest.mark.timeout(300)  # a browser, and the machine may be busy


def web_application() -> FastAPI:
    """Return an application with an agent, a route that starts a run of it, and the inspector at ``/admin/inspect``."""
    app = Greenroom(log="memory:")

    @app.agent
    async def waits(run: Any) -> Any:
        return await run.ask_user("well?")

    api = FastAPI(lifespan=lifespan(app))
    mount_inspector(api, "/admin/inspect", app, operator=by_cookie)

    @api.get("/start")
    async def start() -> str:
        return await app.sessions_aio.get("ann", "s1").start("waits")

    return api


def test_inspector_of_a_web_application(new_user: Callable[..., BrowserContext]) -> None:
    """A person who is no operator sees why, and no login of ours. An operator cancels a run."""
    with UvicornThread(web_application()).running() as server:
        site = f"http://127.0.0.1:{server.port}"
        context = new_user()
        page = context.new_page()
        page.set_default_timeout(SLOWEST)
        page.goto(f"{site}/admin/inspect")
        expect(page.locator("#closed-text")).to_have_text("log in first")
        expect(page.locator("#login")).to_be_hidden()
        context.add_cookies([{"name": "sid", "value": "banned", "url": site}])
        page.get_by_role("button", name="Try again").click()
        expect(page.locator("#closed-text")).to_have_text("banned")
        context.add_cookies([{"name": "sid", "value": "carol", "url": site}])
        page.get_by_role("button", name="Try again").click()
        expect(page.locator("#state")).to_have_attribute("data-state", "live")
        expect(page.locator("#who")).to_have_text("carol")
        expect(page.locator("#logout")).to_be_hidden()
        run = context.request.get(f"{site}/start").json()
        page.get_by_role("navigation").get_by_role("link", name="Runs").click()
        page.get_by_role("button", name=f"Cancel run {run} of waits").click()
        page.get_by_role("dialog").get_by_role("button", name="Cancel the run").click()
        expect(page.locator("#note")).to_have_text(re.compile("is cancelled"))
        page.mouse.move(0, 0)
        expect(page.locator(".empty")).to_be_visible()
        assert page.url.startswith(f"{site}/admin/inspect/#/runs")
