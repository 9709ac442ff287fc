"""Commands from clients, and their replies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from actors.errors import CommandRefused
from actors.events.encoding import is_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.events.types import JSON


@attrs.frozen
class CommandReply:
    """The reply to a command: a ``result``, or the ``code`` and ``message`` of a refusal."""

    id: str
    """Id of the command."""
    result: JSON = None
    code: str | None = None
    """Error code of the refusal (``bad_args``, ``overloaded``, …). None if the command succeeded."""
    message: str = ""
    duplicate: bool = False
    """Whether the command was sent before. If so, this is the same reply as to the first one."""

    @property
    def ok(self) -> bool:
        """Whether the command succeeded."""
        return self.code is None


@attrs.frozen(eq=False)
class Command:
    """A command from a client to its session."""

    id: str
    name: str
    args: dict[str, Any]
    """The arguments, as decoded from JSON. The session keeps this dict: do not change it afterwards."""
    by: str
    """The connection that sent the command."""
    reply: Callable[[CommandReply], object]
    """Called once with the reply, immediately or later. It must not wait. If it raises, that is only logged."""
    internal: bool = False
    """Whether the server's own code sent the command. If so, no event has its id, and its reply is not remembered.

    If the command is a ``run.start`` that is queued, clients see the id, and can cancel the start by it.
    """
    encoded_input: bytes | None = None
    """The input of ``run.start`` as JSON text, if the sender has encoded it already. It replaces ``args["input"]``."""

    def text(self, field: str, *, longest: int = 128) -> str:
        """Return a required string argument.

        Args:
            field: Name of the argument.
            longest: Maximum length in characters. The minimum is 1.

        Raises:
            CommandRefused: The argument is missing or is no such string; the code is ``bad_args``.
        """
        value = self.args.get(field)
        if not isinstance(value, str) or not 0 < len(value) <= longest:
            raise CommandRefused("bad_args", f"{field} must be a string of 1 to {longest} characters")
        if not is_text(value):
            raise CommandRefused("bad_args", f"{field} has a lone surrogate")
        return value
