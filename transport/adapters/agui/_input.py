"""The input of an AG-UI run: ``RunAgentInput``, as a client posts it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, cast

import attrs

from transport.adapters.agui._run_view import BY
from transport.protocol.limits import MAX_ID, SESSION_NAME, SESSION_NAME_RULE

if TYPE_CHECKING:
    from collections.abc import Sequence

InputFunction: TypeAlias = Callable[[dict[str, Any]], object]
"""A function that makes the input of an agent from a ``RunAgentInput``, which is decoded JSON."""

MAX_RUN_ID = MAX_ID // 2
"""Maximum length of an AG-UI run's id, in characters: ids of commands are made of it."""


class BadInput(Exception):
    """The body of a request is no ``RunAgentInput``."""


@attrs.frozen
class Answer:
    """The answer to one interrupt, or to the call of one frontend tool."""

    question: str
    """The id of the interrupt or of the tool call, which is that of the question."""
    is_cancelled: bool
    """Whether the user does not want the run to go on."""
    value: object

    @property
    def run(self) -> str:
        """Id of the run that has asked: ids of questions begin with it."""
        return self.question.rpartition(".")[0]


@attrs.frozen
class RunInput:
    """A request for an AG-UI run."""

    thread: str
    run_id: str
    answers: Sequence[Answer]
    body: dict[str, Any]
    """The whole ``RunAgentInput``."""

    @property
    def tool_answers(self) -> Sequence[Answer]:
        """The results of tools behind the agent's last message. Any of them may be of a tool of the server."""
        newest = takewhile(lambda each: each.get("role") != "assistant", reversed(self.body["messages"]))
        found = [_tool_answer(each) for each in newest if each.get("role") == "tool"]
        return [each for each in reversed(found) if each is not None]

    @property
    def asks_anew(self) -> bool:
        """Whether the newest message is none of a tool, so that it asks for a run of its own."""
        messages = self.body["messages"]
        return not messages or messages[-1].get("role") != "tool"

    @property
    def sender(self) -> str:
        """The AG-UI run as the sender of commands, and as the id of the command that starts a run."""
        return f"{BY}{self.run_id}"

    @classmethod
    def of(cls, body: Any) -> RunInput:
        """Return the request in the body of a ``POST``. Raise ``BadInput`` if it is none."""
        if not isinstance(body, dict):
            raise BadInput("the body must be a RunAgentInput, a JSON object")
        fields = cast("dict[str, Any]", body)
        thread, run_id = fields.get("threadId"), fields.get("runId")
        if not isinstance(thread, str) or not SESSION_NAME.fullmatch(thread):
            raise BadInput(f"threadId must be {SESSION_NAME_RULE}")
        if not isinstance(run_id, str) or not 0 < len(run_id) <= MAX_RUN_ID:
            raise BadInput(f"runId must be a string of 1 to {MAX_RUN_ID} characters")
        if not all(isinstance(each, dict) for each in _list_of(fields, "messages")):
            raise BadInput("messages must be a list of messages")
        return cls(thread, run_id, [_answer(each) for each in _list_of(fields, "resume", required=False)], fields)


def last_user_message(body: dict[str, Any]) -> object:
    """Return the content of the last message of the user: its text, or the list of its parts if one is no text.

    Return None if there is no such message.
    """
    messages: list[dict[str, Any]] = body["messages"]
    content: Any = next((each.get("content") for each in reversed(messages) if each.get("role") == "user"), None)
    if not _is_list(content):
        return content
    texts: list[str] = [part["text"] for part in content if _is_object(part) and isinstance(part.get("text"), str)]
    return "".join(texts) if len(texts) == len(content) else content


def _list_of(fields: dict[str, Any], name: str, *, required: bool = True) -> Sequence[Any]:
    """Return a field that must be a list. If it is not required, it may be absent or null."""
    value: object = fields.get(name)
    if value is None and not required:
        return ()
    if not _is_list(value):
        raise BadInput(f"{name} must be a list")
    return value


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _answer(entry: Any) -> Answer:
    fields = cast("dict[str, Any]", entry) if isinstance(entry, dict) else dict[str, Any]()
    question, status = fields.get("interruptId"), fields.get("status")
    if not isinstance(question, str) or not 0 < len(question) <= MAX_ID // 2 or status not in {"resolved", "cancelled"}:
        raise BadInput("an entry of resume needs an interruptId, and the status resolved or cancelled")
    return Answer(question, status == "cancelled", fields.get("payload"))


def _tool_answer(message: dict[str, Any]) -> Answer | None:
    """Return the answer in a tool message. Return None if its id cannot be that of a question."""
    call, error = message.get("toolCallId"), message.get("error")
    if not isinstance(call, str) or not 0 < len(call) <= MAX_ID // 2:
        return None
    told = {"content": message.get("content")} | ({"error": error} if isinstance(error, str) else {})
    return Answer(call, is_cancelled=False, value=told)
