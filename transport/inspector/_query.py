"""The parameters of a request, checked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import attrs
import orjson

from actors import StreamKey
from transport.inspector._answers import Refused
from transport.inspector._paging import PAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_TEXT = 4_000
"""Maximum length of a text in a parameter, in characters. Cursors have a limit of their own."""
_MAX_DIGITS = 16
"""Number of digits of 2^53, above which no seq is."""


@attrs.frozen
class Query:
    """The parameters of one request, from its URL or the JSON object in its body. Each method raises ``Refused``."""

    given: Mapping[str, object]

    @classmethod
    def of_body(cls, body: bytes) -> Query:
        """Return the parameters in the body of a request."""
        try:
            given: Any = orjson.loads(body)
        except ValueError:
            given = None
        if not isinstance(given, dict):
            raise Refused(400, "bad_args", "the body must be a JSON object")
        return cls(cast("dict[str, object]", given))

    def text(self, name: str, default: str | None = None) -> str:
        """Return a text. Without a default, it must be given and not be empty."""
        value = self.given.get(name, default)
        if not isinstance(value, str) or (default is None and not value) or len(value) > _MAX_TEXT:
            raise Refused(400, "bad_args", f"{name} must be a text of at most {_MAX_TEXT} characters")
        return value

    def cursor(self) -> str:
        """Return the cursor ``after`` of a list. "" for the first page."""
        value = self.given.get("after", "")
        if not isinstance(value, str):
            raise Refused(400, "bad_args", "after must be the next of the last page")
        return value

    def choice(self, name: str, *options: str) -> str:
        """Return one of the options. The first one is the default; it may be empty."""
        value = self.given.get(name) or options[0]
        if value not in options:
            raise Refused(400, "bad_args", f"{name} must be one of {', '.join(filter(None, options))}")
        return str(value)

    def number(self, name: str, default: float, most: float = math.inf) -> float:
        """Return a number from 0 to ``most``."""
        try:
            value = float(str(self.given.get(name) or default))
        except ValueError:
            value = math.nan
        if not 0 <= value <= most:
            bound = f" to {most:g}" if most < math.inf else ""
            raise Refused(400, "bad_args", f"{name} must be a number from 0{bound}")
        return value

    def whole(self, name: str, least: int, most: int, default: int | None = None) -> int | None:
        """Return a whole number within its bounds."""
        text = self.given.get(name)
        if text is None or text == "":
            return default
        value = str(text)
        is_number = value.isascii() and value.isdecimal() and len(value) <= _MAX_DIGITS
        if not is_number or not least <= int(value) <= most:
            raise Refused(400, "bad_args", f"{name} must be a whole number from {least} to {most}")
        return int(value)

    def limit(self, most: int = PAGE) -> int:
        """Return the maximum number of entries in the answer."""
        return self.whole("limit", 1, most, most) or most

    def flag(self, name: str) -> bool:
        """Return whether a flag is given as ``1`` or ``true``."""
        return self.given.get(name) in {"1", "true", True}

    def boolean(self, name: str, *, default: bool) -> bool:
        """Return true or false, as the body has it."""
        value = self.given.get(name, default)
        if not isinstance(value, bool):
            raise Refused(400, "bad_args", f"{name} must be true or false")
        return value

    def key(self) -> StreamKey:
        """Return the session that the parameters name."""
        return StreamKey(self.text("user"), self.text("session"))
