"""The body of a request of ``DefaultChatTransport``: which input starts a run, and the id of the start."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import TYPE_CHECKING, Any, cast

import attrs
import orjson

from transport.adapters.answers import Refused
from transport.protocol import close_codes

if TYPE_CHECKING:
    from actors.events.types import JSON

REGENERATE = "regenerate-message"
_KEY = re.compile(r"aisdk:[0-9a-f]{24}")


@attrs.frozen
class ChatRequest:
    """A request for an answer of the assistant."""

    chat: str
    """Id of the chat: the name of the session."""
    input: JSON
    """The input of the agent: ``input`` of the body, or the text of the newest message."""
    command_id: str
    """Id of the command that starts the run. The same request has the same id, so that it joins the same run."""


def read_chat(body: Any) -> ChatRequest:
    """Return the request in a body. Raise ``Refused`` if it is not that of a chat transport."""
    fields = _object(body, "the body")
    chat, messages = fields.get("id"), fields.get("messages")
    if not isinstance(chat, str):
        raise _bad("id must be the id of the chat")
    if not isinstance(messages, list) or not messages:
        raise _bad("messages must have the message that is to be answered")
    last = _object(cast("list[object]", messages)[-1], "a message")
    if last.get("role") != "user":
        raise _bad("the newest message must be of the user")
    message_id = last.get("id")
    if not isinstance(message_id, str) or not message_id:
        raise _bad("a message must have an id")
    given = fields["input"] if "input" in fields else _text_of(last)
    attempt = _hash("start", given, _attempt(fields))
    return ChatRequest(chat, given, f"{message_key(message_id)}:{attempt[:24]}")


def command_id(*parts: object) -> str:
    """Return the id of a command that is the same for the same parts."""
    return f"aisdk:{_hash(*parts)[:40]}"


def message_key(message_id: str) -> str:
    """Return the id under which the messages of a chat have a message of the user.

    A page that has loaded these messages sends such an id, which stays as it is.
    """
    return message_id if _KEY.fullmatch(message_id) else f"aisdk:{_hash(message_id)[:24]}"


def message_key_of(command: str | None) -> str | None:
    """Return the id of the user's message from the id of the start that it has made. None for other starts."""
    found = _KEY.match(command or "")
    return found[0] if found is not None and (command or "").startswith(f"{found[0]}:") else None


def _hash(*parts: object) -> str:
    return hashlib.sha256(orjson.dumps(parts, default=str)).hexdigest()


def _attempt(fields: dict[str, Any]) -> str:
    """Return the id of the answer that a request replaces. Return "" if it replaces none."""
    if fields.get("trigger") != REGENERATE:
        return ""
    replaced = fields.get("messageId")
    # Without the id, two requests for another answer cannot be told from one that is repeated.
    return replaced if isinstance(replaced, str) else secrets.token_hex(16)


def _text_of(message: dict[str, Any]) -> str:
    """Return the text of a message."""
    parts = message.get("parts")
    if not isinstance(parts, list):
        raise _bad("a message must have parts")
    texts: list[str] = []
    for part in cast("list[object]", parts):
        fields = _object(part, "a part")
        if fields.get("type") != "text" or not isinstance(fields.get("text"), str):
            raise _bad("a message may have parts of text only: send other input as `input` in the body")
        texts.append(fields["text"])
    return "".join(texts)


def _object(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _bad(f"{name} must be an object")
    return cast("dict[str, Any]", value)


def _bad(reason: str) -> Refused:
    return Refused(close_codes.BAD_FRAME, reason)
