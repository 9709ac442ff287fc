"""The pages in the documents work in Chromium, served as the document says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from browser.conftest import chromium
from docs.documents import NEW_USERS_PAGES, Block, blocks
from docs.shell import terminal
from docs.visits import visit

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

__all__ = ["chromium"]

PAGES = [block for block in blocks("html") if block.document not in NEW_USERS_PAGES]


@pytest.mark.timeout(300)  # a page needs a server and a browser, and the machine may be busy
@pytest.mark.parametrize("block", PAGES, ids=lambda block: block.place)
def test_page(block: Block, tmp_path: Path, chromium: Browser) -> None:
    """Each HTML page in a document works in a browser, when the app of the same section serves it.

    The pages in the documents for new users are in test_new_users.py.
    """
    with terminal(tmp_path, block.document) as own:
        visit(own, block, chromium)
