"""The reference of events and errors has everything that the code has, and nothing else."""

from __future__ import annotations

import re

import attrs
import pytest
from docs.documents import document, locate

import actors
import transport.errors
from actors.events.types import EVENT_TYPES, Event, ResetReason, Status
from transport.protocol.close_codes import CLOSE_CODES
from transport.protocol.names import OUTCOME_UNKNOWN, ErrorCode, SignalName

GUIDE = document("actors/events/GUIDE.md")
SPEC = document("transport/protocol/SPEC.md")
TYPES = {"str": "string", "int": "integer", "JSON": "any JSON", "dict[str, JSON]": "object"}


def rows(title: str) -> dict[str, list[str]]:
    """Return the rows of the table in a section, by their first cell without its backquotes."""
    found = {row[0].strip("`"): row[1:] for row in GUIDE.table(title)}
    assert len(found) == len(GUIDE.table(title)), f"a row of {title} is there twice"
    assert [name for name, cells in found.items() if not cells[0]] == []
    return found


def wire_fields(kind: str) -> dict[str, bool]:
    """Return the data of an event by the protocol's own table: whether each field is optional."""
    (line,) = re.findall(rf"^\| `{kind}` \| ([^|]*) \|", SPEC.text, re.MULTILINE)
    return {name: mark == "?" for name, mark in re.findall(r"`(\w+)`(\??)", line)}


def type_of(cls: type[Event], name: str, *, optional: bool) -> str:
    """Return the type of a field as the reference writes it."""
    written: str = cls.__annotations__[name]
    return TYPES[written.removesuffix(" | None")] + (", optional" if optional else "")


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_reference_has_each_event(kind: str) -> None:
    """actors/events/GUIDE.md describes each event with its class, its fields and their types."""
    cls = EVENT_TYPES[kind]
    envelope = {field.name for field in attrs.fields(Event)}
    optional = wire_fields(kind)
    expected = {
        field.name: type_of(cls, field.name, optional=optional[field.name])
        for field in attrs.fields(cls)
        if field.name not in envelope
    }
    assert {name: cells[0] for name, cells in rows(f"`{kind}`").items()} == expected
    assert f"Class `{cls.__name__}`." in GUIDE.section(f"`{kind}`")


def test_reference_has_no_other_event() -> None:
    """actors/events/GUIDE.md describes all events of the code, in the same order, and no others."""
    assert re.findall(r"^### `(\w+)`$", GUIDE.prose, re.MULTILINE) == list(EVENT_TYPES)


def test_reference_has_the_fields_of_every_event() -> None:
    """actors/events/GUIDE.md describes the fields that all events have, with their types."""
    expected = {
        field.name: type_of(Event, field.name, optional=field.default is not attrs.NOTHING)
        for field in attrs.fields(Event)
    }
    assert {name: cells[0] for name, cells in rows("Every event").items()} == expected


def test_reference_has_each_status() -> None:
    """actors/events/GUIDE.md describes each status, each signal of the server and each reason of a reset."""
    assert list(rows("Statuses")) == list(Status)
    assert set(rows("Signals")) == set(SignalName)
    assert list(rows("Resets")) == list(ResetReason)


def test_reference_has_each_error_code() -> None:
    """actors/events/GUIDE.md describes each code with which a server or a client refuses a command, and no other."""
    script = locate("transport/web/greenroom.js").read_text("utf-8")
    own = set(re.findall(r'new GreenroomError\("(\w+)"', script))
    assert len(own) > 3
    assert set(rows("Refused commands")) == {*ErrorCode, OUTCOME_UNKNOWN, *own}


def test_reference_has_each_close_code() -> None:
    """actors/events/GUIDE.md has each close code with its name, and says whether a client reconnects after it."""
    found = {cells[0]: (cells[1], cells[2]) for cells in GUIDE_CELLS if re.fullmatch(r"\d{4}", cells[0])}
    expected = {str(code): (each.name, "yes" if each.come_back else "no") for code, each in sorted(CLOSE_CODES.items())}
    assert found == expected


GUIDE_CELLS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in GUIDE.section("Close codes").splitlines()
    if line.startswith("|")
]


def test_reference_has_each_refusal_of_an_upgrade() -> None:
    """actors/events/GUIDE.md has each HTTP status with which a server refuses an upgrade, and no other."""
    found = {cells[0] for cells in GUIDE_CELLS if re.fullmatch(r"\d{3}", cells[0])}
    assert found == {row[0] for row in re.findall(r"^\| (\d{3}) (\|)", SPEC.section("Connection"), re.MULTILINE)}


def exceptions(cls: type[BaseException]) -> set[str]:
    """Return the names of the exceptions below a class."""
    return {name for each in cls.__subclasses__() for name in {each.__name__, *exceptions(each)} if is_own(each)}


def is_own(cls: type[BaseException]) -> bool:
    """Return whether the exception is one of the two packages' own trees, and not of a test."""
    return cls.__module__ in {"actors.errors", transport.errors.__name__}


def test_reference_has_each_exception() -> None:
    """actors/events/GUIDE.md has each exception of both packages, and no other."""
    assert set(rows("Exceptions")) == exceptions(actors.GreenroomError)
