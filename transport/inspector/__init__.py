"""The inspector: pages and JSON about a running server, for its operators. Needs the extra ``http`` or ``hosting``."""

from transport._extras import import_extra

import_extra("the inspector", "http", "starlette")

from transport.inspector.app import Inspector  # noqa: E402 - after the check of the extra

__all__ = ["Inspector"]
