"""Exceptions in one line, for a terminal."""

from __future__ import annotations

from actors.failures import class_name, text_of
from transport._border import leaves


def in_one_line(error: BaseException) -> str:
    """Return an exception's message, or its class name if it has no message. For a group, use its first exception."""
    error = next(leaves(error))
    text = error.strerror if isinstance(error, OSError) and error.strerror and not error.filename else text_of(error)
    return " ".join(text.split()) or class_name(error)
