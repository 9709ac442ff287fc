"""Tools that run in the page: an agent calls them, and an AG-UI client executes them (AG-UI's frontend tools).

Such a call is a question to the user, whose schema names the tool. So it waits, times out and ends as each question
does, also after a restart of the server. AG-UI clients see a tool call that their run leaves open, and answer it by a
tool message in their next run. Other clients of the session see the question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from actors import GreenroomError, InputRequested

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actors import JSON, Event, Run

TOOL = "x-agui-tool"
"""The keyword in the schema of a question that makes it the call of a frontend tool."""


class FrontendToolFailed(GreenroomError):
    """A frontend tool has failed in the page.

    Args:
        tool: The name of the tool.
        message: The error, as the page tells it.
        content: The content of the tool message, such as a part of the result.
    """

    def __init__(self, tool: str, message: str, content: Any = None) -> None:
        super().__init__(message)
        self.tool = tool
        """The name of the tool."""
        self.content = content
        """The content of the tool message."""


@attrs.frozen
class FrontendCall:
    """The call of a frontend tool."""

    name: str
    arguments: dict[str, JSON]


@attrs.frozen
class _Told:
    """The answer of a page, with the fields of a tool message."""

    content: Any
    error: str | None = None


async def call_frontend_tool(
    run: Run,
    name: str,
    arguments: Mapping[str, object] | None = None,
    *,
    timeout: float | None = None,  # noqa: ASYNC109 - it ends only the call
) -> Any:
    """Call a tool of the page, wait until an AG-UI client has executed it, and return its result.

    The function works in trio and in asyncio. The client gets the arguments as they are, without redaction.

    Args:
        run: The run that calls the tool, also an :class:`~actors.AsyncioRun`.
        name: The name of the tool, as the client has it in ``tools``.
        arguments: The arguments, as JSON.
        timeout: Time limit in seconds. *A client that has no such tool never answers.*

    Returns:
        The content of the client's tool message: a text, or a list of parts.

    Raises:
        FrontendToolFailed: The tool has failed in the page.
        TimeoutError: There was no result within ``timeout``.
        RunFailed: As :meth:`Run.ask_user`, since a call counts as an open question.

    Cancellation:
        The call is withdrawn. The page may have executed the tool, or may still do so.
    """
    schema: dict[str, object] = {
        "type": "object",
        "properties": {"content": {}, "error": {"type": "string"}},
        "required": ["content"],
        TOOL: {"name": name, "arguments": dict(arguments or {})},
    }
    told: _Told = await run.ask_user(name, into=_Told, schema=schema, timeout=timeout)
    if told.error is not None:
        raise FrontendToolFailed(name, told.error, told.content)
    return told.content


def frontend_call(event: Event) -> FrontendCall | None:
    """Return the call of a frontend tool that an event is. Return None for other events, and for other questions."""
    schema = event.schema if isinstance(event, InputRequested) else None
    call = schema.get(TOOL) if isinstance(schema, dict) else None
    if not isinstance(call, dict):
        return None
    name, arguments = call.get("name"), call.get("arguments")
    return FrontendCall(name, arguments) if isinstance(name, str) and isinstance(arguments, dict) else None


def content_of(value: JSON) -> tuple[JSON, str | None]:
    """Return the content and the error in the answer to the call of a frontend tool."""
    if not isinstance(value, dict):
        return value, None
    error = value.get("error")
    return value.get("content"), error if isinstance(error, str) else None
