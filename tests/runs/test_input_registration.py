"""Annotations of inputs that are refused where the agent is registered."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

import annotated_types as at
import attrs
import numpy as np
import numpy.typing as npt
import pydantic
import pytest
from runs.registered import input_type

from actors import Agents, ConfigError, Run

T = TypeVar("T")


@dataclasses.dataclass
class Box(Generic[T]):
    inside: T


class Raw(pydantic.BaseModel):
    content: bytes


class Coded(pydantic.BaseModel):
    content: pydantic.Base64Bytes


class Configured(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(val_json_bytes="base64")
    content: bytes


class Plain:
    def __init__(self, value: object) -> None: ...


class Holder(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    plain: Plain


class Parsed(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    plain: Annotated[Plain, pydantic.BeforeValidator(Plain)]
    other: Plain | None = None


class Unfinished(pydantic.BaseModel):
    later: Nowhere  # type: ignore[name-defined]  # noqa: F821 - the case


@attrs.frozen
class Chunks:
    parts: list[bytes | None]


IMPOSSIBLE: list[tuple[Any, str]] = [
    (bytes, "bytes has no JSON form"),
    (bytearray, "bytearray has no JSON form"),
    (list[bytes], "bytes has no JSON form"),
    (str | bytes, "bytes has no JSON form"),
    (Chunks, "parts: bytes has no JSON form"),
    (Raw, "content: bytes have no JSON form"),
    (Raw | None, "content: bytes have no JSON form"),
    (dict[str, list[Raw]], "content: bytes have no JSON form"),
    (np.bytes_, "bytes_ has no JSON form"),
    (Plain, "no JSON value can become"),
    (Plain | None, "no JSON value can become"),
    (dict[str, Plain], "no JSON value can become"),
    (Box[Plain], "inside: no JSON value can become"),
    (Holder, "plain: pydantic only compares the class"),
    (Holder | None, "plain: pydantic only compares the class"),
    (Unfinished, "name 'Nowhere' is not defined"),
    (list[Unfinished], "name 'Nowhere' is not defined"),
    ("Nowhere", "names of types must be in the agent's module"),
    (Box, "a generic type needs its arguments"),
    (Callable[[], int], "no JSON value can become"),
    (Annotated[datetime, at.Timezone(None)], "cannot be checked"),
    (npt.NDArray[np.complex128], "has no JSON form"),
    (np.integer, "is not one exact type"),
]


@pytest.mark.parametrize(("annotation", "reason"), IMPOSSIBLE, ids=str)
def test_an_impossible_annotation_is_refused_at_registration(annotation: Any, reason: str) -> None:
    """If no input could ever fit a part of an annotation, the agent is refused, and the error names the part."""

    async def agent(run: Run, value: Any) -> None: ...

    agent.__annotations__["value"] = annotation
    with pytest.raises(ConfigError, match=f"the annotation of value in .* cannot be used: .*{reason}") as refused:
        Agents().add(agent)
    assert "http" not in str(refused.value)


def test_bytes_with_a_form_are_accepted() -> None:
    """Bytes are accepted in a model that says how they look in JSON, and any class that a validator makes."""
    for kind in (Coded, Configured):
        made: Any = input_type(kind)({"content": "aGk="})
        assert made.content == b"hi"
    parsed: Any = input_type(Parsed)({"plain": 1})
    assert isinstance(parsed.plain, Plain)


def test_a_field_as_default_is_refused() -> None:
    """A constraint of pydantic as the default of the parameter would be the input itself, and is refused."""

    async def agent(run: Run, count: int = pydantic.Field(gt=0)) -> None: ...

    with pytest.raises(ConfigError, match=r"write .* into the annotation"):
        Agents().add(agent)
