"""The end of a client: the error that ended it, raised to every task that still uses the client."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from transport.errors import TokenUnavailable

if TYPE_CHECKING:
    from transport.errors import TransportError


class Ending:
    """A holder of the error that ended a client. While the client runs, the holder holds None."""

    def __init__(self) -> None:
        self.error: TransportError | None = None
        self._raised = False

    def check(self) -> None:
        """Raise the error that ended the client. Do nothing while the client runs.

        Each caller gets its own copy of the error: if two tasks raised the same exception object, their tracebacks
        would mix.
        """
        if self.error is not None:
            self._raised = True
            raise copy.copy(self.error) from self.error.__cause__

    def raise_unseen(self) -> None:
        """Raise the failure of the application's token callable, unless :meth:`check` has raised it before."""
        if isinstance(self.error, TokenUnavailable) and not self._raised:
            self.check()
