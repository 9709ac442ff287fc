"""Calls to the functions that an application hands to the pages."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException

from actors.failures import log_failure
from transport._border import called_at_once

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("greenroom.http")


def call_or_500(name: str, function: Callable[..., Any], *arguments: object) -> Any:
    """Call a function of the application and return its result.

    If the function raises anything, even ``SystemExit``, raise only an HTTP error 500, so that the server continues.
    The client gets a reference number, and the exception is logged with the same number.
    """
    result = called_at_once(function, *arguments)
    if not isinstance(result, BaseException):
        return result
    reference = secrets.token_hex(4)
    log_failure(logger, "%s() failed for the pages, reference %s", name, reference, error=result)
    raise HTTPException(500, f"internal error, reference {reference}")
