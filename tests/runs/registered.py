"""Types of inputs as agents register them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.runs.inputs import structurer

if TYPE_CHECKING:
    from actors import Run
    from actors.runs.inputs import InputType


def input_type(annotation: Any) -> InputType:
    """Return the type of an agent's input with this annotation."""

    async def agent(run: Run, value: Any) -> None: ...

    agent.__annotations__["value"] = annotation
    made = structurer(agent, 1)
    assert made is not None
    return made
