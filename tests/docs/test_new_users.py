"""The paths of new users, from the documents alone, in an environment with the wheel and the extras that they name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from _scale import SOAK
from _shared import library_cache, shared_wheel
from _wheel import make_environment
from browser.conftest import chromium
from docs.documents import NEW_USERS_PAGES, NEW_USERS_SESSIONS, blocks, document
from docs.shell import PORTS, Step, terminal
from docs.visits import visit
from playwright.sync_api import expect

if TYPE_CHECKING:
    from pathlib import Path

    from _wheel import Environment
    from docs.documents import Block
    from docs.shell import Terminal
    from playwright.sync_api import Browser

__all__ = ["chromium"]

pytestmark = pytest.mark.timeout(300)  # each path starts several processes, and the demo builds its index


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the wheel and the extra ``demo``, which has the extras ``http`` and ``jwt``."""
    return make_environment(tmp_path_factory.mktemp("environment"), shared_wheel(tmp_path_factory), "demo")


def run_section(own: Terminal, path: str, section: str) -> None:
    """Carry out the terminal sessions of a section. No other test does: see NEW_USERS_SESSIONS."""
    assert (path, section) in NEW_USERS_SESSIONS
    found = [block for block in document(path).blocks if (block.section, block.language) == (section, "console")]
    assert found
    for block in found:
        own.run(block)


def page_of(path: str) -> Block:
    """Return the page of a document. No other test visits it: see NEW_USERS_PAGES."""
    assert path in NEW_USERS_PAGES
    (block,) = (each for each in blocks("html") if each.document == path)
    return block


def test_see_the_demo(
    environment: Environment,
    chromium: Browser,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the wheel installed, ``greenroom demo`` answers a question in a browser."""
    # The demo builds its index in make soak only: that takes seconds, and tests/demo builds one in every run.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache" if SOAK else library_cache(tmp_path_factory)))
    with terminal(tmp_path, "README.md", environment.folder / "bin") as own:
        own.serve(Step("greenroom demo", ("ready",)))
        with chromium.new_page() as page:
            page.goto(f"http://127.0.0.1:{own.ports[PORTS['HTTP_PORT']]}/")
            page.get_by_role("textbox").fill("How do I parse a csv file with a header?")
            page.keyboard.press("Enter")
            expect(page.locator(".answer").last).to_contain_text("csv.DictReader", timeout=60_000)


def test_serve_the_example(environment: Environment, chromium: Browser, tmp_path: Path) -> None:
    """With the wheel installed, the README's example server works: its page in a browser, and its client in Python."""
    block = page_of("README.md")
    (tmp_path / "page-and-client").mkdir()
    (tmp_path / "page").mkdir()
    with terminal(tmp_path / "page-and-client", "README.md", environment.folder / "bin") as own:
        run_section(own, "README.md", block.section)
    with terminal(tmp_path / "page", "README.md", environment.folder / "bin") as own:
        visit(own, block, chromium)


def test_serve_with_tokens(environment: Environment, chromium: Browser, tmp_path: Path) -> None:
    """With the wheel installed, the server and the page with tokens in transport/cli/GUIDE.md work."""
    block = page_of("transport/cli/GUIDE.md")
    with terminal(tmp_path, block.document, environment.folder / "bin") as own:
        visit(own, block, chromium)


def test_read_a_log(environment: Environment, tmp_path: Path) -> None:
    """With the wheel installed, the commands in transport/cli/GUIDE.md for a log work: follow, verify, export, copy."""
    with terminal(tmp_path, "transport/cli/GUIDE.md", environment.folder / "bin") as own:
        run_section(own, "transport/cli/GUIDE.md", "Start and stop")
