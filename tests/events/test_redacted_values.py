"""The removal of secrets from models, dataclasses, named tuples and arrays, and from the texts of pydantic's errors."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import numpy as np
import pydantic
import pytest
from _scale import scaled
from hypothesis import given, settings
from hypothesis import strategies as st
from protocol.wire import greeted_in_memory
from suites.stage import server_with

from actors import redact_keys
from actors.events._validation import quotes
from actors.events.redaction import redact_text
from actors.runs._outcome import Outcome
from actors.spi import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    import trio.testing

    from actors import Run

LIMIT = 256 * 1024
SECRET = "hunter2"
GONE = "[redacted]"


class Login(pydantic.BaseModel):
    user: Any = "ann"
    password: Any


class Hidden(pydantic.BaseModel):
    """A model in which only one of the names of each secret is the name of a secret."""

    user: Any = "ann"
    password: Any = pydantic.Field(alias="pw")
    key: Any = pydantic.Field(alias="apiKey")
    word: Any = pydantic.Field(validation_alias=pydantic.AliasChoices("word", pydantic.AliasPath("my_token", 0)))
    code: Any = pydantic.Field(serialization_alias="secret_code")


class Holder(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)

    things: list[Any] = []
    by_name: dict[str, Any] = {}
    logins: list[Login] = []
    hidden: Hidden | None = None


class Shape(pydantic.BaseModel):
    """A model whose serialiser makes another shape without aliases."""

    password: Any

    @pydantic.model_serializer
    def shape(self, info: pydantic.SerializationInfo) -> dict[str, object]:
        return {"p": self.password} if info.by_alias else {"password": self.password, "more": 1}


class Computed(pydantic.BaseModel):
    word: str = pydantic.Field(default=SECRET, exclude=True)

    @pydantic.computed_field
    def token(self) -> str:
        return self.word

    @pydantic.computed_field(alias="hash")
    def password(self) -> str:
        return self.word


class Table(pydantic.RootModel[dict[str, Any]]):
    """A model that is a dict."""


@pydantic.dataclasses.dataclass
class Point:
    x: Any
    cookie: Any = pydantic.Field(alias="biscuit")


@dataclasses.dataclass
class Request:
    headers: Any
    credential: Any = SECRET


@attrs.frozen
class Held:
    inside: Any
    passwd: Any = SECRET


class Pair(NamedTuple):
    inside: Any
    private_key: Any = SECRET


def hidden(secret: Any) -> Hidden:
    return Hidden(pw=secret, apiKey=secret, word=secret, code=secret)


def array(inside: Any) -> object:
    """Return an array of objects with one item."""
    held = np.empty(1, dtype=object)
    held[0] = inside
    return held


def test_each_name_of_a_field_can_be_secret() -> None:
    """A field of a model is redacted if its name in the class or one of its aliases is the name of a secret."""
    redacted: Any = redact_keys()({"a": [hidden(SECRET)]})
    assert redacted == {"a": [{"user": "ann", "pw": GONE, "apiKey": GONE, "word": GONE, "secret_code": GONE}]}


def test_other_fields_of_a_model_are_kept() -> None:
    """Redaction keeps all fields that are not secret, by alias, and secrets that the model masks itself."""
    assert redact_keys()({"login": Login(user={"a": 1.5}, password=SECRET)}) == {
        "login": {"user": {"a": 1.5}, "password": GONE}
    }
    assert redact_keys()({"computed": Computed(), "shape": [Shape(password=SECRET)]}) == {
        "computed": {"token": GONE, "hash": GONE},
        "shape": [GONE],
    }
    assert redact_keys([])({"point": Point(1, biscuit=2)}) == {"point": {"x": 1, "biscuit": 2}}


_LEAVES = st.none() | st.integers(-9, 9) | st.sampled_from(["", "plain", "a token"])


def _around(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for values that hold other values, nearly all with a secret of their own."""
    makers: list[Callable[[Any], Any]] = [
        lambda each: Login(user=each, password=[SECRET]),
        lambda each: Hidden(user=each, pw=SECRET, apiKey=SECRET, word=SECRET, code=SECRET),
        lambda each: Holder(things=[each, Login(password=SECRET)], hidden=hidden(SECRET)),
        lambda each: Holder(by_name={"a": each, "Api-Key": SECRET}),
        lambda each: Table({"a": each, "authorization": SECRET}),
        lambda each: Point(x=each, biscuit={"a": SECRET}),
        lambda each: Shape(password=[each, SECRET]),
        Request,
        Held,
        Pair,
        array,
        lambda each: [each],
        lambda each: (each,),
        lambda each: {"a": each, "token": SECRET},
    ]
    return st.builds(lambda make, each: make(each), st.sampled_from(makers), inner)


@settings(max_examples=scaled(60, 2_000), deadline=None)
@given(st.recursive(_LEAVES, _around, max_leaves=6))
def test_a_secret_is_found_in_any_shape(value: object) -> None:
    """A secret is never in the encoded arguments, however models, classes, tuples and arrays are nested."""
    assert SECRET not in encode(redact_keys()({"value": value}), LIMIT).decode()


# The texts of pydantic's errors


class Account(pydantic.BaseModel):
    """A model whose own check quotes the password."""

    user: str
    password: str = pydantic.Field(alias="pw", max_length=20)
    login: Login | None = None
    age: int = 0

    @pydantic.field_validator("password")
    @classmethod
    def weak(cls, value: str) -> str:
        raise ValueError(f"{value} is too weak")


def failure_of(value: object) -> pydantic.ValidationError:
    with pytest.raises(pydantic.ValidationError) as raised:
        Account.model_validate(value)
    return raised.value


INVALID: list[object] = [
    {"user": "ann", "pw": SECRET},
    {"user": "ann", "pw": "x" * 40 + SECRET},
    {"user": "ann", "pw": {"a": SECRET}},
    {"user": SECRET},
    {"password": SECRET},
    {"user" * 20: 1, "xxxxxpasswordxxxxxxxx": SECRET},
    {"user": "ann", "pw": SECRET, "login": {"token": SECRET}},
    {"user": "ann", "pw": SECRET, "login": SECRET, "age": SECRET},
    [SECRET],
    SECRET,
]


@pytest.mark.parametrize("value", INVALID, ids=lambda value: repr(value)[:40])
def test_errors_of_pydantic_do_not_show_the_input(value: object) -> None:
    """The text of a ValidationError shows clients which fields are wrong and why, but not their values.

    That holds for the error itself, in a group, and as a part of the text of another exception, also if it is cut.
    """
    error = failure_of(value)
    assert SECRET in str(error)
    errors = (error, ExceptionGroup("g", [error, error]), ValueError(f"no: {error}"), ValueError(f"no {error!s:.220}"))
    for each in (*errors, ValueError(str(error).replace("\n", " "))):
        text = Outcome.failed(each).error
        assert text is not None
        assert SECRET not in redact_text(redact_keys(), str(text["message"])), each


def test_errors_of_pydantic_name_every_fault() -> None:
    """The text of a ValidationError has the path and the message of each fault; those of secret fields are redacted."""
    error = Outcome.failed(failure_of({"pw": "a-new-one", "login": {}, "age": "x"})).error
    assert error is not None
    assert redact_text(redact_keys(), str(error["message"])) == (
        '4 validation errors for Account: {"user": "Field required", "pw": "Value error", '
        f'"login.password": "{GONE}", '
        '"age": "Input should be a valid integer, unable to parse string as an integer"}'
    )


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("not a Hunter2", {"a": ["HUNTER2"]}, True),
        ("not 'x'", "x", True),
        ("at most 1500", 15, False),
        ("at most 15", [None, True, 15], True),
        ("not a-b", "a-b", True),
        ("anything", "", False),
        ("anything", ["other"] * 1_000, False),
        ("anything", ["other"] * 1_001, True),
    ],
)
def test_parts_of_a_value_are_found_in_a_text(text: str, value: object, expected: bool) -> None:
    """A text quotes a value if it contains one of its strings, or one of its short strings or numbers as a word.

    Of more than a thousand strings and numbers nothing is looked for, and the text counts as a quote.
    """
    assert quotes(text, value) is expected


async def test_models_in_a_run(autojump_clock: trio.testing.MockClock) -> None:
    """Clients get the arguments and the result of a tool as the models' JSON, without secrets of the arguments."""

    async def sign_in(login: Login, pairs: list[Pair]) -> Hidden:
        assert login.password == pairs[0].private_key == SECRET
        return hidden("fresh")

    async def agent(run: Run) -> object:
        result = await run.call_tool(sign_in, login=Login(password=SECRET), pairs=[Pair(1)])
        assert isinstance(result, Hidden)
        await run.custom("point", Point(1, biscuit=2))
        Login.model_validate({"user": 1, "secret": SECRET})
        return None

    async with server_with(agent).running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        await one.completed(await one.start("1", "agent"))
        by_type = {event["type"]: event["data"] for event in one.events()}
    assert by_type["tool_executing"]["arguments"] == {
        "login": {"user": "ann", "password": GONE},
        "pairs": [{"inside": 1, "private_key": GONE}],
    }
    assert by_type["tool_completed"]["result"]["pw"] == "fresh"
    assert by_type["custom"]["value"] == {"x": 1, "biscuit": 2}
    assert SECRET not in repr(by_type["agent_completed"])
