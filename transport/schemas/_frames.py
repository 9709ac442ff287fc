"""The schemas of the frames, in both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.events.types import MAX_SEQ, Position, ResetReason
from transport.protocol.client_frames import Ack, CommandFrame, Hello, HistoryFrame, Pong, TokenFrame, TypingFrame
from transport.protocol.close_codes import MAX_REASON_BYTES
from transport.protocol.limits import MAX_BATCH_EVENTS, MAX_HISTORY, MAX_ID, SESSION_NAME
from transport.protocol.names import ClientFrameType, CommandName, ErrorCode, ServerFrameType, SignalName, StartFrom
from transport.protocol.server_frames import (
    ErrorFrame,
    Events,
    Goodbye,
    HistoryReply,
    OpenRun,
    Ping,
    QueuedStart,
    Renewed,
    Reply,
    Signal,
    Typist,
    Welcome,
)
from transport.schemas._classes import described, description_of, required_of
from transport.schemas._spec import meanings

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from transport.schemas._classes import Schema, Style

CLIENT_FRAMES: Mapping[str, type[Any]] = {
    ClientFrameType.HELLO: Hello,
    ClientFrameType.COMMAND: CommandFrame,
    ClientFrameType.TYPING: TypingFrame,
    ClientFrameType.ACK: Ack,
    ClientFrameType.HISTORY: HistoryFrame,
    ClientFrameType.PONG: Pong,
    ClientFrameType.TOKEN: TokenFrame,
}
"""The classes of a client's frames, by their ``type``."""

SERVER_FRAMES: Mapping[str, type[Any]] = {
    ServerFrameType.WELCOME: Welcome,
    ServerFrameType.EVENTS: Events,
    ServerFrameType.SIGNAL: Signal,
    ServerFrameType.REPLY: Reply,
    ServerFrameType.HISTORY: HistoryReply,
    ServerFrameType.TOKEN: Renewed,
    ServerFrameType.ERROR: ErrorFrame,
    ServerFrameType.PING: Ping,
    ServerFrameType.GOODBYE: Goodbye,
}
"""The classes of a server's frames, by their ``type``."""

CLIENT, SERVER = "Frames from the client", "Frames from the server"
"""The headings of both directions in SPEC.md."""

_TEXT: Schema = {"type": "string"}
_YES_OR_NO: Schema = {"type": "boolean"}
_ID: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_ID}
_SEQ: Schema = {"type": "integer", "minimum": 0, "maximum": MAX_SEQ}


def client_definitions(style: Style) -> dict[str, Schema]:
    """Return the definitions of a client's frames, by the names of their classes, and of their parts."""
    session = {"type": "string", "pattern": f"^{SESSION_NAME.pattern}$"}
    starts = {"enum": [start.value for start in StartFrom], "default": StartFrom.OLDEST.value}
    changes: dict[str, dict[str, Schema]] = {
        ClientFrameType.HELLO: {
            "session": session,
            "resume": style.ref("Position"),
            "from_latest": starts,
            "strict": {"type": "boolean", "default": False},
        },
        ClientFrameType.ACK: {"seq": _SEQ},
        ClientFrameType.HISTORY: {"id": _ID, "limit": {"type": "integer", "minimum": 1, "maximum": MAX_HISTORY}},
    }
    frames = {
        cls.__name__: _frame(style, kind, cls, (style.fields(cls, changes.get(kind, {})), required_of(cls)))
        for kind, cls in CLIENT_FRAMES.items()
        if kind != ClientFrameType.COMMAND
    }
    hello = frames["Hello"]["properties"]
    hello["from"] = hello.pop("from_latest") | {"description": meanings("`hello`", inside=CLIENT)["from"]}
    position = style.object(style.fields(Position, {"seq": _SEQ}), required_of(Position), title="Position")
    return {**frames, **_commands(style), "Position": position}


def _commands(style: Style) -> dict[str, Schema]:
    """Return the definitions of the commands, and their union over ``name``."""
    run: Schema = style.object({"run_id": _ID, "command_id": _ID}, [])
    arguments: dict[str, Schema] = {
        CommandName.RUN_START: style.object({"agent": _ID, "input": {}, "traceparent": _TEXT}, ["agent"]),
        CommandName.RUN_CANCEL: {**run, "anyOf": [{"required": ["run_id"]}, {"required": ["command_id"]}]},
        CommandName.INPUT_ANSWER: style.object(
            {"run_id": _ID, "call_id": _ID, "value": {}}, ["run_id", "call_id", "value"]
        ),
        CommandName.MESSAGE_SEND: style.object({"text": _TEXT}, ["text"]),
        CommandName.SESSION_CLOSE: {"type": "object"},
    }
    table = meanings("`command`", inside=CLIENT)
    definitions: dict[str, Schema] = {}
    for name in CommandName:
        parts = {"type": {"const": "command"}, "id": _ID, "name": {"const": name.value}, "args": arguments[name]}
        always = [part for part in parts if part != "args" or name != CommandName.SESSION_CLOSE]
        definitions[name.value] = style.object(
            described(parts, table), always, title=name.name.title().replace("_", "")
        )
    return {CommandFrame.__name__: style.union("name", definitions, description_of(CommandFrame)), **definitions}


def server_definitions(style: Style) -> dict[str, Schema]:
    """Return the definitions of a server's frames, by the names of their classes, and of their parts."""
    events: Schema = {"type": "array", "items": style.ref("Event"), "maxItems": MAX_BATCH_EVENTS}
    reason: Schema = {"type": "string", "maxLength": MAX_REASON_BYTES}
    resets = style.known(ResetReason)
    code = style.known(ErrorCode)
    properties: dict[str, dict[str, Schema]] = {
        ServerFrameType.WELCOME: style.fields(Welcome, {"reset": resets, "oldest": {**_SEQ, "maximum": MAX_SEQ + 1}}),
        ServerFrameType.EVENTS: {"events": {**events, "minItems": 1}},
        ServerFrameType.HISTORY: {"id": _ID, "events": events, "more": _YES_OR_NO},
        ServerFrameType.TOKEN: style.fields(Renewed, {}),
        ServerFrameType.ERROR: style.fields(ErrorFrame, {"code": code}),
        ServerFrameType.PING: {},
        ServerFrameType.GOODBYE: style.fields(
            Goodbye, {"code": {"type": "integer", "minimum": 1000, "maximum": 4999}, "reason": reason}
        ),
    }
    maybe = {"reset", "expires_ms", "retry_ms", "command_memory_ms"}
    frames = {
        SERVER_FRAMES[kind].__name__: _frame(style, kind, SERVER_FRAMES[kind], (each, each.keys() - maybe))
        for kind, each in properties.items()
    }
    parts = {
        cls.__name__: style.object(style.fields(cls, {}), required_of(cls), title=cls.__name__)
        for cls in (OpenRun, QueuedStart, Typist)
    }
    return {**frames, **_replies(style), **_signals(style), **parts}


def _replies(style: Style) -> dict[str, Schema]:
    table = meanings("`reply`", inside=SERVER)
    refusal = style.object({"code": style.known(ErrorCode), "message": _TEXT}, ["code", "message"], title="Refusal")
    head: dict[str, Schema] = {"type": {"const": "reply"}, "id": _ID}
    last: dict[str, Schema] = {"duplicate": {"const": True}}
    done = described({**head, "ok": {"const": True}, "result": {}, **last}, table)
    refused = described({**head, "ok": {"const": False}, "error": style.ref("Refusal"), **last}, table)
    return {
        "Reply": {"description": description_of(Reply), "oneOf": [style.ref("Done"), style.ref("Refused")]},
        "Done": style.object(done, ["type", "id", "ok", "result"], title="Done"),
        "Refused": style.object(refused, ["type", "id", "ok", "error"], title="Refused"),
        "Refusal": refusal,
    }


def _signals(style: Style) -> dict[str, Schema]:
    data: dict[str, dict[str, Schema]] = {
        SignalName.QUEUED: {"command_id": _TEXT, "agent": _TEXT, "waiting": _YES_OR_NO},
        SignalName.TYPING: {"by": {"enum": ["user", "agent"]}, "id": _TEXT, "active": _YES_OR_NO},
        SignalName.PAUSED: {"active": _YES_OR_NO},
    }
    table = meanings("Signals")
    definitions: dict[str, Schema] = {
        f"signal.{name.value}": style.object(
            {"type": {"const": "signal"}, "name": {"const": name.value}, "data": style.object(data[name], data[name])},
            ["type", "name", "data"],
            title=f"{name.value.title()}Signal",
            description=table[name],
        )
        for name in SignalName
    }
    # An agent may use the names above, too, with data of its own.
    definitions["signal.other"] = style.object(
        {"type": {"const": "signal"}, "name": _TEXT, "data": {}},
        ["type", "name", "data"],
        title="OtherSignal",
        description="A signal of an agent, or of a newer server.",
    )
    return {"Signal": {"description": description_of(Signal), "anyOf": [*map(style.ref, definitions)]}, **definitions}


def _frame(style: Style, kind: str, cls: type[Any], content: tuple[Mapping[str, Schema], Collection[str]]) -> Schema:
    """Return the definition of a frame. ``content`` has its fields, and the names of the required fields."""
    properties, required = content
    where = CLIENT if CLIENT_FRAMES.get(kind) is cls else SERVER
    fields = {"type": {"const": str(kind)}, **described(properties, meanings(f"`{kind}`", inside=where))}
    always = [name for name in fields if name == "type" or name in required]
    return style.object(fields, always, title=cls.__name__, description=description_of(cls))
