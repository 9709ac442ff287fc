"""One Chromium for all tests of a process: its start takes longer than most tests."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from browser.quiet import QUIET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Playwright


class SharedBrowser:
    """A Chromium that is started when it is first needed, and started again if it has died.

    Nothing of one test reaches another, as long as each makes a browser context (or a page) of its own and closes it.
    """

    def __init__(self) -> None:
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextmanager
    def opened(self, path: str) -> Iterator[Browser]:
        """Return the browser for the tests inside the block. Only these can call it.

        Playwright leaves an event loop in this thread, which counts as running between two calls. It does so only
        inside the block: tests that run a loop of their own would fail.

        Args:
            path: The path of Chromium.
        """
        asyncio._set_running_loop(self._loop)  # noqa: SLF001 - for those who implement loops, as Playwright does
        try:
            yield self._started(path)
        finally:
            self._loop = asyncio._get_running_loop()  # noqa: SLF001 - as above
            asyncio._set_running_loop(None)  # noqa: SLF001 - as above

    def _started(self, path: str) -> Browser:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - after the check that there is a browser

        if self._playwright is None:
            self._playwright = sync_playwright().start()
        if self._browser is None or not self._browser.is_connected():
            self._browser = self._playwright.chromium.launch(executable_path=path, args=QUIET)
        return self._browser

    def close(self) -> None:
        """End the browser, if there is one."""
        if self._playwright is None:
            return
        asyncio._set_running_loop(self._loop)  # noqa: SLF001 - as above
        try:
            if self._browser is not None:
                self._browser.close()
            self._playwright.stop()
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001 - as above
