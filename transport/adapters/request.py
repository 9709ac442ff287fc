"""One HTTP request, as a handler sees it in trio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import orjson

from actors.spi import MAX_DEPTH, too_deep
from transport.adapters.answers import Refused
from transport.protocol import close_codes

if TYPE_CHECKING:
    from collections.abc import Mapping

_BEARER = "bearer "


@attrs.frozen
class HttpRequest:
    """One HTTP request with its whole body."""

    method: str
    path_params: Mapping[str, Any]
    """The parameters in the path of the route."""
    query: Mapping[str, str]
    """The parameters in the URL. If one is repeated, the last counts."""
    headers: Mapping[str, str]
    """The header fields, with names in lower case."""
    body: bytes = b""

    @property
    def token(self) -> str | None:
        """The token in the header ``Authorization``. None if there is none."""
        given = self.headers.get("authorization", "")
        return given[len(_BEARER) :].strip() or None if given[: len(_BEARER)].lower() == _BEARER else None

    def require_json(self) -> None:
        """Raise ``Refused`` unless the body is declared as JSON.

        *A page of another site can send a form without being asked, but JSON only after this server has allowed it.*
        """
        if self.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refused(close_codes.UNSUPPORTED_DATA, "the body must be application/json", 415)

    def json(self) -> Any:
        """Return the JSON value in the body.

        Raises:
            Refused: The body is not JSON, not declared as JSON, or nested too deep.
        """
        self.require_json()
        if too_deep(self.body):
            raise Refused(close_codes.BAD_FRAME, f"nested deeper than {MAX_DEPTH}")
        try:
            return orjson.loads(self.body)
        except ValueError:
            raise Refused(close_codes.BAD_FRAME, "not JSON") from None
