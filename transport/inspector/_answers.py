"""The form of the inspector's answers: JSON, and the exception that refuses a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import attrs
import orjson
from starlette.responses import Response

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""The headers of every answer, also in a web application that has none of its own."""
_OPTIONS = orjson.OPT_NON_STR_KEYS  # statistics may count by numbers or enums


class Refused(Exception):
    """The request is refused, with an HTTP status and a code for programs."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers
        """More headers of the answer. An underscore in a name stands for a hyphen."""


def json_answer(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer with ``content`` as JSON."""
    body = orjson.dumps(content, default=_plain, option=_OPTIONS)
    return Response(body, status, {**HEADERS, **(headers or {})}, "application/json")


def refusal(refused: Refused) -> Response:
    """Return the answer to a request that is refused."""
    headers = {name.replace("_", "-"): value for name, value in refused.headers.items()}
    return json_answer({"error": {"code": refused.code, "message": refused.message}}, refused.status, headers)


def _plain(value: Any) -> object:
    """Return a statistics class or a mapping as a dict. Anything else that JSON does not know becomes text."""
    if attrs.has(type(value)):  # pyright: ignore[reportUnknownArgumentType]  # of any class
        return attrs.asdict(value, recurse=False)
    return dict(cast("Mapping[object, object]", value)) if isinstance(value, Mapping) else str(value)
