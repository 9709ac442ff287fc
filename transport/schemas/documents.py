"""The documents: three JSON Schemas, and the AsyncAPI document, each as the bytes of a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from transport.protocol.handshake import SUBPROTOCOL
from transport.schemas._classes import Style, description_of
from transport.schemas._events import event_definitions
from transport.schemas._frames import (
    CLIENT,
    CLIENT_FRAMES,
    SERVER,
    SERVER_FRAMES,
    client_definitions,
    server_definitions,
)
from transport.schemas._spec import examples, section

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transport.schemas._classes import Schema

FOLDER = Path(__file__).parent
ASYNCAPI = "asyncapi.json"
PATH = f"/{ASYNCAPI}"
"""The path at which servers have the AsyncAPI document."""

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_CHANNEL = {"$ref": "#/channels/session"}


def definitions(style: Style) -> dict[str, Schema]:
    """Return the definitions of all frames and events."""
    return {**client_definitions(style), **server_definitions(style), **event_definitions(style)}


def documents() -> dict[str, bytes]:
    """Return the contents of all files, by their names."""
    style = Style()
    events = event_definitions(style)
    client, server = client_definitions(style), server_definitions(style)
    made: dict[str, Any] = {
        "events.json": _schema("An event of a session", style.ref("Event"), events),
        "client_frames.json": _schema("A frame from a client", _any_of(style, CLIENT_FRAMES), client),
        "server_frames.json": _schema("A frame from a server", _any_of(style, SERVER_FRAMES), {**server, **events}),
        ASYNCAPI: asyncapi(),
    }
    return {name: f"{json.dumps(each, indent=2, ensure_ascii=False)}\n".encode() for name, each in made.items()}


def write(folder: Path = FOLDER) -> None:
    """Write all files into a folder. By default this is the folder in which they are shipped."""
    for name, content in documents().items():
        (folder / name).write_bytes(content)


def served(url: str) -> bytes:
    """Return the AsyncAPI document for clients of one server.

    Args:
        url: Address of the server's WebSocket endpoint, such as ``wss://example.com/ws``.
    """
    document = orjson.loads((FOLDER / ASYNCAPI).read_bytes())
    parts = urlsplit(url)
    document["servers"] = {
        "this": {"host": parts.netloc, "protocol": parts.scheme, "description": "The server that you asked."}
    }
    document["channels"]["session"]["address"] = parts.path or "/"
    return orjson.dumps(document)


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI 3 document. It describes a server: the server receives a client's frames."""
    style = Style("#/components/schemas/", is_asyncapi=True)
    messages = {**_messages(style, CLIENT_FRAMES, CLIENT), **_messages(style, SERVER_FRAMES, SERVER)}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Greenroom",
            "version": SUBPROTOCOL,
            "description": section("Versions").strip(),
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {"host": "127.0.0.1:8765", "protocol": "ws", "description": "A server on this machine."},
        },
        "channels": {
            "session": {
                "address": "/",
                "title": "One session of one user",
                "description": "Each message is one frame: a JSON object in a WebSocket text message.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {"ws": _binding()},
            }
        },
        "operations": _operations(),
        "components": {"messages": messages, "schemas": definitions(style)},
    }


def _schema(title: str, whole: Schema, parts: Mapping[str, Schema]) -> dict[str, Any]:
    return {"$schema": _DIALECT, "title": title, **whole, "$defs": dict(parts)}


def _any_of(style: Style, frames: Mapping[str, type[Any]]) -> Schema:
    return {"oneOf": [style.ref(cls.__name__) for cls in frames.values()]}


def _messages(style: Style, frames: Mapping[str, type[Any]], where: str) -> dict[str, Any]:
    return {
        cls.__name__: {
            "name": str(kind),
            "title": cls.__name__,
            "summary": description_of(cls),
            "payload": style.ref(cls.__name__),
            "examples": [{"payload": json.loads(each)} for each in examples(f"`{kind}`", inside=where)],
        }
        for kind, cls in frames.items()
    }


def _binding() -> dict[str, Any]:
    protocol = {"type": "string", "enum": [SUBPROTOCOL]}
    headers = {"type": "object", "properties": {"Sec-WebSocket-Protocol": protocol}}
    return {"method": "GET", "headers": headers}


def _operations() -> dict[str, Any]:
    answers = {"Hello": "Welcome", "CommandFrame": "Reply", "HistoryFrame": "HistoryReply", "TokenFrame": "Renewed"}
    operations: dict[str, Any] = {}
    for cls in CLIENT_FRAMES.values():
        name = cls.__name__
        operation: dict[str, Any] = {"action": "receive", "channel": _CHANNEL, "messages": [_in_channel(name)]}
        if name in answers:
            operation["reply"] = {"channel": _CHANNEL, "messages": [_in_channel(answers[name])]}
        operations[f"receive{name}"] = operation
    for cls in SERVER_FRAMES.values():
        name = cls.__name__
        operations[f"send{name}"] = {"action": "send", "channel": _CHANNEL, "messages": [_in_channel(name)]}
    return operations


def _in_channel(name: str) -> Schema:
    return {"$ref": f"#/channels/session/messages/{name}"}
