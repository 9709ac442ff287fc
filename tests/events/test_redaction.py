"""Redaction: the value of a key that names a secret is left out, at any depth, and nothing else is changed."""

from __future__ import annotations

import copy
import dataclasses
import enum
import json
from collections import UserDict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import pytest
from _scale import scaled
from hypothesis import given, settings
from hypothesis import strategies as st
from protocol.wire import greeted_in_memory
from suites.stage import house, of_type

from actors import DEFAULT_SECRET_KEYS, UnserialisableEvent, redact_keys
from actors.events.redaction import WITHHELD, redact_text
from transport import Greenroom

if TYPE_CHECKING:
    import trio.testing

    from actors import Run

GONE = "[redacted]"


@attrs.frozen
class Login:
    user: str
    password: str


@dataclasses.dataclass
class Request:
    url: str
    headers: dict[str, str]


@pytest.mark.parametrize("word", DEFAULT_SECRET_KEYS)
def test_each_word_names_a_secret_in_any_case_and_within_a_longer_key(word: str) -> None:
    for key in (word, word.upper(), word.title(), f"my_{word}_2", f"X-{word}".replace("_", "-"), word.replace("_", "")):
        assert redact_keys()({key: "s", "other": "s"}) == {key: GONE, "other": "s"}, key


@pytest.mark.parametrize("key", ["passport", "to_ken", "key", "private", "auth", "query", "pass", ""])
def test_a_key_that_is_only_like_one_is_left_alone(key: str) -> None:
    assert redact_keys()({key: "s"}) == {key: "s"}


def test_whatever_the_value_is_it_is_gone() -> None:
    for value in (None, 0, "", [1], {"a": 1}, Login("ann", "s")):
        assert redact_keys()({"token": value}) == {"token": GONE}


def test_it_looks_into_whatever_can_hold_a_key() -> None:
    inside: list[Any] = [
        {"a": [{"b": ({"secret": "s"},)}]},
        {"login": Login("ann", "s")},
        [Request("u", {"Authorization": "Bearer s", "X-Api-Key": "s", "Accept": "*/*"})],
    ]
    assert redact_keys()(inside) == [
        {"a": [{"b": [{"secret": GONE}]}]},
        {"login": {"user": "ann", "password": GONE}},
        [{"url": "u", "headers": {"Authorization": GONE, "X-Api-Key": GONE, "Accept": "*/*"}}],
    ]


def test_a_class_itself_is_no_value_to_look_into() -> None:
    assert redact_keys()({"kind": Request}) == {"kind": Request}


def test_own_words_take_the_place_of_the_default_ones() -> None:
    redact = redact_keys(["PIN"])
    assert redact({"pin": 1, "pin-code": 1, "password": "p"}) == {"pin": GONE, "pin-code": GONE, "password": "p"}
    assert redact_keys([])({"password": "p"}) == {"password": "p"}


_KEYS = st.sampled_from(["a", "token", "Api-Key", "b_password_c", "query"])
_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers() | st.just("leaked"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=15,
)


def _without(value: Any) -> Any:
    """What should be left, said once more: keys in a table instead of words within them."""
    if isinstance(value, dict):
        return {key: _without(inner) if key in ("a", "query") else GONE for key, inner in value.items()}
    return [_without(inner) for inner in value] if isinstance(value, list) else value


@given(_VALUES)
def test_nothing_but_secrets_is_changed_and_what_is_given_is_not(value: Any) -> None:
    before = copy.deepcopy(value)
    assert redact_keys()(value) == _without(value)
    assert value == before


# The hook


async def calls(run: Run, arguments: Any) -> Any:
    seen: list[Any] = []

    async def tool(**given: Any) -> None:
        seen.append(given)

    await run.call_tool(tool, **arguments)
    return seen[0]


async def told(app: Greenroom, arguments: dict[str, Any]) -> tuple[Any, Any]:
    """What the events say of a tool's arguments, and what the tool got."""
    async with app.running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        completed = await one.completed(await one.start("1", "calls", arguments))
        executing = of_type(one.events(), "tool_executing")
        return executing[0]["data"]["arguments"] if executing else None, completed["data"]


def with_hook(redact: Any) -> Greenroom:
    app = house()
    hooked = Greenroom(log="memory:", auth=app.auth, settings={"drain_seconds": 0}, redact=redact)
    hooked.agent(calls)
    return hooked


async def test_the_tool_gets_what_the_events_do_not_say(autojump_clock: trio.testing.MockClock) -> None:
    arguments = {"query": "q", "token": "s"}
    said, completed = await told(with_hook(None), arguments)
    assert said == {"query": "q", "token": GONE}
    assert completed["result"] == arguments


async def test_a_list_extends_the_words_and_a_function_takes_their_place(
    autojump_clock: trio.testing.MockClock,
) -> None:
    arguments = {"query": "q", "token": "s", "iban": "DE02"}
    said, _ = await told(with_hook(["iban"]), arguments)
    assert said == {"query": "q", "token": GONE, "iban": GONE}

    def masked(given: Any) -> Any:
        return {key: f"{value[:1]}…" for key, value in given.items()}

    said, completed = await told(with_hook(masked), arguments)
    assert said == {"query": "q…", "token": "s…", "iban": "D…"}
    assert completed["result"] == arguments


@pytest.mark.parametrize(
    ("hook", "code"),
    [(lambda _: 1 / 0, "ZeroDivisionError"), (lambda _: {"a": {1}}, UnserialisableEvent.__name__)],
)
async def test_a_hook_that_fails_ends_the_call_before_anything_is_said(
    hook: Any, code: str, autojump_clock: trio.testing.MockClock
) -> None:
    said, completed = await told(with_hook(hook), {"token": "s"})
    assert said is None
    assert completed["error"]["code"] == code


# Whatever can hold a key


class Pair(NamedTuple):
    """A named tuple."""

    user: Any
    password: Any


@attrs.frozen
class Held:
    """An attrs class that can be in a set."""

    query: Any
    api_key: Any


@dataclasses.dataclass(frozen=True)
class Kept:
    """A dataclass that can be in a set."""

    query: Any
    cookie: Any


class Kind(enum.Enum):
    """An enum whose value is a container."""

    LOGIN = {"password": "hunter2", "user": "ann"}  # noqa: RUF012 - that is the point


_SECRET = "hunter2"
_LEAVES = st.none() | st.integers() | st.sampled_from(["", "plain", "ä", "{", "[]", 'a "token"'])
_HASHABLE = st.recursive(
    _LEAVES,
    lambda inner: (
        st.builds(Pair, inner, st.just(_SECRET))
        | st.builds(Held, inner, st.just(_SECRET))
        | st.builds(Kept, inner, st.just(_SECRET))
        | st.frozensets(inner, max_size=3)
        | st.tuples(inner)
    ),
    max_leaves=8,
)


def _holding(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keyed = st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2).map(lambda held: {**held, "Token": _SECRET})
    return (
        keyed
        | keyed.map(MappingProxyType)
        | keyed.map(UserDict)
        | st.builds(Pair, inner, st.just(_SECRET))
        | st.builds(Held, inner, st.just(_SECRET))
        | st.builds(Kept, inner, st.just(_SECRET))
        | st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.just(Kind.LOGIN)
    )


_JSON = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2).map(lambda held: {**held, "pAsswd": _SECRET})
        | inner.map(json.dumps)
    ),
    max_leaves=8,
)
_ANYTHING = st.recursive(_LEAVES | _HASHABLE | _JSON | _JSON.map(json.dumps), _holding, max_leaves=10)


@settings(max_examples=scaled(200, 20_000))
@given(_ANYTHING)
def test_no_secret_survives_in_any_nesting(value: Any) -> None:
    """Whatever containers are in each other, JSON texts among them, what comes back holds no secret."""
    assert _SECRET not in repr(redact_keys()(value))


def test_a_set_is_json_only_where_it_holds_containers() -> None:
    """A set of plain values is left alone, and refused where it is encoded; one of containers becomes a list."""
    assert redact_keys()({1, "a"}) == {1, "a"}
    assert redact_keys()({Pair("ann", "s")}) == [{"user": "ann", "password": GONE}]
    assert redact_keys()(Kind.LOGIN) == {"user": "ann", "password": GONE}
    assert redact_keys()(b'{"password": "s"}') == b'{"password": "s"}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"password": "s", "n": [1, NaN]}', '{"password": "[redacted]", "n": [1, NaN]}'),
        ('[{"a": "{\\"token\\": 1}"}]', '[{"a": "{\\"token\\": \\"[redacted]\\"}"}]'),
        (' {"\\u0070assword": "s"}', '{"password": "[redacted]"}'),
        ('{"ä": 1, "b": {"cookie": [1]}}', '{"ä": 1, "b": {"cookie": "[redacted]"}}'),
        ('{"a": {"token": "s"}, "a": 1}', '{"a": 1}'),
        ('{"password": "s', '{"password": "[redacted]"'),
        ("{'password': {'a': 's'}, 'n': None}", "{'password': [redacted], 'n': None}"),
        ('{"query":   "the token: what is it?"}', '{"query":   "the token: what is it?"}'),
        ("the password: s", "the password: s"),
        ("[" * 5_000, "[" * 5_000),
        ('{"token": ' + "[" * 70_000, GONE),
    ],
)
def test_a_string_that_is_json_is_looked_into(text: str, expected: str) -> None:
    """Arguments that come as JSON text are redacted and written again; text without a secret stays as it is."""
    assert redact_keys()({"a": text}) == {"a": expected}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no secret here", "no secret here"),
        ("password=hunter2 for ann", "password=[redacted] for ann"),
        ("Authorization: Bearer hunter2, retried", "Authorization: [redacted], retried"),
        ("GET /?api-key=hunter2&q=1", "GET /?api-key=[redacted]&q=1"),
        ('400: {"a": {"token": "hunter2"}} failed', '400: {"a": {"token": "[redacted]"}} failed'),
        (
            "{'X-Api-Key': 'hun\\'ter2', 'Accept': '*/*'}",
            "{'X-Api-Key': '[redacted]', 'Accept': '*/*'}",
        ),
        ("credentials => [('ann', 'hunter2')] refused", "credentials => [redacted] refused"),
        ('my_token_2 = "hunter2 and more', 'my_token_2 = "[redacted]"'),
    ],
)
def test_the_text_of_a_failure_is_looked_into(text: str, expected: str) -> None:
    """What follows a secret key in a failure's text is left out, in whatever form it is written."""
    assert redact_text(redact_keys(), text) == expected


async def raises(run: Run, text: str) -> None:
    async def tool() -> None:
        raise LookupError(text)

    try:
        await run.call_tool(tool)
    except LookupError as error:
        raise ValueError(f"again: {error}") from error


def _recurses(given: Any) -> Any:
    return _recurses(given)


def _exits(given: Any) -> Any:
    raise SystemExit(f"cannot redact {given}")


@pytest.mark.parametrize(
    ("hook", "expected"),
    [
        (None, "password=[redacted]"),
        (["iban"], "password=[redacted]"),
        (lambda given: {key: text.replace("hunter2", "***") for key, text in given.items()}, "password=***"),
        (lambda given: 1 / 0, WITHHELD),
        (lambda given: {"message": 1}, WITHHELD),
        (lambda given: None, WITHHELD),
        (_recurses, WITHHELD),
        (_exits, WITHHELD),
    ],
)
async def test_failures_are_told_as_the_hook_lets_them(
    hook: Any, expected: str, autojump_clock: trio.testing.MockClock
) -> None:
    """The texts of what a tool and its run failed with pass the hook; they are withheld where the hook fails."""
    app = with_hook(hook)
    calls_nothing = callable(hook) and expected == WITHHELD  # the tool's arguments could not be redacted either
    app.agent(raises)
    async with app.running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        completed = await one.completed(await one.start("1", "raises", "password=hunter2"))
        told_of_tool = of_type(one.events(), "tool_completed")
        assert "hunter2" not in str([event["data"] for event in one.events() if event["type"].endswith("_completed")])
    message = completed["data"]["error"]["message"]
    if calls_nothing:
        assert message == WITHHELD
    else:
        assert [told["data"]["error"]["message"] for told in told_of_tool] == [expected]
        assert message == f"again: {expected}"


@pytest.mark.parametrize("hook", [_recurses, _exits])
async def test_a_hook_that_ends_oddly_ends_the_call_only(hook: Any, autojump_clock: trio.testing.MockClock) -> None:
    """A hook that recurses or exits fails the call at that line: nothing of it is emitted, and nothing leaks."""
    said, completed = await told(with_hook(hook), {"token": "hunter2"})
    assert said is None
    assert completed["status"] == "error"
    assert completed["error"]["code"] in {"UnserialisableEvent", "SystemExit"}
    assert "hunter2" not in str(completed)
