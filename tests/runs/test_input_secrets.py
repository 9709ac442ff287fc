"""Faults of an input do not show its secrets."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, Generic, Literal, TypeVar

import attrs
import pydantic
import pytest
from runs.registered import input_type

from actors import CommandRefused

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
        raise ValueError(f"{str(value).upper()} is too weak")

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
    assert SECRET not in refused.value.message.lower()
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
