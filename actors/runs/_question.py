"""A question that a run asks its user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from actors.loop.one_shot import OneShot
from actors.runs.inputs import InputType

if TYPE_CHECKING:
    from actors.events.redaction import Redact
    from actors.events.types import JSON


def question_of(prompt: str, into: object, schema: object) -> tuple[dict[str, object], InputType | None]:
    """Return the data of an ``input_requested`` event, and the type of the answer.

    Args:
        prompt: The question.
        into: The type of the answer. None if every JSON value is an answer.
        schema: The schema for clients. If it is None, clients get the JSON Schema of ``into``.

    Raises:
        ConfigError: No JSON value can become the type ``into``.
    """
    expected = None if into is None else InputType.of(into, "into", "value")
    if schema is None and expected is not None:
        schema = expected.schema() or None
    return {"prompt": prompt} if schema is None else {"prompt": prompt, "schema": schema}, expected


@attrs.define(eq=False)
class Question:
    """An open question to the user. A run makes this object to ask the question, and removes it later.

    The session sets the answer.
    """

    run_id: str
    """Id of the run that asks the question."""
    _expected: InputType | None = None
    """The type of the answer. None if every JSON value is an answer."""
    _answer: OneShot[object] = attrs.field(factory=OneShot[object])

    @property
    def is_answered(self) -> bool:
        """Whether the question has an answer."""
        return self._answer.is_set

    @property
    def value(self) -> object:
        """The answer, as :meth:`fit` has converted it.

        Reading it raises :class:`trio.WouldBlock` while there is no answer.
        """
        return self._answer.result()

    def fit(self, value: JSON, redact: Redact) -> object:
        """Convert a client's answer to the type that the question asks for, and return the result.

        Raise ``CommandRefused("bad_input")`` if the answer does not have this type. The message does not show the
        values of fields that ``redact`` would remove.
        """
        return value if self._expected is None else self._expected(value, redact)

    def answer(self, value: object) -> None:
        """Set the answer, as :meth:`fit` has converted it. Do nothing if the question has an answer already."""
        self._answer.set(value)

    async def answered(self) -> None:
        """Wait until the question has an answer. Cancelling this wait changes nothing."""
        await self._answer.wait()
