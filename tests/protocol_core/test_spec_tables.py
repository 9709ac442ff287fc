"""SPEC.md against the code: every name and number of the protocol is in its tables, and nothing else is."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import attrs
import pytest

import actors
import transport
from actors.events.encoding import MAX_DEPTH
from actors.events.types import EVENT_TYPES, MAX_SEQ, Event
from actors.streams import resume
from transport import Settings
from transport.protocol import client_frames, limits, server_frame_parser
from transport.protocol.client_frames import Ack, CommandFrame, Hello, HistoryFrame, Pong, TypingFrame
from transport.protocol.close_codes import CLOSE_CODES, MAX_REASON_BYTES, UNRECOVERABLE_POSITION
from transport.protocol.names import (
    OUTCOME_UNKNOWN,
    ClientFrameType,
    CommandName,
    ErrorCode,
    ResetReason,
    ServerFrameType,
    SignalName,
)
from transport.protocol.server_frames import Welcome

SPEC = (Path(transport.__file__).parent / "protocol" / "SPEC.md").read_text("utf-8")
NOT_IN_SPEC = {
    "ring_events": "a cache",
    "ring_bytes": "a cache",
    "emit_window": "between an agent and the log",
    "mailbox_size": "shows as overloaded",
    "tool_threads": "inside a run",
    "tool_threads_per_user": "inside a run",
    "max_run_depth": "inside a run",
    "max_subruns": "inside a run",
    "idle_seconds": "a session that left memory comes back",
    "allowed_origins": "HTTP 403, under Connection",
    "redact_keys": "inside the values of events",
    "loop_stall_seconds": "a warning in the server's log",
    "gc_threshold": "the server's process",
}
"""Settings that a client cannot see, and why."""


def section(title: str) -> str:
    """The text under a heading, without the sections under headings of the same level or above."""
    heading = re.search(rf"^(#+) {re.escape(title)}$", SPEC, re.MULTILINE)
    assert heading is not None, title
    rest = SPEC[heading.end() :]
    following = re.search(rf"^#{{1,{len(heading[1])}}} ", rest, re.MULTILINE)
    return rest[: following.start()] if following else rest


def cells_of(row: str) -> list[str]:
    return [cell.strip().strip("`") for cell in row.strip().strip("|").split(" | ")]


def table(title: str, head: str) -> dict[str, list[str]]:
    """The rows of the table in a section whose first column is called ``head``, by their first cell."""
    found: dict[str, list[str]] = {}
    inside = False
    for line in section(title).splitlines():
        if line.startswith(f"| {head} |"):
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not line.startswith("| ---"):
            cells = cells_of(line)
            assert cells[0] not in found, f"{cells[0]} is there twice"
            found[cells[0]] = cells
    assert found, (title, head)
    return found


def frames(title: str) -> dict[str, str]:
    """The texts about each frame under a heading, by its type."""
    parts = re.split(r"^### `(\w+)`$", section(title), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def fields(text: str) -> set[str]:
    """The first column of the table of fields in the text about a frame."""
    return {cells_of(line)[0] for line in text.splitlines() if re.match(r"\| `", line)}


def example(text: str) -> str:
    """The JSON of the example in the text about a frame."""
    (found,) = re.findall(r"^```json\n(.*?)\n```$", text, re.DOTALL | re.MULTILINE)
    return str(found)


def number(text: str) -> float:
    return float(text.replace(",", ""))


# Frames

CLIENT = frames("Frames from the client")
SERVER = frames("Frames from the server")


def test_spec_has_every_frame_type() -> None:
    """SPEC.md describes the frames of both sides, and no others."""
    assert list(CLIENT) == [str(kind) for kind in ClientFrameType]
    assert list(SERVER) == [str(kind) for kind in ServerFrameType]


@pytest.mark.parametrize(
    ("kind", "frame"),
    [
        ("hello", Hello),
        ("command", CommandFrame),
        ("typing", TypingFrame),
        ("ack", Ack),
        ("history", HistoryFrame),
        ("pong", Pong),
    ],
)
def test_spec_has_every_field_of_a_client_frame(kind: str, frame: type) -> None:
    """The table of each client frame has the fields of the class of this frame."""
    names = {field.name for field in attrs.fields(frame)}
    assert fields(CLIENT[kind]) == {"from" if name == "from_latest" else name for name in names}


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("welcome", {field.name for field in attrs.fields(Welcome)}),
        ("events", {"events"}),
        ("signal", {"name", "data"}),
        ("reply", {"id", "ok", "result", "error", "duplicate"}),
        ("history", {"id", "events", "more"}),
        ("error", {"code", "message"}),
        ("ping", set[str]()),
        ("goodbye", {"code", "reason", "retry_ms"}),
    ],
)
def test_spec_has_every_field_of_a_server_frame(kind: str, names: set[str]) -> None:
    """The table of each server frame has the fields that the server writes."""
    assert fields(SERVER[kind]) == names


@pytest.mark.parametrize("kind", CLIENT)
def test_example_of_a_client_frame_is_valid(kind: str) -> None:
    """The server accepts the example of each frame."""
    text = example(CLIENT[kind])
    assert json.loads(text)["type"] == kind
    client_frames.parse(text)


@pytest.mark.parametrize("kind", SERVER)
def test_example_of_a_server_frame_is_valid(kind: str) -> None:
    """The client accepts the example of each frame, and the example has no field that the table lacks."""
    text = example(SERVER[kind])
    message = server_frame_parser.decode(text)
    assert message.type == kind
    assert server_frame_parser.parse(message) is not None
    assert json.loads(text).keys() <= fields(SERVER[kind]) | {"type"}


# Names


def test_spec_has_every_event_type() -> None:
    """SPEC.md describes the events of the code with all their data, and no others."""
    found = table("Events", "event")
    assert list(found) == list(EVENT_TYPES)
    envelope = {field.name for field in attrs.fields(Event)}
    for kind, cells in found.items():
        names = {field.name for field in attrs.fields(EVENT_TYPES[kind])} - envelope
        assert set(re.findall(r"\w+", cells[1])) == names, kind
    assert set(table("Events", "field")) == envelope | {"type", "data"}


def test_spec_has_every_command() -> None:
    """SPEC.md describes the commands of the code, and no others."""
    assert list(table("Commands", "command")) == [str(name) for name in CommandName]


def test_spec_has_every_error_code() -> None:
    """SPEC.md lists exactly the error codes that servers send. It says that ``outcome_unknown`` is never sent."""
    assert set(table("Error codes", "code")) == set(ErrorCode)
    assert f"`{OUTCOME_UNKNOWN}` is never on the wire" in SPEC


def test_error_codes_are_those_of_the_source() -> None:
    """Every error code is used by the server, and every code with which the server refuses a command is in the enum."""
    used, literals = set[str](), set[str]()
    rooms = [Path(actors.__file__).parent / room for room in ("sessions", "runs")]
    for path in (path for room in [*rooms, Path(transport.__file__).parent / "server"] for path in room.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ErrorCode.__members__:
                used.add(ErrorCode[node.attr])
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                literals.add(node.value)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "CommandRefused":
                code = node.args[0]
                assert not isinstance(code, ast.Constant) or code.value in set(ErrorCode), ast.unparse(node)
    assert set(ErrorCode) - used - literals == set()


def test_spec_has_every_signal_and_reset() -> None:
    """SPEC.md describes the signals of the server and the reasons of a reset, and no others."""
    assert set(table("Signals", "signal")) == set(SignalName)
    assert set(table("Resume and reset", "`reset`")) == set(ResetReason)
    assert set[str](ResetReason) == set[str](resume.ResetReason)


def test_spec_has_every_close_code() -> None:
    """SPEC.md describes the close codes of the code under their names.

    It also says after which of them a client comes back.
    """
    found = {int(code): cells for code, cells in table("Close codes", "code").items()}
    assert list(found) == sorted(CLOSE_CODES)
    for code, line in CLOSE_CODES.items():
        assert found[code][1] == line.name
        assert found[code][2].split(",")[0] == ("yes" if line.come_back else "no")
    assert found[UNRECOVERABLE_POSITION][2] == "yes, without `resume"


# Numbers


def test_spec_has_every_fixed_limit() -> None:
    """SPEC.md has the numbers of the protocol with their values, and no others."""
    fixed = {name.lower(): value for name, value in vars(limits).items() if type(value) in (int, float)}
    fixed |= {"max_seq": MAX_SEQ, "max_depth": MAX_DEPTH, "max_reason_bytes": MAX_REASON_BYTES}
    assert {name: number(cells[1]) for name, cells in table("Limits", "limit").items()} == fixed


def test_spec_has_every_setting_that_a_client_can_see() -> None:
    """SPEC.md has the settings with their defaults, except the settings that have no effect on clients."""
    defaults = {field.name: field.default for field in attrs.fields(Settings) if field.init}
    found = {name: number(cells[1]) for name, cells in table("Limits", "setting").items()}
    assert found == {name: default for name, default in defaults.items() if name not in NOT_IN_SPEC}


def test_spec_has_no_unknown_name() -> None:
    """Every name in SPEC.md that ends in a unit, such as ``_ms``, is a field, a setting or a limit."""
    known = {
        *table("Limits", "limit"),
        *table("Limits", "setting"),
        *fields(SERVER["welcome"]),
        "duration_ms",
        "retry_ms",
    }
    named = set(re.findall(r"`(\w+_(?:ms|seconds|bytes|events))`", SPEC))
    assert named <= known
