"""Redaction: the value of a key that names a secret is left out, at any depth, and nothing else is changed."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from protocol.wire import greeted_in_memory
from suites.stage import house, of_type

from actors import DEFAULT_SECRET_KEYS, UnserialisableEvent, redact_keys
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
