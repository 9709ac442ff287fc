"""``Greenroom``: its arguments, and the errors for wrong arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from protocol.wire import greeted

from actors import ConfigError
from transport import Greenroom, TokenAuth

if TYPE_CHECKING:
    from actors import Run

WRONG = [
    ({"log": 5}, "log must be a URL or an EventLog, not 5"),
    ({"log": "redis:"}, "keyword: log 'redis:': give memory:, sqlite:PATH or valkey://HOST:PORT"),
    ({"auth": "a key"}, "auth must be None, a TokenAuth or an async function, not 'a key'"),
    ({"settings": 5}, "settings must be Settings or a mapping of names to values, not 5"),
    ({"settings": {"ring": 5}}, "unknown name in settings: ring"),
    ({"redact": "password"}, "redact must be a list of strings or a function, not 'password'"),
    ({"redact": [5]}, r"redact must be a list of strings or a function, not \[5\]"),
    ({"pages": 5}, "pages must be the path of a folder, not 5"),
    ({"redact": 5}, "redact must be a list of strings or a function, not 5"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG)
def test_wrong_arguments_are_named(arguments: dict[str, Any], said: str) -> None:
    """``Greenroom`` raises ConfigError for a wrong argument, with the argument's name in the message."""
    with pytest.raises(ConfigError, match=f"^{said}"):
        Greenroom(**{"log": "memory:", **arguments})


async def agent(run: Run) -> None: ...
def plain(run: Run) -> None: ...
async def without_a_run() -> None: ...
async def with_more(run: Run, value: object, more: object) -> None: ...


NO_AGENTS = [
    (plain, {}, "agent plain is not an async function"),
    (without_a_run, {}, "agent without_a_run takes no run"),
    (with_more, {}, "agent with_more takes a run and an input: it is given nothing else"),
    (agent, {"name": ""}, "agent .* needs a name of 1 to 128 characters, not ''"),
    (agent, {"name": "n" * 129}, "agent .* needs a name of 1 to 128 characters, not 'nnn"),
    (agent, {"name": "\ud800"}, "agent .* needs a name of 1 to 128 characters, not "),
    (agent, {"name": 5}, "agent .* needs a name of 1 to 128 characters, not 5"),
    (agent, {"timeout": 0}, "agent agent: timeout must be above 0 seconds, not 0"),
    (agent, {"timeout": float("nan")}, "agent agent: timeout must be above 0 seconds, not nan"),
    (agent, {"timeout": "1"}, "agent agent: timeout must be above 0 seconds, not '1'"),
    (agent, {"name": "taken"}, "there is an agent taken already"),
]


@pytest.mark.parametrize(("function", "arguments", "said"), NO_AGENTS)
def test_wrong_agents_are_named(function: Any, arguments: dict[str, Any], said: str) -> None:
    """``app.agent`` raises ConfigError with the agent's name if the function or an option cannot be used."""
    app = Greenroom(log="memory:")
    assert app.agent(name="taken")(agent) is agent
    with pytest.raises(ConfigError, match=f"^{said}"):
        app.agent(**arguments)(function)
    assert app.agents == ("taken",)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.invalid", ""])  # noqa: S104 - refused
async def test_without_auth_only_loopback_is_served(host: str) -> None:
    """A server without ``auth`` listens on loopback addresses only. With ``auth`` it listens on any address."""
    app = Greenroom(log="memory:")
    with pytest.raises(ConfigError, match="auth is required to listen on"):
        async with app.running(host=host, port=0):
            pass
    for loopback in ("localhost", "127.0.0.1", "127.0.0.2"):
        async with app.running(host=loopback, port=0) as server, greeted(server):
            pass
    async with Greenroom(log="memory:", auth=TokenAuth("a key that is long enough for HS256")).running(
        host="0.0.0.0",  # noqa: S104 - with auth
        port=0,
    ):
        pass


async def look(run: Run) -> None:
    """Agent that calls a tool with secret keys in its arguments."""
    async with run.tool("look", {"PASSWORD": 1, "pin": 1, "x": [{"My_Session_Token": 1, "z": 1}]}):
        pass


REDACTED = [
    ({}, ["PASSWORD", "My_Session_Token"]),
    ({"redact": ["PIN"]}, ["PASSWORD", "pin", "My_Session_Token"]),
    ({"settings": {"redact_keys": ["z"]}}, ["z"]),
    ({"settings": {"redact_keys": []}}, []),
    ({"redact": lambda arguments: {**arguments, "pin": "[redacted]"}}, ["pin"]),
]


@pytest.mark.parametrize(("arguments", "left_out"), REDACTED)
async def test_secret_keys_are_left_out(arguments: dict[str, Any], left_out: list[str]) -> None:
    """Clients see ``[redacted]`` for the secret keys that the app configures, at any depth of a tool's arguments."""
    app = Greenroom(**{"log": "memory:", **arguments})
    app.agent(look)
    async with app.running(port=0) as server, greeted(server) as one:
        await one.completed(await one.start("1", "look"))
        shown = next(event["data"]["arguments"] for event in one.events() if event["type"] == "tool_executing")
        flat = {**shown, **shown["x"][0]}
        assert [key for key, value in flat.items() if value == "[redacted]"] == left_out
