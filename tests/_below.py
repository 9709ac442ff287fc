"""A switch for the tests of the wire: ``GREENROOM_TEST_HOST=uvicorn pytest tests/protocol`` puts a web server below.

With it, ``Greenroom.running()`` mounts the app at ``/`` of a web application, and a web server in the same event loop
serves it. Server processes run under the web server, too. The tests are the same.
"""

from __future__ import annotations

import os

NATIVE = "native"
WEB_SERVERS = (
    "handover-asyncio",
    "handover-uvloop",
    "uvicorn",
    "uvicorn-uvloop",
    "hypercorn-trio",
    "hypercorn-asyncio",
)
HOST = os.environ.get("GREENROOM_TEST_HOST", NATIVE)
"""The host of this run. It is read once, because each test removes the variables of Greenroom from the environment."""
assert HOST in {NATIVE, *WEB_SERVERS}, f"GREENROOM_TEST_HOST must be {NATIVE} or one of {', '.join(WEB_SERVERS)}"
