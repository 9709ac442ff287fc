"""Faults of an input do not show its secrets."""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import attrs
import pydantic
import pytest
from protocol.wire import greeted_in_memory
from runs.registered import input_type
from suites.stage import server_with

from actors import JSON, CommandRefused, Run

if TYPE_CHECKING:
    import trio.testing

T = TypeVar("T")


@dataclasses.dataclass
class Box(Generic[T]):
    inside: T


class Level(enum.Enum):
    HALF = "half"


SECRET = "hunter2"


class Login(pydantic.BaseModel):
    user: str
    password: str = pydantic.Field(alias="pw", max_length=3)
    tokens: list[Literal["a", "b"]] = []

    @pydantic.field_validator("password", mode="before")
    @classmethod
    def weak(cls, value: object) -> object:
        raise ValueError(f"{str(value)[::-1]} is too weak")

    @pydantic.model_validator(mode="before")
    @classmethod
    def whole(cls, value: dict[str, object]) -> object:
        if "both" in value:
            raise ValueError(f"wrong: {value}")
        return value


@attrs.frozen
class Account:
    password: Literal["x"] = "x"
    api_key: Level = Level.HALF
    login: Login | None = None
    secret: str = attrs.field(default="", validator=attrs.validators.max_len(3))
    hint: str = attrs.field(default="", validator=attrs.validators.max_len(9))


SECRETIVE: list[tuple[Any, Any, str]] = [
    (Account, {"password": SECRET}, "@ input.password"),
    (Account, {"api_key": SECRET}, "@ input.api_key"),
    (Account, {"secret": SECRET}, "@ input"),
    (Account, {"secret": SECRET[:3], "hint": f"not {SECRET}"}, "@ input"),
    (Account, {"login": {"user": "ann", "pw": SECRET}}, "@ input.login.pw"),
    (Login, {"user": 1, "pw": SECRET, "tokens": [SECRET]}, "Input should be 'a' or 'b' @ input.tokens[0]"),
    (list[Login], [{"user": "ann", "pw": [SECRET]}], "@ input[0].pw"),
    (Login, {"user": "ann", "pw": SECRET, "both": 1}, "@ input"),
    (Login, {"user": "ann", "password": SECRET}, "Field required @ input.pw"),
    (Box[Login], {"inside": {"user": "ann", "pw": SECRET, "both": 1}}, "@ input.inside"),
]


@pytest.mark.parametrize(("annotation", "value", "fault"), SECRETIVE, ids=str)
def test_a_fault_does_not_show_a_secret(annotation: Any, value: Any, fault: str) -> None:
    """The text of a fault never shows the value of a secret field, whichever check has written it."""
    with pytest.raises(CommandRefused) as refused:
        input_type(annotation)(value)
    assert SECRET not in refused.value.message
    assert SECRET[::-1] not in refused.value.message
    assert fault in refused.value.message


def test_the_own_words_of_an_app_hide_faults() -> None:
    """The app's own redaction decides which fields are secret. If it fails, no fault quotes its value."""

    def fails(given: object) -> object:
        raise SystemExit

    def keeps(given: object) -> object:
        return given

    made = input_type(Level)
    for redact, shown in ((keeps, True), (fails, False)):
        with pytest.raises(CommandRefused) as refused:
            made("blue", redact)
        assert ("blue" in refused.value.message) is shown
        assert refused.value.message.endswith(" @ input")


@attrs.frozen
class Transfer:
    iban: Literal["x"]


async def sends(run: Run, value: Transfer) -> None: ...


async def passes_on(run: Run, value: JSON) -> None:
    await run.call_agent(sends, value)


async def test_the_words_of_an_app_hold_for_starts_and_sub_agents(autojump_clock: trio.testing.MockClock) -> None:
    """The secret words of an app count in the refusal of a start, and in a failure by the input of a sub-agent."""
    app = server_with(sends, passes_on, redact_keys=["iban"])
    async with app.running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        refused = await one.command("1", "run.start", agent="sends", input={"iban": SECRET})
        completed = await one.completed(await one.start("2", "passes_on", {"iban": SECRET}))
    for error in (refused["error"], completed["data"]["error"]):
        assert SECRET not in error["message"]
        assert "@ input.iban" in error["message"]
