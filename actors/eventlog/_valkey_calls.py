"""Calls to a Valkey server that may be repeated, and the server's errors as errors of a log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from actors.errors import LogUnavailable
from actors.valkey.errors import NotSent, Refused, Unanswered

if TYPE_CHECKING:
    from actors.valkey.link import Link

FULL = frozenset({"OOM"})
"""Codes of the error that a server answers when its memory is full."""

AWAY = frozenset({"LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "READONLY", "CLUSTERDOWN", "TRYAGAIN", "BUSY"})
"""Codes of errors with which a server does nothing now, but perhaps soon."""

_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Waits in seconds before a call that the server could not do is tried again."""


def code_of(error: Refused) -> str:
    """Return the code of an error. The client library removes the codes that it knows, so the text counts too."""
    if "read only replica" in error.text:
        return "READONLY"
    return error.code.removeprefix("-")


def shown_refusal(error: Refused) -> LogUnavailable:
    """Return a server's error as an error of the log, with an advice."""
    if code_of(error) in FULL:
        return LogUnavailable("the memory of the Valkey server is full: raise maxmemory, or keep fewer events")
    return LogUnavailable(f"the Valkey server answers: {error.text}")


class Attempts:
    """The attempts of one call: the waits between them, until a time limit.

    ``until`` is a time of trio's clock.
    """

    def __init__(self, link: Link, until: float) -> None:
        self._link = link
        self.until = until
        self._count = 0

    async def wait(self) -> bool:
        """Wait until another attempt makes sense. Return False if the time limit is over."""
        pause = _PAUSES[min(self._count, len(_PAUSES) - 1)]
        self._count += 1
        if trio.current_time() >= self.until or self._link.ended:
            return False
        if self._link.up:
            await trio.sleep(min(pause, max(0, self.until - trio.current_time())))
            return True
        with trio.move_on_at(self.until):
            while not self._link.up and not self._link.ended:
                await self._link.changed()
        return self._link.up


async def repeated(link: Link, seconds: float, *args: bytes | str | float) -> Any:
    """Call a command that may be done twice, until there is an answer, for about ``seconds``.

    Raises:
        LogUnavailable: There was no answer in time, or the server cannot do the command.
        Refused: A function of the library refused the call.
    """
    attempts = Attempts(link, trio.current_time() + seconds)
    while True:
        try:
            return await link.call(*args)
        except (NotSent, Unanswered) as error:
            if not await attempts.wait():
                raise LogUnavailable(str(error)) from None
        except Refused as error:
            if error.code == "REFUSED":
                raise
            if code_of(error) not in AWAY or not await attempts.wait():
                raise shown_refusal(error) from None
