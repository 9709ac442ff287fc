"""The HTTP pages that a server has in addition to the WebSocket endpoint. Needs the extra ``http``."""

from transport._extras import import_extra

import_extra("the HTTP server of the pages", "http", "h11", "starlette.applications")
