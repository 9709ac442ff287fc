"""What an agent can do, for AG-UI clients that ask before a run."""

from __future__ import annotations

from typing import Any

import pytest
from ag_ui.core.capabilities import AgentCapabilities
from starlette.applications import Starlette
from starlette.testclient import TestClient

from actors import ConfigError, Run
from transport import Greenroom, TokenAuth
from transport.hosting import lifespan, mount_agui

KEY = "k" * 32


async def documented(run: Run, count: int) -> None:
    """Count to a number."""


async def plain(run: Run) -> None: ...


def client_of(auth: Any = None, capabilities: Any = None, **settings: object) -> TestClient:
    """Return a client of an application with two agents. It must be entered."""
    app = Greenroom(log="memory:", auth=auth, settings={"drain_seconds": 0, "run_seconds": 7, **settings})
    app.agent(timeout=2.5)(documented)
    app.agent(plain)
    api = Starlette(lifespan=lifespan(app))
    mount_agui(api, "/agui", app, capabilities=capabilities)
    return TestClient(api)


def test_capabilities() -> None:
    """The answer fits the schema exactly. The fields that the application declares are added to those of the server."""
    declared = {"documented": {"tools": {"clientProvided": True}, "identity": {"version": "2"}}}
    with client_of(capabilities=declared) as client:
        told = client.get("/agui/documented/capabilities").json()
        other = client.get("/agui/plain/capabilities").json()
    assert told == AgentCapabilities.model_validate(told).model_dump(by_alias=True, exclude_none=True)
    assert told["identity"] == {
        "name": "documented",
        "type": "greenroom",
        "description": "Count to a number.",
        "version": "2",
    }
    assert told["tools"] == {"clientProvided": True}
    assert told["execution"] == {"maxExecutionTime": 2500}
    assert told["custom"]["greenroom"]["input"]["type"] == "integer"
    assert other["identity"] == {"name": "plain", "type": "greenroom"}
    assert (other["execution"], other["custom"]) == ({"maxExecutionTime": 7000}, {"greenroom": {"input": None}})


def test_unknown_agent() -> None:
    """An agent that does not exist is 404, with the code of a refused start."""
    with client_of() as client:
        refused = client.get("/agui/nobody/capabilities")
        assert (refused.status_code, refused.json()["code"]) == (404, "unknown_agent")
        assert client.post("/agui/plain/capabilities").status_code == 405


def test_user() -> None:
    """Only users may ask, at most as often as they may send commands."""
    auth = TokenAuth(KEY)
    with client_of(auth, commands_per_second=0.001, commands_burst=1) as client:
        assert client.get("/agui/plain/capabilities").status_code == 401
        headers = {"authorization": f"Bearer {auth.issue('ann', 60)}"}
        statuses = [client.get("/agui/plain/capabilities", headers=headers).status_code for _ in range(2)]
        assert statuses == [200, 429]


@pytest.mark.parametrize("wrong", [1, {"plain": 1}, {"plain": {"tools": True}}, {"plain": {"tools": {"x": object()}}}])
def test_declarations_that_do_not_fit(wrong: object) -> None:
    """Capabilities that are not JSON objects by agent and category are refused at the mount."""
    with pytest.raises(ConfigError, match="capabilities"):
        client_of(capabilities=wrong)
