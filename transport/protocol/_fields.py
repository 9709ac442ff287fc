"""Typed access to the fields of one frame, from a client or from a server (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.events.encoding import is_text

if TYPE_CHECKING:
    from collections.abc import Mapping

_JSON_NAMES: Mapping[type, str] = {str: "string", int: "integer", bool: "boolean", dict: "object", list: "list"}


class BadFrame(Exception):
    """A message that is not a frame of the protocol.

    A server closes the connection with code 4500 and the text of this exception as the reason. A client closes the
    connection and does not reconnect.
    """


class Fields:
    """Typed access to the fields of one frame, a JSON object. A field with the value null counts as absent."""

    __slots__ = ("frame",)

    def __init__(self, frame: dict[str, Any]) -> None:
        self.frame = frame

    def as_it_is(self, name: str) -> Any:
        """Return the value of the field ``name`` without a check of its type. Return None if the field is absent."""
        return self.frame.get(name)

    def optional(self, name: str, kind: type, default: Any = None, *, surrogates: bool = False) -> Any:
        """Return the value of the field ``name``, or ``default`` if the field is absent or null.

        Raise :class:`BadFrame` unless the value's type is exactly ``kind``: for example, true is not an integer. Raise
        the same error for a string that UTF-8 cannot hold, unless ``surrogates`` is True.
        """
        value: Any = self.frame.get(name)
        if value is None:
            return default
        if type(value) is not kind:
            raise BadFrame(f"{name} must be of type {_JSON_NAMES[kind]}")
        if isinstance(value, str) and not (surrogates or value.isascii() or is_text(value)):
            raise BadFrame(f"{name} has a lone surrogate")
        return value

    def required(self, name: str, kind: type, *, surrogates: bool = False) -> Any:
        """Return the value of the field ``name``, checked as :meth:`optional` does.

        Raise :class:`BadFrame` if the field is absent or null.
        """
        value: Any = self.frame.get(name)
        # The usual case first, without a further call.
        fits = type(value) is kind
        if fits and (kind is not str or surrogates or value.isascii()):
            return value
        value = self.optional(name, kind, surrogates=surrogates)
        if value is None:
            raise BadFrame(f"{name} is missing")
        return value
