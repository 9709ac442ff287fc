"""The calls, options and fields that the chapters list are those of the code, and all of them."""

from __future__ import annotations

import inspect
import re

import pytest
from docs.documents import document, locate

from actors import Actor, ActorRef, ActorSystem, Context, Run, SessionHandle, SupervisorRef
from transport import Client, connect
from transport.client._options import Options

RUNS = document("actors/runs/GUIDE.md")
RUNTIME = document("actors/runtime/GUIDE.md")
STREAMS = document("actors/streams/GUIDE.md")
WEB = document("transport/web/GUIDE.md")
SCRIPT = locate("transport/web/greenroom.js").read_text("utf-8")


def public(cls: type) -> set[str]:
    """Return the names that a class itself offers."""
    return {name for name in vars(cls) if not name.startswith("_")}


def called(text: str, owner: str) -> set[str]:
    """Return the names that follow ``owner.`` in a text."""
    return set(re.findall(rf"\b{owner}\.(\w+)", text))


def names(rows: list[list[str]]) -> list[str]:
    """Return the name in backquotes with which each row begins."""
    found = [re.match(r"`(\w+)`", row[0]) for row in rows]
    assert None not in found
    return [match[1] for match in found if match]


def test_every_call_of_a_run() -> None:
    """The chapter actors/runs/GUIDE.md lists every method and attribute of ``Run``, and no other."""
    listed = called(RUNS.section("Every call"), "run")
    assert public(Run) | {"thinking", "output", "custom", "signal", "typing", "usage", "cancelled", "stop"} <= listed
    assert [name for name in called(RUNS.text, "run") if not hasattr(Run, name)] == []
    of_a_run = {"id", "agent", "user", "session", "parent", "started_at", "context"}
    assert of_a_run <= set(re.findall(r"`(\w+)`", RUNS.section("Every call")))
    assert [name for name in of_a_run if not hasattr(Run, name)] == []


def test_every_call_of_a_handle() -> None:
    """The chapter actors/runs/GUIDE.md names every method of a session's handle."""
    assert public(SessionHandle) - {"user", "session"} <= set(re.findall(r"[`.](\w+)", RUNS.prose))


def test_every_call_of_the_client() -> None:
    """The chapter actors/streams/GUIDE.md lists every method of the Python client, and no other."""
    table = STREAMS.section("The Python client")
    assert called(table, "client") == public(Client)


def test_every_option_of_the_client() -> None:
    """The chapter actors/streams/GUIDE.md lists every option of ``connect`` with its default."""
    parameters = inspect.signature(connect).parameters
    expected = {name: each.default for name, each in parameters.items() if name not in {"url", "session"}}
    rows = [line for line in STREAMS.section("The Python client").splitlines() if line.startswith("| `")]
    cells = [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in rows]
    found = {row[0]: row[1] for row in cells if row[0] in expected}
    shown = {None: "none", False: "no"}
    assert found == {
        name: shown.get(value, f"{value:,g}" if type(value) is float else f"{value:,}" if type(value) is int else value)
        for name, value in expected.items()
    }
    assert {each.name for each in Options.__attrs_attrs__} <= set(found)


@pytest.mark.parametrize(
    ("owner", "cls"), [("context", Context), ("ref", ActorRef), ("system", ActorSystem), ("self", Actor)]
)
def test_calls_of_the_runtime_exist(owner: str, cls: type) -> None:
    """Every method of the runtime's classes that the chapter actors/runtime/GUIDE.md names exists."""
    found = called(RUNTIME.prose, owner)
    assert found
    assert [name for name in found if not hasattr(cls, name)] == []


def test_every_call_of_the_runtime() -> None:
    """The chapter actors/runtime/GUIDE.md names every method of an actor and of its context.

    It also names the methods for the children of a supervisor.
    """
    text = RUNTIME.section("Every call")
    named = set(re.findall(r"[`.](\w+)", text))
    assert public(Context) | public(Actor) <= named | {"receive"}
    assert {"started", "receive", "stopping"} <= named
    assert {"start_child", "terminate_child", "restart_child", "delete_child", "children"} <= named & public(
        SupervisorRef
    )


def typedef(name: str) -> str:
    """Return the text of a type in greenroom.js."""
    found = re.search(rf"@typedef \{{\{{((?:(?!@typedef).)*?)\}}\}} {name}\b", SCRIPT, re.DOTALL)
    assert found is not None
    return found[1]


def test_every_option_of_the_script() -> None:
    """The chapter transport/web/GUIDE.md lists every option of greenroom.js, and no other."""
    options = SCRIPT[SCRIPT.index("@typedef {object} Options") :]
    options = options[: options.index("*/")]
    assert set(names(WEB.table("Options"))) == set(re.findall(r"@property \{.*\} \[?(\w+)\]?\s", options))


def test_every_event_of_the_script() -> None:
    """The chapter transport/web/GUIDE.md lists every event of greenroom.js, and no other."""
    rows = [line for line in WEB.section("Events of the client").splitlines() if line.startswith("| `")]
    first = [re.findall(r"`(\w+)`", row)[0] for row in rows]
    details = re.findall(
        r"(\w+): ", typedef("Details").replace("refused: { code: string, message: string }", "refused: x")
    )
    states = re.search(r"@typedef \{(.*)\} State$", SCRIPT, re.MULTILINE)
    assert states is not None
    assert first == [*details, *re.findall(r"\w+", states[1])]


def test_fields_of_a_welcome() -> None:
    """The chapter transport/web/GUIDE.md lists every field of a welcome."""
    (row,) = (line for line in WEB.text.splitlines() if line.startswith("| `welcome`"))
    top = re.sub(r"\{[^{}]*\}", "", typedef("Welcome"))
    assert set(re.findall(r"`(\w+)`", row.split("|")[2])) == set(re.findall(r"(\w+)\??: ", top))


def test_every_field_of_a_snapshot() -> None:
    """The chapter transport/web/GUIDE.md lists every field of a snapshot of store.js, and no other."""
    store = locate("transport/web/store.js").read_text("utf-8")
    fields = store[store.index("@typedef {object} Snapshot") : store.index("@typedef {Event | { type: string")]
    listed = [name for row in WEB.table("State for views") for name in re.findall(r"`(\w+)`", row[0])]
    assert listed == re.findall(r"@property \{.*\} (\w+)\s", fields)


def test_every_call_of_the_script() -> None:
    """The chapter transport/web/GUIDE.md lists every method of a client of greenroom.js, and no other."""
    body = SCRIPT[SCRIPT.index("export class Client ") :]
    body = body[: body.index("\n}\n")]
    methods = set(re.findall(r"^  (?:async |get )?([a-z]\w*)\(.*\) \{$", body, re.MULTILINE))
    listed = called(WEB.section("Calls"), "client")
    assert listed == methods - {"constructor", "removeEventListener"}
