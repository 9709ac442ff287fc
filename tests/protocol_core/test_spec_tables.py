"""SPEC.md against the code: the tables of SPEC.md have all names and numbers of the protocol, and no others."""

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
from actors.events.types import EVENT_TYPES, MAX_SEQ, Event, ResetReason
from transport import Settings
from transport.protocol import client_frames, limits, server_frame_parser
from transport.protocol.client_frames import Ack, CommandFrame, Hello, HistoryFrame, Pong, TokenFrame, TypingFrame
from transport.protocol.close_codes import CLOSE_CODES, MAX_REASON_BYTES, UNRECOVERABLE_POSITION
from transport.protocol.names import (
    OUTCOME_UNKNOWN,
    ClientFrameType,
    CommandName,
    ErrorCode,
    ServerFrameType,
    SignalName,
)
from transport.protocol.server_frames import Renewed, Welcome

SPEC = (Path(transport.__file__).parent / "protocol" / "SPEC.md").read_text("utf-8")
NOT_IN_SPEC = {
    "host": "a client knows the address that it connects to",
    "port": "a client knows the address that it connects to",
    "http_port": "the pages, under Connection",
    "log": "where the server keeps the events",
    "valkey_prefix": "where the server keeps the events",
    "valkey_timeout_seconds": "between the log and its server",
    "valkey_wait_replicas": "between the log and its server",
    "valkey_keeps_acknowledged": "between the log and its server",
    "node_name": "between the servers on one log",
    "lease_seconds": "between the servers on one log",
    "failover_per_second": "between the servers on one log",
    "workers": "a client knows the address that it connects to",
    "worker_http_port": "the pages, under Connection",
    "comment_seconds": "sessions over HTTP, in adapters/SPEC.md",
    "http_body_bytes": "sessions over HTTP, in adapters/SPEC.md",
    "http_wait_seconds": "sessions over HTTP, in adapters/SPEC.md",
    "max_requests_per_user": "sessions over HTTP, in adapters/SPEC.md",
    "tls_cert": "a client knows the address that it connects to",
    "tls_key": "a client knows the address that it connects to",
    "public_url": "the HTTP pages, not the endpoint",
    "forwarded_allow": "between a proxy and the server",
    "proxy_protocol": "between a proxy and the server",
    "ring_events": "a cache",
    "ring_bytes": "a cache",
    "emit_window": "between an agent and the log",
    "mailbox_size": "shows as overloaded",
    "tool_threads": "inside a run",
    "tool_threads_per_user": "inside a run",
    "abandon_seconds": "inside a run",
    "hook_seconds": "functions of the server's own code",
    "observer_bytes": "between the log and the server's own code",
    "observer_events": "between the log and the server's own code",
    "retain_unread_seconds": "between the log and the server's own code",
    "max_run_depth": "inside a run",
    "max_subruns": "inside a run",
    "open_questions_per_user": "inside a run",
    "revocation_memory_seconds": "4501, under Close codes",
    "max_revocations": "a limit for the server's own code",
    "idle_seconds": "a session that left memory comes back",
    "allowed_origins": "HTTP 403, under Connection",
    "redact_keys": "inside the values of events",
    "loop_stall_seconds": "a warning in the server's log",
    "operator_token": "the HTTP pages, not the endpoint",
    "inspect_content": "the HTTP pages, not the endpoint",
    "metrics_open": "the HTTP pages, not the endpoint",
    "log_format": "the server's log lines",
    "traces": "the server's traces",
    "trace_content": "the server's traces",
    "gc_threshold": "the server's process",
}
"""The settings that a client cannot notice, with the reason. SPEC.md need not have them."""


def section(title: str) -> str:
    """Return the text under a heading, without the sections under headings of the same level or above."""
    heading = re.search(rf"^(#+) {re.escape(title)}$", SPEC, re.MULTILINE)
    assert heading is not None, title
    rest = SPEC[heading.end() :]
    following = re.search(rf"^#{{1,{len(heading[1])}}} ", rest, re.MULTILINE)
    return rest[: following.start()] if following else rest


def cells_of(row: str) -> list[str]:
    return [cell.strip().strip("`") for cell in row.strip().strip("|").split(" | ")]


def table(title: str, head: str) -> dict[str, list[str]]:
    """Return the rows of the section's table with the first column ``head``, by their first cell."""
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
    """Return the texts about each frame under a heading, by the type of the frame."""
    parts = re.split(r"^### `(\w+)`$", section(title), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def fields(text: str) -> set[str]:
    """Return the first column of the table of fields in the text about a frame."""
    return {cells_of(line)[0] for line in text.splitlines() if re.match(r"\| `", line)}


def example(text: str) -> str:
    """Return the JSON of the example in the text about a frame."""
    (found,) = re.findall(r"^```json\n(.*?)\n```$", text, re.DOTALL | re.MULTILINE)
    return str(found)


def number(text: str) -> float:
    return float(text.replace(",", ""))


# Frames

CLIENT = frames("Frames from the client")
SERVER = frames("Frames from the server")


def test_spec_has_every_frame_type() -> None:
    """SPEC.md describes all frames that clients and servers send, and no others."""
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
        ("token", TokenFrame),
    ],
)
def test_spec_has_every_field_of_a_client_frame(kind: str, frame: type) -> None:
    """In SPEC.md, the table of each client frame has exactly the fields that the class of this frame has."""
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
        ("token", {field.name for field in attrs.fields(Renewed)}),
        ("error", {"code", "message"}),
        ("ping", set[str]()),
        ("goodbye", {"code", "reason", "retry_ms"}),
    ],
)
def test_spec_has_every_field_of_a_server_frame(kind: str, names: set[str]) -> None:
    """In SPEC.md, the table of each server frame has exactly the fields that the server writes."""
    assert fields(SERVER[kind]) == names


@pytest.mark.parametrize("kind", CLIENT)
def test_example_of_a_client_frame_is_valid(kind: str) -> None:
    """The server's parser accepts the example of each client frame in SPEC.md."""
    text = example(CLIENT[kind])
    assert json.loads(text)["type"] == kind
    client_frames.parse(text)


@pytest.mark.parametrize("kind", SERVER)
def test_example_of_a_server_frame_is_valid(kind: str) -> None:
    """The client accepts the example of each server frame in SPEC.md.

    Each field of the example is in the frame's table.
    """
    text = example(SERVER[kind])
    message = server_frame_parser.decode(text)
    assert message.type == kind
    assert server_frame_parser.parse(message) is not None
    assert json.loads(text).keys() <= fields(SERVER[kind]) | {"type"}


# Names


def test_spec_has_every_event_type() -> None:
    """SPEC.md describes all event types of the code, with all fields of their data, and no others."""
    found = table("Events", "event")
    assert list(found) == list(EVENT_TYPES)
    envelope = {field.name for field in attrs.fields(Event)}
    for kind, cells in found.items():
        names = {field.name for field in attrs.fields(EVENT_TYPES[kind])} - envelope
        assert set(re.findall(r"\w+", cells[1])) == names, kind
    assert set(table("Events", "field")) == envelope | {"type", "data"}


def test_spec_has_every_command() -> None:
    """SPEC.md describes all commands that the server knows, and no others."""
    assert list(table("Commands", "command")) == [str(name) for name in CommandName]


def test_spec_has_every_error_code() -> None:
    """SPEC.md lists exactly the error codes that servers send. It says that ``outcome_unknown`` is never sent."""
    assert set(table("Error codes", "code")) == set(ErrorCode)
    assert f"`{OUTCOME_UNKNOWN}` is never on the wire" in SPEC


def test_error_codes_are_those_of_the_source() -> None:
    """The server uses every error code of the enum, and refuses commands only with codes of the enum."""
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
    """SPEC.md describes all signals that the server itself sends and all reasons of a reset, and no others."""
    assert set(table("Signals", "signal")) == set(SignalName)
    assert set(table("Resume and reset", "`reset`")) == set(ResetReason)


def test_spec_has_every_close_code() -> None:
    """SPEC.md describes exactly the close codes that the code defines, with their names.

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
    """SPEC.md has all fixed limits of the protocol, with the values of the code, and no others."""
    fixed = {name.lower(): value for name, value in vars(limits).items() if type(value) in (int, float)}
    fixed |= {"max_seq": MAX_SEQ, "max_depth": MAX_DEPTH, "max_reason_bytes": MAX_REASON_BYTES}
    assert {name: number(cells[1]) for name, cells in table("Limits", "limit").items()} == fixed


def test_spec_has_every_setting_that_a_client_can_see() -> None:
    """SPEC.md has all settings with an effect that a client can notice, with their default values."""
    defaults = {field.name: field.default for field in attrs.fields(Settings) if field.init}
    found = {name: number(cells[1]) for name, cells in table("Limits", "setting").items()}
    assert found == {name: default for name, default in defaults.items() if name not in NOT_IN_SPEC}


def test_spec_has_no_unknown_name() -> None:
    """Each name in SPEC.md that ends in a unit, such as ``_ms``, exists in the code as a field, setting or limit."""
    known = {
        *table("Limits", "limit"),
        *table("Limits", "setting"),
        *fields(SERVER["welcome"]),
        "duration_ms",
        "retry_ms",
    }
    named = set(re.findall(r"`(\w+_(?:ms|seconds|bytes|events))`", SPEC))
    assert named <= known
