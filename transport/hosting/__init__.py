"""Greenroom inside a web server: its event loop, its port, its start and its end.

:func:`lifespan` runs an app as long as the web application runs, and :func:`hosted` inside a block, for tests and
notebooks. The web server runs on asyncio (uvloop too) or on trio.
"""

from transport.hosting._hosted import hosted
from transport.hosting._lifespan import lifespan

__all__ = ["hosted", "lifespan"]
