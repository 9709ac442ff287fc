"""Fixtures: the demo pages on the real HTTP server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from _demo_site import Site, open_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import trio


@pytest.fixture
async def site(nursery: trio.Nursery) -> AsyncIterator[Site]:
    """Serve the pages with their usual arguments."""
    yield await open_site(nursery)
    nursery.cancel_scope.cancel()
