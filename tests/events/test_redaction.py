"""The removal of secrets from tool arguments and from failures."""

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
from suites.stage import events_of_type, server_with

from actors import DEFAULT_SECRET_KEYS, UnserialisableEvent, redact_keys
from actors.events.redaction import WITHHELD, redact_text
from transport import Greenroom

if TYPE_CHECKING:
    import trio.testing

    from actors import Run

GONE = "[redacted]"


@attrs.frozen
class Login:
    """An attrs class with a secret."""

    user: str
    password: str


@dataclasses.dataclass
class Request:
    """A dataclass with secrets in a dict."""

    url: str
    headers: dict[str, str]


@pytest.mark.parametrize("word", DEFAULT_SECRET_KEYS)
def test_words_match_keys(word: str) -> None:
    """The value of a key is redacted if the key contains a secret word, in upper or lower case.

    An underscore in the secret word also matches a hyphen in the key, or nothing.
    """
    for key in (word, word.upper(), word.title(), f"my_{word}_2", f"X-{word}".replace("_", "-"), word.replace("_", "")):
        assert redact_keys()({key: "s", "other": "s"}) == {key: GONE, "other": "s"}, key


@pytest.mark.parametrize("key", ["passport", "to_ken", "key", "private", "auth", "query", "pass", ""])
def test_similar_keys_do_not_match(key: str) -> None:
    """The value of a key is not redacted if the key contains only a part of a secret word."""
    assert redact_keys()({key: "s"}) == {key: "s"}


def test_any_value_is_redacted() -> None:
    """The value of a secret key is redacted, no matter which type the value has."""
    for value in (None, 0, "", [1], {"a": 1}, Login("ann", "s")):
        assert redact_keys()({"token": value}) == {"token": GONE}


def test_containers_are_searched() -> None:
    """Secrets are found at any depth in dicts, lists, tuples, attrs classes and dataclasses."""
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


def test_class_objects_are_not_searched() -> None:
    """If an argument of a tool is a class (not an instance), redaction neither searches nor changes the class."""
    assert redact_keys()({"kind": Request}) == {"kind": Request}


def test_own_words_replace_the_defaults() -> None:
    """If secret words are passed to ``redact_keys``, only these words mark a key as secret, not the default words."""
    redact = redact_keys(["PIN"])
    assert redact({"pin": 1, "pin-code": 1, "password": "p"}) == {"pin": GONE, "pin-code": GONE, "password": "p"}
    assert redact_keys([])({"password": "p"}) == {"password": "p"}


_KEYS = st.sampled_from(["a", "token", "Api-Key", "b_password_c", "query"])
_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers() | st.just("leaked"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=15,
)


def _expected(value: Any) -> Any:
    """Return the expected result of a redaction, computed in another way: only the keys a and query are harmless."""
    if isinstance(value, dict):
        return {key: _expected(inner) if key in ("a", "query") else GONE for key, inner in value.items()}
    return [_expected(inner) for inner in value] if isinstance(value, list) else value


@given(_VALUES)
def test_only_values_of_secret_keys_are_redacted(value: Any) -> None:
    """Redaction replaces only the values of secret keys, and it does so in a copy: the original is not changed."""
    before = copy.deepcopy(value)
    assert redact_keys()(value) == _expected(value)
    assert value == before


# The hook


async def calls(run: Run, arguments: Any) -> Any:
    """Call a tool with the arguments. Return the arguments that the tool got."""
    seen: list[Any] = []

    async def tool(**given: Any) -> None:
        seen.append(given)

    await run.call_tool(tool, **arguments)
    return seen[0]


async def emitted_and_completed(app: Greenroom, arguments: dict[str, Any]) -> tuple[Any, Any]:
    """Start a run with a tool call. Return the arguments in the call's event, and the data of the completed run."""
    async with app.running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        completed = await one.completed(await one.start("1", "calls", arguments))
        executing = events_of_type(one.events(), "tool_executing")
        return executing[0]["data"]["arguments"] if executing else None, completed["data"]


def with_hook(redact: Any) -> Greenroom:
    """Return an application with this redaction, and the agent that calls a tool."""
    app = server_with()
    hooked = Greenroom(log="memory:", auth=app.auth, settings={"drain_seconds": 0}, redact=redact)
    hooked.agent(calls)
    return hooked


async def test_tool_gets_the_secrets(autojump_clock: trio.testing.MockClock) -> None:
    """A tool gets its real arguments. Only in the event that clients see, the secrets are redacted."""
    arguments = {"query": "q", "token": "s"}
    emitted, completed = await emitted_and_completed(with_hook(None), arguments)
    assert emitted == {"query": "q", "token": GONE}
    assert completed["result"] == arguments


async def test_list_or_function_as_hook(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If ``redact`` is a list of words, they are added to the default words.

    A function replaces the default redaction.
    """
    arguments = {"query": "q", "token": "s", "iban": "DE02"}
    emitted, _ = await emitted_and_completed(with_hook(["iban"]), arguments)
    assert emitted == {"query": "q", "token": GONE, "iban": GONE}

    def masked(given: Any) -> Any:
        return {key: f"{value[:1]}…" for key, value in given.items()}

    emitted, completed = await emitted_and_completed(with_hook(masked), arguments)
    assert emitted == {"query": "q…", "token": "s…", "iban": "D…"}
    assert completed["result"] == arguments


@pytest.mark.parametrize(
    ("hook", "code"),
    [(lambda _: 1 / 0, "ZeroDivisionError"), (lambda _: {"a": {1}}, UnserialisableEvent.__name__)],
)
async def test_failing_hook_fails_the_call(hook: Any, code: str, autojump_clock: trio.testing.MockClock) -> None:
    """If the application's redaction function fails, the tool call fails before it emits an event."""
    emitted, completed = await emitted_and_completed(with_hook(hook), {"token": "s"})
    assert emitted is None
    assert completed["error"]["code"] == code


# Nested containers


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
    """An enum with a container as its value."""

    LOGIN = {"password": "hunter2", "user": "ann"}  # noqa: RUF012 - the point of the test


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
def test_nested_secrets_are_redacted(value: Any) -> None:
    """However deep containers and JSON texts are nested, no secret is left after the redaction."""
    assert _SECRET not in repr(redact_keys()(value))


def test_sets() -> None:
    """A set of plain values is not changed by redaction, and a set of named tuples becomes a list of redacted dicts.

    An enum member with a secret in its value becomes the redacted value. Bytes are not searched.
    """
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
def test_json_texts_are_redacted(text: str, expected: str) -> None:
    """In a string argument that is JSON, secrets are redacted. A JSON string without secrets stays exactly the same."""
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
def test_failure_texts_are_redacted(text: str, expected: str) -> None:
    """In the text of a failure, the value after a secret key is redacted: in JSON, ``key=value`` and ``key: value``."""
    assert redact_text(redact_keys(), text) == expected


async def raises(run: Run, text: str) -> None:
    """Call a tool that fails, then fail with an error text that contains the tool's error text."""

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
async def test_hook_redacts_failures(hook: Any, expected: str, autojump_clock: trio.testing.MockClock) -> None:
    """The redaction function is also applied to the error texts of failed tools and runs.

    If the function fails, clients get a fixed text instead of the error text.
    """
    app = with_hook(hook)
    calls_nothing = callable(hook) and expected == WITHHELD  # the tool's arguments could not be redacted either
    app.agent(raises)
    async with app.running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        completed = await one.completed(await one.start("1", "raises", "password=hunter2"))
        tool_events = events_of_type(one.events(), "tool_completed")
        assert "hunter2" not in str([event["data"] for event in one.events() if event["type"].endswith("_completed")])
    message = completed["data"]["error"]["message"]
    if calls_nothing:
        assert message == WITHHELD
    else:
        assert [event["data"]["error"]["message"] for event in tool_events] == [expected]
        assert message == f"again: {expected}"


@pytest.mark.parametrize("hook", [_recurses, _exits])
async def test_hook_that_recurses_or_exits(hook: Any, autojump_clock: trio.testing.MockClock) -> None:
    """If the redaction function recurses without end or raises SystemExit, only the tool call fails.

    No secret is emitted.
    """
    emitted, completed = await emitted_and_completed(with_hook(hook), {"token": "hunter2"})
    assert emitted is None
    assert completed["status"] == "error"
    assert completed["error"]["code"] in {"UnserialisableEvent", "SystemExit"}
    assert "hunter2" not in str(completed)
