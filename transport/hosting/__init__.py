"""Greenroom inside a web server: its event loop, its port, its start and its end.

:func:`lifespan` runs an app as long as the web application runs, and :func:`mount` serves its endpoint on the web
server's own port. :func:`hosted` runs an app inside a block, for tests and notebooks. The web server runs on asyncio
(uvloop too) or on trio.
"""

from transport._extras import import_extra

import_extra("the app in a web server", "hosting", "starlette")

from transport.hosting._agui import mount_agui  # noqa: E402 - after the check of the extra
from transport.hosting._aisdk import mount_aisdk  # noqa: E402 - as above
from transport.hosting._endpoint import endpoint  # noqa: E402 - as above
from transport.hosting._events import mount_events  # noqa: E402 - as above
from transport.hosting._hosted import hosted  # noqa: E402 - as above
from transport.hosting._inspector import mount_inspector  # noqa: E402 - as above
from transport.hosting._lifespan import lifespan  # noqa: E402 - as above
from transport.hosting._metrics import mount_metrics  # noqa: E402 - as above
from transport.hosting._mount import mount  # noqa: E402 - as above

__all__ = [
    "endpoint",
    "hosted",
    "lifespan",
    "mount",
    "mount_agui",
    "mount_aisdk",
    "mount_events",
    "mount_inspector",
    "mount_metrics",
]
