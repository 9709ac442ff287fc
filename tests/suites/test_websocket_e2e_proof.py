"""From a token to the last event, through the real endpoint: does each user get all its own events, and no others?

The rules tested here, with up to 1,000 users at once on real sockets:

- A client is the user in its signed token, whatever its session name and the other fields of its hello are.
- Each tab gets exactly the events of its user, in order, without a gap, each once. This also holds for a tab that
  leaves in the middle and comes back with its position.
- The epoch, the position and the run ids of another user are useless.
- A token that is missing, forged, signed by another key, without expiry or expired gets its close code and no event.
"""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
import trio
from _scale import scaled
from protocol.wire import Client, client, greeted, wait_for_connections
from suites.stage import (
    REQUIRED,
    check_history,
    event_types,
    events_of_run,
    events_of_type,
    many_clients,
    server_with,
    wait_for_all_runs,
)

from transport import TokenAuth

if TYPE_CHECKING:
    from actors import Run
    from transport import Greenroom, Server

KEY = "a key of these tests that is long enough for HS256"
USERS = scaled(60, 1_000)
TABS = scaled(20, 100)
AUTH = TokenAuth(KEY)


async def look(what: str) -> str:
    """Return a text about the argument."""
    await trio.lowlevel.checkpoint()
    return f"seen {what}"


async def proof(run: Run, rounds: int) -> str:
    """Emit all five required events, some of them ``rounds`` times, with the user's name in each text."""
    for number in range(rounds):
        await run.thinking(f"{run.user} thinks {number}")
        await run.call_tool(look, what=f"{run.user} {number}")
        await run.output(f"{run.user} says {number}")
    return run.user


async def asks(run: Run) -> object:
    """Ask the user a question and return the answer."""
    return await run.ask_user(f"{run.user}?")


def proof_server() -> Greenroom:
    """Return a server with these agents that checks signed tokens."""
    return server_with(proof, asks, auth=AUTH)


def signed_users(count: int) -> list[tuple[str, str]]:
    """Return users with a valid token each."""
    return [(f"user-{number}", AUTH.issue(f"user-{number}", 600)) for number in range(count)]


def check_own_events(one: Client, user: str, rounds: int, run_id: str) -> None:
    """Check that this client received exactly the events of one run of its user, without a gap."""
    events = one.events()
    check_history(events)
    assert events_of_run(events, run_id) == events
    assert event_types(events) == [
        "agent_started",
        *["agent_thinking", "tool_executing", "tool_completed", "agent_output"] * rounds,
        "agent_completed",
    ]
    assert set(REQUIRED) <= set(event_types(events))
    assert [event["data"]["text"] for event in events_of_type(events, "agent_thinking")] == [
        f"{user} thinks {number}" for number in range(rounds)
    ]
    assert [event["data"]["result"] for event in events_of_type(events, "tool_completed")] == [
        f"seen {user} {number}" for number in range(rounds)
    ]
    assert events[-1]["data"]["result"] == user


async def test_many_users_from_token_to_last_event() -> None:
    """If many users with signed tokens start runs at the same time, each user gets only the events of its own run."""
    done: set[str] = set()

    async def talk(name: str, one: Client) -> None:
        run_id = await one.start("the same id for all", "proof", 5)
        await one.completed(run_id)
        check_own_events(one, name, 5, run_id)
        done.add(run_id)

    async with proof_server().running(port=0) as server:
        await many_clients(server, signed_users(USERS), talk)
        await wait_for_connections(server)
        statistics = server.sessions.statistics()
        assert (statistics.sessions, statistics.crashed, statistics.log.events) == (USERS, 0, USERS * 22)
    assert len(done) == USERS


async def test_tabs_of_each_user() -> None:
    """If each of many users has two tabs, both tabs get all events of their user, and no events of other users."""

    async def talk(name: str, one: Client) -> None:
        async with greeted(server, token=AUTH.issue(name, 60)) as second:
            run_id = await one.start("1", "proof", 3)
            for tab in (one, second):
                await tab.completed(run_id)
                check_own_events(tab, name, 3, run_id)
            assert one.events() == second.events()

    async with proof_server().running(port=0) as server:
        await many_clients(server, signed_users(TABS), talk)


async def test_many_users_who_reconnect() -> None:
    """If many users disconnect during their runs and resume several times, each user gets every event exactly once."""

    async def user(server: Server, name: str, token: str) -> None:
        async with greeted(server, token=token) as one:
            run_id = await one.start("1", "proof", 30)
            events = (await one.events_until(20))[:20]  # events beyond 20 were received but not applied
        for _ in range(3):
            position = {"epoch": one.welcome["epoch"], "seq": events[-1]["seq"]}
            async with greeted(server, token=token, resume=position) as one:
                assert one.welcome["recovered"]
                assert "reset" not in one.welcome
                events += (await one.events_until(events[-1]["seq"] + 25))[:25]
        position["seq"] = events[-1]["seq"]
        async with greeted(server, token=token, resume=position) as one:
            events += await one.events_until(122)
        position["seq"] = 122
        async with greeted(server, token=token, resume=position) as one:
            assert one.welcome["recovered"]
            await one.say("nothing was missed")
            assert event_types(await one.events_until(123)) == ["user_message"]
        check_history(events)
        assert len(events) == 122
        assert {event["run_id"] for event in events} == {run_id}
        assert {event["data"]["text"].split()[0] for event in events_of_type(events, "agent_output")} == {name}

    async with proof_server().running(port=0) as server, trio.open_nursery() as nursery:
        for name, token in signed_users(TABS):
            nursery.start_soon(user, server, name, token)


async def test_events_without_a_tab() -> None:
    """Events that a run emits while its user has no tab are sent to the user's next tab."""
    app = proof_server()
    async with app.running(port=0) as server:
        for name, _ in signed_users(TABS):
            await (await app.sessions.get(name, "s1")).start("proof", 2)
        await wait_for_all_runs(server)

        async def talk(name: str, one: Client) -> None:
            events = await one.events_until(10)
            check_own_events(one, name, 2, events[0]["run_id"])

        await many_clients(server, signed_users(TABS), talk)


async def test_foreign_position() -> None:
    """A client that resumes with a position from another user's log gets a reset, and no events of that user."""
    async with proof_server().running(port=0) as server:
        async with greeted(server, token=AUTH.issue("ann", 60)) as ann:
            await ann.completed(await ann.start("1", "proof", 3))
        stolen = {"epoch": ann.welcome["epoch"], "seq": 1}
        async with greeted(server, token=AUTH.issue("eve", 60), resume=stolen, user="ann", sub="ann") as eve:
            assert (eve.welcome["recovered"], eve.welcome["reset"]) == (False, "epoch_changed")
            assert (eve.welcome["latest"], eve.welcome["runs"], eve.welcome["typing"]) == (0, [], [])
            await eve.send("history", id="h", after=0, limit=500)
            assert (await eve.receive("history"))["events"] == []
            await eve.say("alone")
            assert event_types(await eve.events_until(1)) == ["user_message"]


async def test_foreign_ids() -> None:
    """With the ids of another user's run, command and question, a user can neither cancel the run nor answer it."""
    async with (
        proof_server().running(port=0) as server,
        greeted(server, token=AUTH.issue("ann", 60)) as ann,
        greeted(server, token=AUTH.issue("eve", 60)) as eve,
    ):
        run_id = await ann.start("c", "asks")
        call_id = (await ann.events_until(2))[1]["call_id"]
        assert (await eve.command("1", "run.cancel", run_id=run_id))["result"] == {"cancelled": False}
        assert (await eve.command("2", "run.cancel", command_id="c"))["result"] == {"cancelled": False}
        refused = await eve.command("3", "input.answer", run_id=run_id, call_id=call_id, value="mine")
        assert refused["error"]["code"] == "unknown_run"
        assert (await eve.command("c", "message.send", text="the same id"))["result"] == {"seq": 1}
        answered = await ann.command("d", "input.answer", run_id=run_id, call_id=call_id, value="hers")
        assert answered["ok"]
        assert (await ann.completed(run_id))["data"]["result"] == "hers"
        assert not events_of_type(eve.events(), *REQUIRED)


def unsigned_token(claims: dict[str, Any]) -> str:
    """Return a token with these claims and without a signature."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."


DAY = 86_400
"""Lifetime of the tokens in seconds. They are made when tests are collected, and used when their test runs."""


def token_of(key: str = KEY, **claims: object) -> str:
    """Return a signed token of the user ``ann``, with other claims or another key."""
    return jwt.encode({"sub": "ann", "exp": time.time() + DAY, **claims}, key, algorithm="HS256")


GOOD = token_of()
BAD: dict[str, tuple[object, int]] = {
    "none": (None, 4501),
    "empty": ("", 4501),
    "no token at all": ("ann", 4501),
    "another key": (token_of("b" * 50), 4501),
    "unsigned": (unsigned_token({"sub": "ann", "exp": time.time() + DAY}), 4501),
    "signature cut": (GOOD[:-4], 4501),
    "claims of another": (".".join([GOOD.split(".")[0], token_of(sub="eve").split(".")[1], GOOD.split(".")[2]]), 4501),
    "no user": (jwt.encode({"exp": time.time() + DAY}, KEY, algorithm="HS256"), 4501),
    "user of another type": (token_of(sub=5), 4501),
    "an empty user": (token_of(sub=""), 4501),
    "a user too long": (token_of(sub="u" * 257), 4501),
    "no end": (jwt.encode({"sub": "ann"}, KEY, algorithm="HS256"), 4501),
    "an end that is no time": (token_of(exp="tomorrow"), 4501),
    "not yet": (token_of(nbf=time.time() + DAY), 4501),
    "over": (token_of(exp=time.time() - 1), 4004),
    "a number": (5, 4500),
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_token(name: str) -> None:
    """A client with a bad token is closed with the code for this kind of fault, and gets no event."""
    token, code = BAD[name]
    app = proof_server()
    async with app.running(port=0) as server:
        handle = await app.sessions.get("ann", "s1")
        await handle.start("proof", 1)
        async with client(server) as one:
            await one.send("hello", session="s1", token=token)
            ended = await one.ended()
        assert ended.code == code
        assert [frame["type"] for frame in one.frames] == ["goodbye"]
        assert KEY not in ended.reason
        assert len(server.sessions.of()) == 1


async def test_many_forged_tokens() -> None:
    """While many clients try to connect with forged tokens, users with valid tokens still get all their events."""

    async def honest(name: str, one: Client) -> None:
        run_id = await one.start("1", "proof", 2)
        await one.completed(run_id)
        check_own_events(one, name, 2, run_id)

    async def forged(server: Server, name: str) -> None:
        async with client(server) as one:
            await one.send("hello", session="s1", token=token_of("b" * 50, sub=name))
            assert (await one.ended()).code == 4501

    async with proof_server().running(port=0) as server, trio.open_nursery() as nursery:
        nursery.start_soon(many_clients, server, signed_users(TABS), honest)
        for name, _ in signed_users(TABS):
            nursery.start_soon(forged, server, name)
