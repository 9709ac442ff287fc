"""The published schemas and the AsyncAPI document: in step with the classes, SPEC.md and the server's parser."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import fastjsonschema
import pytest
from _frame_schemas import check, check_client_frame, check_frame
from fastjsonschema import JsonSchemaValueException
from hypothesis import given
from hypothesis import strategies as st
from web.node import HERE as WEB
from web.node import node_with_packages

import transport
from actors.events.types import EVENT_TYPES
from transport.protocol.client_frames import BadFrame, ClientFrame, parse
from transport.protocol.names import ClientFrameType, CommandName, ServerFrameType
from transport.protocol.server_frame_parser import decode
from transport.protocol.server_frame_parser import parse as parse_of_client
from transport.protocol.server_frames import ServerFrame
from transport.schemas._classes import Style
from transport.schemas._frames import CLIENT, CLIENT_FRAMES, SERVER, SERVER_FRAMES
from transport.schemas._spec import SPEC, examples, meanings, section
from transport.schemas.documents import ASYNCAPI, FOLDER, asyncapi, definitions, documents, served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Frame = dict[str, Any]
Check = "Callable[[Frame], object]"

OPEN = definitions(Style())
EXAMPLES: list[tuple[Callable[[Frame], None], Frame]] = [
    *(
        (check_client_frame, json.loads(text))
        for kind in CLIENT_FRAMES
        for text in examples(f"`{kind}`", inside=CLIENT)
    ),
    *((check_frame, json.loads(text)) for kind in SERVER_FRAMES for text in examples(f"`{kind}`", inside=SERVER)),
]
NAMES = [f"{'client' if judge is check_client_frame else 'server'}-{frame['type']}" for judge, frame in EXAMPLES]


@pytest.mark.parametrize("name", ["events.json", "client_frames.json", "server_frames.json", ASYNCAPI])
def test_shipped_file_is_what_is_generated(name: str) -> None:
    """Each shipped file is what the classes and SPEC.md say now. If it is not: ``make schemas``."""
    assert (FOLDER / name).read_bytes() == documents()[name], "run: make schemas"
    assert {path.name for path in FOLDER.glob("*.json")} == set(documents())


def test_every_frame_and_event_has_a_schema() -> None:
    """Each type of frame, of event and of command has a definition, and so has each class of a frame."""
    assert list(CLIENT_FRAMES) == list(ClientFrameType)
    assert list(SERVER_FRAMES) == list(ServerFrameType)
    assert set(CLIENT_FRAMES.values()) == set(get_args(ClientFrame))
    assert set(SERVER_FRAMES.values()) == set(get_args(ServerFrame))
    names = {cls.__name__ for cls in (*CLIENT_FRAMES.values(), *SERVER_FRAMES.values())}
    assert names | set(CommandName) | set(EVENT_TYPES) <= set(OPEN)


def conversation() -> Iterator[tuple[Callable[[Frame], None], Frame]]:
    """Yield the frames of the conversation in SPEC.md, each with its check, except for the one that is refused."""
    for line in re.findall(r"^([CS]): (.*)$", section("A worked conversation"), re.MULTILINE):
        if '"limit":501' in line[1]:
            continue
        text = re.sub(r'"<(?:ms)>"', "1", line[1])
        yield (check_client_frame if line[0] == "C" else check_frame), json.loads(text)


def test_spec_fits_the_schemas() -> None:
    """All examples of SPEC.md fit their schemas, and so does every frame of its conversation, to the last field."""
    for judge, frame in (*EXAMPLES, *conversation()):
        judge(frame)


@pytest.mark.parametrize(("judge", "frame"), EXAMPLES, ids=NAMES)
def test_a_wrong_frame_does_not_fit(judge: Callable[[Frame], None], frame: Frame) -> None:
    """A frame with a field too many, or with a field of a wrong type, does not fit the strict schemas of the tests."""
    with pytest.raises(JsonSchemaValueException):
        judge({**frame, "more": 1})
    for field in frame.keys() - {"type", "result", "data"}:
        with pytest.raises(JsonSchemaValueException):
            judge({**frame, field: None})


def test_a_wrong_event_does_not_fit() -> None:
    """An event inside a frame is checked, too: its ids, and the fields of its data."""
    event = {"seq": 1, "type": "tool_executing", "ts": 1, "run_id": "r", "call_id": "c"}
    data = {"tool": "t", "arguments": {}}
    check_frame({"type": "events", "events": [{**event, "data": data}]})
    for wrong in (
        {**event, "data": {"tool": "t"}},
        {**event, "data": {**data, "text": ""}},
        {**event, "data": data, "seq": 0},
        {name: value for name, value in event.items() if name != "call_id"} | {"data": data},
    ):
        with pytest.raises(JsonSchemaValueException):
            check_frame({"type": "events", "events": [wrong]})


def test_fields_of_events_are_required_as_spec_says() -> None:
    """The schema of each event requires exactly those fields of its data that SPEC.md does not mark as optional."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| ", section("Events"), re.MULTILINE)
    table = {kind: dict(re.findall(r"`(\w+)`(\??)", cells)) for kind, cells in rows if kind in EVENT_TYPES}
    assert list(table) == list(EVENT_TYPES)
    for kind, fields in table.items():
        data = OPEN[kind]["properties"]["data"]
        # The table says in words which of `result` and `error` is there.
        assert set(data["required"]) == {name for name, mark in fields.items() if not mark}, kind
        assert set(data["properties"]) == set(fields), kind


def test_every_field_is_described() -> None:
    """Each field of a frame has its meaning from SPEC.md as its description."""
    for frames, where in ((CLIENT_FRAMES, CLIENT), (SERVER_FRAMES, SERVER)):
        for kind, cls in frames.items():
            fields = OPEN[cls.__name__].get("properties", {})
            table = meanings(f"`{kind}`", inside=where)
            named = {name for name, each in fields.items() if each.get("description")}
            assert named >= table.keys() - {"name", "data", "id", "args", "ok", "result", "error", "duplicate"}, kind


# Versions


def test_published_schemas_allow_what_a_newer_server_adds() -> None:
    """Unknown fields, error codes, resets and signals fit the published schemas: a client must ignore them."""
    published = fastjsonschema.compile({"$ref": "#/$defs/Welcome", "$defs": OPEN})
    welcome = next(frame for _, frame in EXAMPLES if frame["type"] == "welcome")
    published({**welcome, "reset": "moved", "more": {}, "runs": [{**welcome["runs"][0], "more": 1}]})
    reply = fastjsonschema.compile({"$ref": "#/$defs/Reply", "$defs": OPEN})
    reply({"type": "reply", "id": "c", "ok": False, "error": {"code": "new", "message": "", "hint": 1}})
    signal = fastjsonschema.compile({"$ref": "#/$defs/Signal", "$defs": OPEN})
    signal({"type": "signal", "name": "new", "data": 1})
    with pytest.raises(JsonSchemaValueException):
        signal({"type": "signal", "name": "typing"})


# The server's parser


def mutations(frame: Frame) -> st.SearchStrategy[Frame]:
    """Return frames like this one: fields are missing, or have other values."""
    values = st.sampled_from([0, 1, -1, 2**53 - 1, 2**53, 501, "", "x", "a b", "é" * 128, "x" * 129, True, {}, []])
    inner = st.sampled_from([{"epoch": "e", "seq": 3}, {"epoch": 1, "seq": 3}, {"epoch": "e", "seq": -1}, {"seq": 1}])
    return st.builds(
        lambda drop, changes: {k: v for k, v in {**frame, **changes}.items() if k == "type" or k not in drop},
        st.sets(st.sampled_from(sorted(frame))),
        st.dictionaries(st.sampled_from(sorted({*frame, "from", "strict", "token"} - {"type"})), values | inner),
    )


@given(st.sampled_from([frame for judge, frame in EXAMPLES if judge is check_client_frame]).flatmap(mutations))
def test_schema_and_parser_agree(frame: Frame) -> None:
    """The server refuses a frame (4500) if and only if it does not fit its schema, apart from what a reply refuses."""
    fits = fastjsonschema_check(CLIENT_FRAMES[frame["type"]].__name__)
    judged = copy.deepcopy(frame)
    if frame["type"] == "command":  # the session judges the name and the arguments, and answers in a reply
        judged |= {"name": "session.close"} if isinstance(frame.get("name"), str) else {}
    if frame["type"] == "history":  # the bounds of the numbers are judged later, and answered by an error
        judged |= {name: 1 for name in ("after", "limit") if type(frame.get(name)) is int}
    assert accepted(frame) == fits(judged), frame


def accepted(frame: Frame) -> bool:
    """Return whether the server's parser accepts the frame."""
    try:
        parse(json.dumps(frame))
    except BadFrame:
        return False
    return True


def fastjsonschema_check(name: str) -> Callable[[Frame], bool]:
    """Return a function that tells whether a frame fits the published schema of this name."""

    def fits(frame: Frame) -> bool:
        try:
            published(name)(frame)
        except JsonSchemaValueException:
            return False
        return True

    return fits


_COMPILED: dict[str, Callable[[Frame], object]] = {}


def published(name: str) -> Callable[[Frame], object]:
    """Return the compiled check of a published definition."""
    if name not in _COMPILED:
        _COMPILED[name] = fastjsonschema.compile({"$ref": f"#/$defs/{name}", "$defs": OPEN})
    return _COMPILED[name]


# The AsyncAPI document


def references(value: object) -> Iterator[str]:
    """Yield all references in a document."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def resolved(document: Any, reference: str) -> Any:
    """Return the part of the document that a reference names."""
    assert reference.startswith("#/")
    for part in reference[2:].split("/"):
        document = document[part]
    return document


@pytest.mark.parametrize("name", documents())
def test_every_reference_leads_somewhere(name: str) -> None:
    """Each reference in a file leads to a part of the same file, and each definition is used."""
    document = json.loads((FOLDER / name).read_bytes())
    used = set(references(document))
    assert all(resolved(document, each) for each in used)
    root = "#/components/schemas/" if name == ASYNCAPI else "#/$defs/"
    assert {root + each for each in resolved(document, root.rstrip("/"))} == {each for each in used if root in each}


def test_asyncapi_has_all_messages_and_operations() -> None:
    """Each frame is one message of the channel, and one operation: the server receives or sends it."""
    document = asyncapi()
    frames = {cls.__name__ for cls in (*CLIENT_FRAMES.values(), *SERVER_FRAMES.values())}
    assert document["channels"]["session"]["messages"].keys() == document["components"]["messages"].keys() == frames
    actions = {
        each["messages"][0]["$ref"].rpartition("/")[2]: each["action"] for each in document["operations"].values()
    }
    assert {name for name, action in actions.items() if action == "receive"} == {
        cls.__name__ for cls in CLIENT_FRAMES.values()
    }
    assert actions.keys() == frames
    event = document["components"]["schemas"]["Event"]
    # AsyncAPI wants the value of the discriminator to be the name of the schema.
    assert event["discriminator"] == "type"
    for each in event["oneOf"]:
        assert resolved(document, each["$ref"])["properties"]["type"] == {"const": each["$ref"].rpartition("/")[2]}


@pytest.mark.parametrize(
    ("url", "host", "protocol", "address"),
    [
        ("ws://127.0.0.1:8765/", "127.0.0.1:8765", "ws", "/"),
        ("wss://example.com/ws", "example.com", "wss", "/ws"),
    ],
)
def test_served_document_has_the_servers_address(url: str, host: str, protocol: str, address: str) -> None:
    """The document that a server sends names this server."""
    document = json.loads(served(url))
    assert [(each["host"], each["protocol"]) for each in document["servers"].values()] == [(host, protocol)]
    assert document["channels"]["session"]["address"] == address
    assert document["components"] == asyncapi()["components"]


# Another library


def test_ajv_takes_the_schemas_and_spec_fits() -> None:
    """Ajv compiles the three JSON Schemas in its strict mode, with the discriminator. All examples of SPEC.md fit."""
    node = node_with_packages()
    script = Path(__file__).with_name("ajv.mjs").read_text("utf-8")
    frames = [[judge is check_client_frame, frame] for judge, frame in (*EXAMPLES, *conversation())]
    done = subprocess.run(
        [node, "--input-type=module", "-e", script, str(FOLDER)],
        input=json.dumps(frames),
        cwd=WEB,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"checked": len(frames), "wrong": 0}


def test_schemas_are_beside_the_spec_in_the_wheel() -> None:
    """The files are inside the package ``transport``, whose files all are in the wheel."""
    assert FOLDER.is_relative_to(Path(transport.__file__).parent)
    assert SPEC.is_file()
    assert check("Welcome") is check("Welcome")


def test_schemas_do_not_change_when_frames_are_read() -> None:
    """The documents are the same after a client has read a welcome. *cattrs resolves the annotations of the class.*"""
    text = json.dumps(next(frame for _, frame in EXAMPLES if frame["type"] == "welcome"))
    assert parse_of_client(decode(text)) is not None
    assert documents()["server_frames.json"] == (FOLDER / "server_frames.json").read_bytes()
