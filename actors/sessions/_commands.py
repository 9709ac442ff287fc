"""Commands from clients, and their replies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.errors import CommandRefused
from actors.events.encoding import is_text
from actors.frozen import frozen_unchecked

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.events.types import JSON
    from actors.runs._agents import Agent


LOCAL = "local"
"""The sender of a command, in :attr:`Command.by`, if the server's own code sent it. No connection has this id."""
TRACEPARENT = "traceparent"
"""The argument of a ``run.start`` that names the trace of its sender (W3C Trace Context), if runs are traced."""


@frozen_unchecked
class CommandReply:
    """The reply to a client's command: a ``result``, or a refusal with a ``code`` and a ``message``."""

    id: str
    """Id of the command to which this is the reply."""
    result: JSON = None
    code: str | None = None
    """Error code of the refusal, such as ``bad_args`` or ``overloaded``. None if the command succeeded."""
    message: str = ""
    duplicate: bool = False
    """Whether the client had sent the same command before. If so, this is a copy of the first reply."""

    @property
    def ok(self) -> bool:
        """Whether the command succeeded."""
        return self.code is None


@frozen_unchecked(eq=False)
class Command:
    """A command that a client, or the server's own code, sends to a session."""

    id: str
    name: str
    args: dict[str, Any]
    """The arguments of the command, decoded from JSON. The session keeps this dict, so do not change it afterwards."""
    by: str
    """Id of the connection that sent the command."""
    reply: Callable[[CommandReply], object]
    """Function that is called once with the reply, immediately or later. The function must not wait.

    If the function raises, the exception is only logged.
    """
    internal: bool = False
    """Whether the server's own code sent the command. If so, its reply is not remembered, and no event has its id.

    Clients see the id only while the command is a queued ``run.start``. A signal shows the id, and clients can cancel
    the queued start by this id.
    """
    encoded_input: bytes | None = None
    """The input of a ``run.start`` as JSON text, if the sender has encoded it already.

    If this is set, ``args["input"]`` is not used.
    """
    agent: Agent | None = None
    """The agent of a ``run.start``, if it is not registered."""

    def text(self, field: str, *, longest: int = 128) -> str:
        """Return a required argument of the command that must be a string.

        Args:
            field: Name of the argument.
            longest: Maximum length in characters. The minimum is 1.

        Raises:
            CommandRefused: The argument is missing, is no string, or is too short or too long. The code is
                ``bad_args``.
        """
        value = self.args.get(field)
        if not isinstance(value, str) or not 0 < len(value) <= longest:
            raise CommandRefused("bad_args", f"{field} must be a string of 1 to {longest} characters")
        if not is_text(value):
            raise CommandRefused("bad_args", f"{field} has a lone surrogate")
        return value
