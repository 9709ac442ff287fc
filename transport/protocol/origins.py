"""The trace of an HTTP request as that of the runs that it starts, as W3C Trace Context writes it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transport.protocol.names import CommandName

if TYPE_CHECKING:
    from collections.abc import Mapping

TRACEPARENT = "traceparent"
"""Name of the header field, and of the argument of ``run.start``."""
MAX_ORIGIN = 128
"""Maximum length of a ``traceparent`` in characters. A longer one is ignored."""


def origin_of(headers: Mapping[str, str]) -> str | None:
    """Return the ``traceparent`` of a request with these header fields, which have names in lower case."""
    origin = headers.get(TRACEPARENT)
    return origin if origin is not None and len(origin) <= MAX_ORIGIN else None


def with_origin(name: str, args: dict[str, Any], origin: str | None) -> dict[str, Any]:
    """Return the arguments of a command. A start that names no trace of its own gets that of its request."""
    if origin is None or name != CommandName.RUN_START or TRACEPARENT in args:
        return args
    return {**args, TRACEPARENT: origin}
