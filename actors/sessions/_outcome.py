"""How something that was opened ended, as data (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import attrs

if TYPE_CHECKING:
    from actors.events import JSON

MAX_CODE = 128
"""Characters of an exception's class name that reach the client; a longer one is cut and ends in ``…``."""

MAX_MESSAGE = 2_000
"""Characters of an error's message that reach the client; a longer one is cut and says so."""


@attrs.frozen
class Outcome:
    """A ``status`` (ok, error, timeout, cancelled, interrupted) with a result or an error, as in the protocol."""

    status: str
    result: object = None
    error: dict[str, JSON] | None = None


def failed(error: BaseException) -> Outcome:
    """Make the outcome of an exception: its class name as code, its text as message."""
    leaf = _leaf(error)
    name = type(leaf).__name__
    code = name if len(name) <= MAX_CODE else name[:MAX_CODE] + "…"
    return Outcome("error", error={"code": code, "message": _message(leaf)})


def ended(status: str, message: str) -> Outcome:
    """Make the outcome of something that did not end by itself: the status is the code as well."""
    return Outcome(status, error={"code": status, "message": message})


def within(error: BaseException) -> tuple[BaseException, ...]:
    """List what a group holds; nothing for what is no group."""
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).exceptions
    return ()


def _leaf(error: BaseException) -> BaseException:
    """Find the one exception in a group of one: a nursery wraps what its only failing child raised."""
    while len(inner := within(error)) == 1:
        error = inner[0]
    return error


def _message(error: BaseException) -> str:
    """Give the exception's text as valid Unicode; what cannot even be printed has its class name only."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an exception whose __str__ fails must still be told
        return ""
    text = text.encode("utf-8", "replace").decode()
    text = "; ".join([text, *(f"{type(inner).__name__}: {_message(inner)}" for inner in within(error))])
    return text if len(text) <= MAX_MESSAGE else text[:MAX_MESSAGE] + " … (truncated)"
