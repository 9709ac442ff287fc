"""Questions with a type: clients get its JSON Schema, and an answer that does not fit is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_type

import attrs
import pydantic
import pytest
from protocol.wire import greeted_in_memory
from suites.stage import check_history, events_of_type, server_with

from actors import ConfigError

if TYPE_CHECKING:
    import trio.testing
    from protocol.wire import Client

    from actors import Run
    from transport import Greenroom


class Order(pydantic.BaseModel):
    item: str
    count: int = pydantic.Field(gt=0)
    password: str = pydantic.Field(default="", alias="pw", max_length=3)


@attrs.frozen
class Room:
    number: int
    beds: list[int] = attrs.Factory(list[int])


async def question(one: Client) -> dict[str, Any]:
    """Wait for the first question, and return its event."""
    while not (found := events_of_type(one.events(), "input_requested")):
        await one.receive("events")
    return found[0]


async def answers(app: Greenroom, *values: object) -> tuple[Any, list[str], Any]:
    """Give these answers in turn. Return the data of the question, the errors, and the result of the run."""
    async with app.running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        run_id = await one.start("0", "agent")
        asked = await question(one)
        ids = {name: asked[name] for name in ("run_id", "call_id")}
        errors: list[str] = []
        for index, value in enumerate(values):
            reply = await one.command(str(index + 1), "input.answer", **ids, value=value)
            if "error" in reply:
                errors.append(f"{reply['error']['code']}: {reply['error']['message']}")
        completed = await one.completed(run_id)
        check_history(one.events())
        received = events_of_type(one.events(), "input_received")
        assert [event["data"]["value"] for event in received] == [values[-1]]
        return asked["data"], errors, completed["data"]


async def test_answer_becomes_a_model(autojump_clock: trio.testing.MockClock) -> None:
    """Clients get the JSON Schema of the type. Answers that do not fit are refused, until one fits: the agent gets it.

    A refusal has every fault with its path, and does not show the values of secret fields.
    """

    async def agent(run: Run) -> object:
        order = await run.ask_user("Which?", into=Order, timeout=60)
        assert_type(order, Order)
        return type(order).__name__, order.count

    data, errors, completed = await answers(
        server_with(agent), {"item": 1, "count": 0, "pw": "hunter2"}, 5, {"item": "tea", "count": 2}
    )
    assert data == {"prompt": "Which?", "schema": Order.model_json_schema()}
    assert errors == [
        (
            "bad_input: Input should be a valid string @ value.item; Input should be greater than 0 @ value.count; "
            "String should have at most 3 characters @ value.pw"
        ),
        "bad_input: Input should be an object @ value",
    ]
    assert completed["result"] == ["Order", 2]


async def test_answer_becomes_any_type_of_an_input(autojump_clock: trio.testing.MockClock) -> None:
    """The type of an answer can be an attrs class, a union or any other type that an input can have."""

    async def agent(run: Run) -> object:
        made = await run.ask_user("Which?", into=Room | None)
        return None if made is None else [made.number, made.beds]

    data, errors, completed = await answers(server_with(agent), {"beds": ["x"]}, {"number": 7})
    assert data["schema"] == {
        "anyOf": [{"$ref": "#/$defs/Room"}, {"type": "null"}],
        "$defs": {
            "Room": {
                "type": "object",
                "title": "Room",
                "properties": {"number": {"type": "integer"}, "beds": {"type": "array", "items": {"type": "integer"}}},
                "additionalProperties": False,
                "required": ["number"],
            }
        },
    }
    assert errors == [
        "bad_input: required field missing @ value.number; expected integer, got string @ value.beds[0]",
    ]
    assert completed["result"] == [7, []]


async def test_own_schema_is_sent_as_it_is(autojump_clock: trio.testing.MockClock) -> None:
    """A schema of the agent's own replaces the schema of the type. The answer is checked by the type all the same."""

    async def agent(run: Run) -> object:
        return await run.ask_user("Which?", into=int, schema={"minimum": 3})

    data, errors, completed = await answers(server_with(agent), "x", 1)
    assert data["schema"] == {"minimum": 3}
    assert errors == ["bad_input: expected integer, got string @ value"]
    assert completed["result"] == 1


async def test_failing_check_refuses_the_answer(autojump_clock: trio.testing.MockClock) -> None:
    """If a check of the type raises any exception, even SystemExit, the answer is refused, and nothing else ends."""

    def exits(instance: object, attribute: object, value: int) -> None:
        if value < 0:
            raise SystemExit("below")

    checked: Any = attrs.make_class("Checked", {"n": attrs.field(type=int, validator=exits)})

    async def agent(run: Run) -> object:
        return (await run.ask_user("Which?", into=checked)).n

    _, errors, completed = await answers(server_with(agent), {"n": -1}, {"n": 1})
    assert errors == ["bad_input: below @ value"]
    assert completed["result"] == 1


async def test_impossible_type_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    """If no answer could have the type, the agent gets a ConfigError, and no question is asked."""

    async def agent(run: Run) -> None:
        with pytest.raises(ConfigError, match="into cannot be used: bytes has no JSON form"):
            await run.ask_user("Which?", into=bytes)

    async with server_with(agent).running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        completed = await one.completed(await one.start("1", "agent"))
        assert completed["data"]["status"] == "ok"
        assert not events_of_type(one.events(), "input_requested")
