"""Is every value that an agent emits sent as JSON with the same meaning?

The rules tested here, from the emitting line to a strict parser behind a real socket:

- Every event type is well formed, and the client's classes read the same data from it.
- attrs classes, dataclasses, enums, datetimes and UUIDs become the values that they hold. A value that is not JSON
  (bytes, NaN, cycles, lone surrogates, sets, keys that are not strings, too deep, too large) raises at the line that
  emits it. It emits nothing and does no other harm.
- Text of every script, NUL, line separators, payloads of 50 KB and of exactly 1 MiB arrive unchanged.
- Concurrent emitters each keep their order. A later change to an object does not change its event.
- Errors are JSON too, whatever their text. Any JSON value arrives unchanged (hypothesis).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
import orjson
import pytest
import trio
from _scale import scaled
from hypothesis import given, settings
from hypothesis import strategies as st
from protocol.wire import Client, Frame, greeted, greeted_in_memory
from suites.stage import check_history, event_types, events_of_type, many_clients, many_users, server_with

from actors import Run, UnserialisableEvent, decode_event

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1024 * 1024


class Colour(enum.Enum):
    """An enum of strings."""

    RED = "red"


class Level(enum.IntEnum):
    """An enum of integers."""

    HIGH = 3


@attrs.frozen
class Place:
    """An attrs class with a datetime and an enum."""

    name: str
    at: dt.datetime
    colour: Colour


@dataclasses.dataclass
class Trip:
    """A dataclass with every kind of value."""

    places: list[Place]
    id: uuid.UUID
    day: dt.date
    start: dt.time
    level: Level


AT = dt.datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30)))
PLACE = Place("Köln", AT, Colour.RED)
PLACE_JSON = {"name": "Köln", "at": "2024-02-29T23:59:59.999999+05:30", "colour": "red"}
TRIP = Trip([PLACE], uuid.UUID(int=7), dt.date(2024, 1, 2), dt.time(3, 4, 5), Level.HIGH)
TRIP_JSON = {
    "places": [PLACE_JSON],
    "id": "00000000-0000-0000-0000-000000000007",
    "day": "2024-01-02",
    "start": "03:04:05",
    "level": 3,
}


async def events_of_agent(agent: Any, input_: object = None, *more: Any) -> list[Frame]:
    """Run an agent on a real socket. Return its events, each well formed and in order."""
    async with server_with(agent, *more).running(port=0) as server, greeted(server, token="ann") as one:
        await one.completed(await one.start("1", agent.__name__, input_))
        check_history(one.events())
        return one.events()


async def test_event_types_round_trip() -> None:
    """An event of every type has the fields of the protocol, and the client decodes the same data from it."""

    async def child(run: Run) -> None:
        await run.custom("of a child")

    async def every(run: Run, value: object) -> object:
        await run.thinking("thinking")
        await run.output("output")
        await run.custom("custom", value)
        async with run.tool("tool", {"value": value, "password": "p"}) as call:
            call.result = value
        await run.call_agent("child")
        run.usage = {"tokens": 5}
        with suppress(TimeoutError):
            await run.ask_user("now?", timeout=0)
        return await run.ask_user("which?", schema={"type": "object"})

    async with server_with(every, child).running(port=0) as server, greeted(server, token="ann") as one:
        await one.say("hello")
        await (await server.sessions.get("ann", "s1")).emit("of the session", [1])
        run_id = await one.start("1", "every", {"x": [1, None]})
        while len(asked := events_of_type(one.events(), "input_requested")) < 2:
            await one.receive("events")
        await one.command("2", "input.answer", run_id=run_id, call_id=asked[1]["call_id"], value={"answer": None})
        await one.completed(run_id)
        events = one.events()
    check_history(events)
    assert set(event_types(events)) == {
        "agent_started",
        "agent_thinking",
        "agent_output",
        "tool_executing",
        "tool_completed",
        "input_requested",
        "input_received",
        "input_withdrawn",
        "agent_completed",
        "user_message",
        "custom",
    }
    assert events[-1]["data"]["result"] == {"answer": None}
    assert events[-1]["data"]["usage"] == {"tokens": 5}
    for event in events:
        read = decode_event(event)
        # A reader cannot tell a result of null from an absent one.
        assert read.data == {
            name: value
            for name, value in event["data"].items()
            if value is not None or name in ("input", "arguments", "value")
        }
        assert (read.seq, read.ts, read.run_id) == (event["seq"], event["ts"], event.get("run_id"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (PLACE, PLACE_JSON),
        (TRIP, TRIP_JSON),
        ([{"deep": (PLACE, TRIP)}], [{"deep": [PLACE_JSON, TRIP_JSON]}]),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (AT, PLACE_JSON["at"]),
        (dt.datetime(1, 1, 1), "0001-01-01T00:00:00"),  # noqa: DTZ001 - without a zone, as agents make them
        ((1, (2,)), [1, [2]]),
        ({"a": None}, {"a": None}),
        (-0.0, -0.0),
        (5e-324, 5e-324),
        (2**53 - 1, 2**53 - 1),
        (str(2**63), "9223372036854775808"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_values_of_agents(value: object, expected: object) -> None:
    """Objects in events and results (attrs, dataclass, enum, datetime, UUID) become the JSON of their contents."""

    async def returns() -> object:
        return value

    async def agent(run: Run) -> object:
        await run.custom("value", value)
        return await run.call_tool(returns)

    events = await events_of_agent(agent)
    seen = [events[1]["data"]["value"], events[3]["data"]["result"], events[4]["data"]["result"]]
    assert [json.dumps(each) for each in seen] == [json.dumps(expected)] * 3


def cyclic_dict() -> object:
    """Return a dict that contains itself."""
    loop: dict[str, object] = {}
    loop["self"] = [loop]
    return loop


@attrs.define
class Knot:
    """An attrs class that can hold any value."""

    inner: object = None


def cyclic_object() -> object:
    """Return an attrs object that contains itself."""
    knot = Knot()
    knot.inner = [knot]
    return knot


def nested_list(levels: int, innermost: object = None) -> object:
    """Return a list with a number of levels."""
    value = innermost
    for _ in range(levels):
        value = [value]
    return value


UNSENDABLE: dict[str, Callable[[], object]] = {
    "bytes": lambda: {"x": b"1"},
    "bytearray": lambda: bytearray(b"1"),
    "NaN": lambda: float("nan"),
    "NaN beside null": lambda: [None, {"x": float("nan")}],
    "NaN in an attrs class": lambda: Knot([float("nan")]),
    "infinity in a dataclass": lambda: dataclasses.make_dataclass("D", ["x"])(float("inf")),
    "cycle": cyclic_dict,
    "cycle of attrs classes": cyclic_object,
    "too deep": lambda: nested_list(65),
    "far too deep": lambda: nested_list(50_000),
    "bytes in an attrs class": lambda: Knot(b"x"),
    "lone surrogate": lambda: "a\ud83d",
    "lone surrogate as key": lambda: {"\udc00": 1},
    "set": lambda: {"x": {1}},
    "number as key": lambda: {1: 1},
    "complex": lambda: 1j,
    "class": lambda: Place,
    "function": lambda: cyclic_dict,
    "iterator": lambda: iter([1]),
    "exception": lambda: ValueError("no"),
    "a number that browsers would round": lambda: {"id": 2**53},
    "too large a number": lambda: 2**64,
    "too large": lambda: "x" * MIB,
}


@pytest.mark.parametrize("name", UNSENDABLE)
async def test_values_that_are_not_json(name: str) -> None:
    """If an agent emits a value that has no JSON form, the emitting line raises, and no event is emitted."""
    raised: list[str] = []

    async def agent(run: Run) -> str:
        value = UNSENDABLE[name]()
        for emit in (
            lambda: run.custom("value", value),
            lambda: run.call_agent("agent", value),
            lambda: run.ask_user("?", schema=value),
        ):
            with pytest.raises(UnserialisableEvent) as refused:
                await emit()
            raised.append(str(refused.value))
        with pytest.raises(UnserialisableEvent):
            run.signal("value", {"value": value})
        with pytest.raises(UnserialisableEvent):
            run.subrun("child", value)
        with pytest.raises(UnserialisableEvent):
            run.usage = value
        await run.output("unharmed")
        return "ok"

    events = await events_of_agent(agent)
    assert event_types(events) == ["agent_started", "agent_output", "agent_completed"], events
    assert "usage" not in events[-1]["data"]
    assert len(raised) == 3


@pytest.mark.parametrize("name", UNSENDABLE)
async def test_result_that_is_not_json(name: str) -> None:
    """If an agent returns a result that has no JSON form, the run ends with the status error. The session continues."""

    async def agent(run: Run) -> object:
        return UNSENDABLE[name]()

    async with server_with(agent).running(port=0) as server, greeted(server, token="ann") as one:
        ended = await one.completed(await one.start("1", "agent"))
        assert (ended["data"]["status"], ended["data"]["error"]["code"]) == ("error", "UnserialisableEvent")
        await one.say("unharmed")
        check_history(await one.events_until(3))


TEXTS = {
    "emoji": "👩\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 \U0001f600",
    "right to left": "\u05e9\u05dc\u05d5\u05dd \u202eabc\u202c مرحبا",
    "NUL and controls": "".join(map(chr, range(32))) + "\x7f\x80\x9f",
    "line separators": "a\u2028b\u2029c\u0085d\r\ne\n\v\f",
    "noncharacters": "\ufffe\uffff\U0010ffff\ufeff",
    "combining": "Z̷͓̈a̴l̶g̵o e\u0301 é",
    "markup": "</script><!-- ]]> &amp; {{x}} ${y} %s",
    "escapes": '\\u0000 \\" " \\\\ \\ud800 \\n',
}


@pytest.mark.parametrize("name", TEXTS)
async def test_texts_round_trip(name: str) -> None:
    """Text in any writing system arrives unchanged, from the client to the agent and back."""
    text = TEXTS[name]

    async def agent(run: Run, given: str) -> dict[str, str]:
        assert given == text
        await run.thinking(text)
        await run.custom(text, {text: [text]})
        async with run.tool(text, {text: text}) as call:
            call.result = text
        return {text: text}

    events = await events_of_agent(agent, text)
    datas = [event["data"] for event in events]
    assert datas[0]["input"] == datas[1]["text"] == datas[2]["name"] == datas[3]["tool"] == datas[4]["result"] == text
    assert (datas[2]["value"], datas[3]["arguments"], datas[5]["result"]) == (
        {text: [text]},
        {text: text},
        {text: text},
    )


@pytest.mark.parametrize("emit", ["thinking", "output"])
@pytest.mark.parametrize("value", ["\ud800", 5, None, b"x", ["x"]], ids=repr)
async def test_invalid_text(emit: str, value: Any) -> None:
    """If an agent emits a text that is no string, or that has a lone surrogate, the emitting line raises."""

    async def agent(run: Run) -> None:
        with pytest.raises(UnserialisableEvent):
            await getattr(run, emit)(value)

    assert event_types(await events_of_agent(agent)) == ["agent_started", "agent_completed"]


async def test_lone_surrogate_in_a_command() -> None:
    """A client's command with a lone surrogate in a string is refused with ``bad_args`` and has no other effect."""

    async def agent(run: Run, value: object) -> None:
        """Never run with it."""

    async with server_with(agent).running(port=0) as server, greeted(server, token="ann") as one:
        message = '{"type":"command","id":"%s","name":"%s","args":%s}'
        for id_, name, args in (
            ("1", "run.start", '{"agent":"agent","input":{"x":["\\ud800"]}}'),
            ("2", "message.send", '{"text":"\\udc00"}'),
        ):
            await one.send_text(message % (id_, name, args))
            assert (await one.reply(id_))["error"]["code"] == "bad_args"
        await one.say("unharmed")
        assert event_types(await one.events_until(1)) == ["user_message"]


@pytest.mark.parametrize("size", [50_001, 64 * 1024, MIB - 2], ids=str)
@pytest.mark.parametrize("letter", ["x", "\0", "é", "😀"], ids=ascii)
async def test_large_payload(size: int, letter: str) -> None:
    """A text of up to 1 MiB arrives complete, even if its characters take several bytes or are escaped in JSON."""
    weight = len(orjson.dumps(letter)) - 2
    text = letter * (size // weight) + "y" * (size % weight)

    async def agent(run: Run) -> None:
        await run.output(text)
        await run.output("next")

    events = await events_of_agent(agent)
    assert [event["data"]["text"] for event in events_of_type(events, "agent_output")] == [text, "next"]


async def test_largest_payload() -> None:
    """A payload of exactly 1 MiB, the limit, is sent. A payload that is one byte larger raises."""

    async def agent(run: Run) -> None:
        await run.output("x" * (MIB - 2))
        with pytest.raises(UnserialisableEvent):
            await run.output("x" * (MIB - 1))
        overhead = len(orjson.dumps({"name": "n", "value": ""}))
        await run.custom("n", "x" * (MIB - overhead))
        with pytest.raises(UnserialisableEvent):
            await run.custom("n", "x" * (MIB - overhead + 1))

    assert event_types(await events_of_agent(agent)) == ["agent_started", "agent_output", "custom", "agent_completed"]


async def test_concurrent_emitters() -> None:
    """If several tasks of a run emit at the same time, each task's events stay in order and keep their payloads."""
    tasks, each = 20, scaled(20, 200)

    async def agent(run: Run) -> None:
        async def emit(task: int) -> None:
            for number in range(each):
                await run.custom(f"{task}", {"number": number, "pad": f"{task}" * ((number * 997) % 5_000)})

        async with trio.open_nursery() as nursery:
            for task in range(tasks):
                nursery.start_soon(emit, task)

    events = events_of_type(await events_of_agent(agent), "custom")
    for task in range(tasks):
        own = [event["data"]["value"] for event in events if event["data"]["name"] == f"{task}"]
        assert [value["number"] for value in own] == list(range(each))
        assert all(value["pad"] == f"{task}" * ((value["number"] * 997) % 5_000) for value in own)


async def test_later_change_to_a_value() -> None:
    """If an agent emits an object and changes it later, the event that was emitted does not change."""

    async def agent(run: Run) -> None:
        state: dict[str, Any] = {"n": 0, "inner": []}
        for number in range(5):
            await run.custom("state", state)
            state["n"] = number + 1
            state["inner"].append(number)

    states = [event["data"]["value"] for event in events_of_type(await events_of_agent(agent), "custom")]
    assert states == [{"n": number, "inner": list(range(number))} for number in range(5)]


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ValueError('"\0\u2028\ud800</script>'), "ValueError", '"\0\u2028?</script>'),
        (KeyError(b"x", 1j), "KeyError", "(b'x', 1j)"),
        (ValueError("x" * 2_000), "ValueError", "x" * 2_000),
        (ValueError("x" * 5_000), "ValueError", "x" * 2_000 + " … (truncated)"),
        (type("E" * 128, (Exception,), {})("no"), "E" * 128, "no"),
        (type("😀ñ", (Exception,), {})("named oddly"), "😀ñ", "named oddly"),
        (type("N" * 129, (Exception,), {})(), "N" * 128 + "…", ""),
    ],
    ids=["text", "arguments", "all of it", "long", "longest name", "name", "long name"],
)
async def test_errors_are_json(error: Exception, code: str, message: str) -> None:
    """The exception that ends a run is sent as JSON, with any class name and any text. A long name or text is cut."""

    async def agent(run: Run) -> None:
        raise error

    assert (await events_of_agent(agent))[-1]["data"]["error"] == {"code": code, "message": message}


async def test_many_users_with_all_values() -> None:
    """If many users start runs at the same time, each user gets the values of its own run unchanged."""

    async def agent(run: Run) -> object:
        await run.custom(run.user, [TRIP, run.user, "\0\u2028😀"])
        return {run.user: PLACE}

    async def talk(name: str, one: Client) -> None:
        await one.completed(await one.start("1", "agent"))
        check_history(one.events())
        assert one.events()[1]["data"] == {"name": name, "value": [TRIP_JSON, name, "\0\u2028😀"]}
        assert one.events()[2]["data"]["result"] == {name: PLACE_JSON}

    async with server_with(agent).running(port=0) as server:
        await many_clients(server, many_users(scaled(25, 1_000)), talk)


_text = st.text(st.characters(codec="utf-8"))
_json: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _text,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(_text, inner, max_size=5),
    max_leaves=30,
)


@given(values=st.lists(_json, min_size=1, max_size=20))
@settings(max_examples=scaled(30, 500))
def test_any_json_round_trips(values: list[Any]) -> None:
    """Any JSON value arrives at the client unchanged, in an event, as an argument of a tool, and as a result."""

    async def agent(run: Run) -> Any:
        for value in values:
            await run.custom("value", value)
        async with run.tool("tool", {"values": values}) as call:
            call.result = values
        return values

    async def main() -> None:
        # No redaction: a key that looks like a secret must come back with its value.
        app = server_with(agent, redact_keys=())
        async with app.running(port=0) as server, greeted_in_memory(server, token="ann") as one:
            await one.completed(await one.start("1", "agent"))
            check_history(one.events())
            seen = [event["data"]["value"] for event in events_of_type(one.events(), "custom")]
            tool, completed, ended = one.events()[-3:]
            for got in (
                seen,
                tool["data"]["arguments"]["values"],
                completed["data"]["result"],
                ended["data"]["result"],
            ):
                assert json.dumps(got) == json.dumps(values)

    trio.run(main)
