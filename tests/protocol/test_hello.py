"""The greeting: valid hellos, refusals with their codes, and the welcome."""

from __future__ import annotations

import itertools
import json
import math
import time
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from protocol.agents import auth_by_name, make_app
from protocol.wire import Ended, client, greeted, greeted_in_memory, memory_client, wait_for_connections

from actors import MemoryLog
from actors.testing import FaultyLog
from transport import Credentials, TokenAuth, User

if TYPE_CHECKING:
    from trio.testing import MockClock

MAX_SEQ = 2**53 - 1
KEY = "a key of the tests that is long enough"


def hello(**fields: object) -> str:
    """Return a hello as text."""
    return json.dumps({"type": "hello", "session": "s1", **fields})


def nested(depth: int) -> str:
    """Return a command of that depth as text."""
    return '{"type":"command","id":"1","name":"x","args":{"a":' + "[" * (depth - 2) + "]" * (depth - 2) + "}}"


async def end_of(server: Any, *messages: str | bytes) -> Ended:
    """Send the messages, and return how the server ends the connection."""
    async with client(server) as one:
        for message in messages:
            await one.send_text(message)
        return await one.ended()


BAD_AT_ONCE = {
    "not JSON": "hello",
    "nothing": "",
    "half": '{"type":"hello"',
    "NaN": '{"type":"hello","session":NaN}',
    "a number of 5000 digits": '{"type":"hello","session":' + "1" * 5000 + "}",
    "a list": "[]",
    "a string": '"hello"',
    "null": "null",
    "no type": '{"session":"s1"}',
    "a type of another type": '{"type":["hello"]}',
    "unknown type": '{"type":"helo","session":"s1"}',
    "a server's type": '{"type":"welcome"}',
    "a frame before hello": '{"type":"pong"}',
    "a command before hello": '{"type":"command","id":"1","name":"x","args":{}}',
    "no session": '{"type":"hello"}',
    "session a number": hello(session=1),
    "session empty": hello(session=""),
    "session of 129": hello(session="s" * 129),
    "session with a slash": hello(session="a/b"),
    "session with a newline": hello(session="s\n"),
    "session beyond ASCII": hello(session="sé"),
    "session a lone surrogate": hello(session="\ud800"),
    "token a number": hello(token=1),
    "token a lone surrogate": hello(token="\udfff"),
    "strict a number": hello(strict=1),
    "from unknown": hello(**{"from": "newest"}),
    "from a bool": hello(**{"from": True}),
    "resume a list": hello(resume=[]),
    "resume empty": hello(resume={}),
    "resume without seq": hello(resume={"epoch": "e"}),
    "epoch a number": hello(resume={"epoch": 1, "seq": 1}),
    "seq a bool": hello(resume={"epoch": "e", "seq": True}),
    "seq a float": hello(resume={"epoch": "e", "seq": 1.0}),
    "seq an exponent": '{"type":"hello","session":"s1","resume":{"epoch":"e","seq":1e3}}',
    "seq a string": hello(resume={"epoch": "e", "seq": "1"}),
    "seq -1": hello(resume={"epoch": "e", "seq": -1}),
    "seq 2^53": hello(resume={"epoch": "e", "seq": MAX_SEQ + 1}),
    "deep before all else": "[" * 65 + "]" * 65,
    "deep and unfinished": "[" * 60_000,
}
BAD_AFTER_HELLO = {
    "a second hello": hello(),
    "65 deep": nested(65),
    "command without an id": '{"type":"command","name":"x","args":{}}',
    "command id empty": '{"type":"command","id":"","name":"x","args":{}}',
    "command id of 129": json.dumps({"type": "command", "id": "i" * 129, "name": "x", "args": {}}),
    "command id a number": '{"type":"command","id":1,"name":"x","args":{}}',
    "command id a lone surrogate": json.dumps({"type": "command", "id": "\ud800", "name": "x", "args": {}}),
    "command without a name": '{"type":"command","id":"1","args":{}}',
    "command args a list": '{"type":"command","id":"1","name":"x","args":[]}',
    "typing without active": '{"type":"typing"}',
    "typing a number": '{"type":"typing","active":1}',
    "ack without seq": '{"type":"ack"}',
    "ack a float": '{"type":"ack","seq":1.5}',
    "ack a bool": '{"type":"ack","seq":false}',
    "ack 2^53": json.dumps({"type": "ack", "seq": MAX_SEQ + 1}),
    "ack -1": '{"type":"ack","seq":-1}',
    "history without an id": '{"type":"history","after":0,"limit":1}',
    "history after a string": '{"type":"history","id":"h","after":"0","limit":1}',
    "history limit a float": '{"type":"history","id":"h","after":0,"limit":1.0}',
}


async def test_bad_frame_gets_4500() -> None:
    """A client that sends an invalid frame, before or after its hello, is closed with 4500 (bad frame)."""
    async with make_app().running(port=0) as server:
        for name, message in BAD_AT_ONCE.items():
            ended = await end_of(server, message)
            assert ended.code == 4500, name
            assert ended.goodbye == {"type": "goodbye", "code": 4500, "reason": ended.reason}, name
        for name, message in BAD_AFTER_HELLO.items():
            ended = await end_of(server, hello(), message)
            assert (ended.code, ended.goodbye is not None) == (4500, True), name
        await wait_for_connections(server)


ACCEPTED = {
    "unknown fields": hello(shoe_size=43, client={"name": "test", "version": 1}),
    "null for what is optional": '{"type":"hello","session":"s1","token":null,"resume":null,"from":null,"strict":null}',
    "all characters": hello(session="AZaz09._~:-"),
    "128 characters": hello(session="s" * 128),
    "the largest seq": hello(resume={"epoch": "e", "seq": MAX_SEQ}),
    "seq 0": hello(resume={"epoch": "e", "seq": 0}),
    "from oldest": hello(**{"from": "oldest"}),
}


async def test_valid_hello_is_welcomed() -> None:
    """Every valid form of a hello is answered with a welcome."""
    async with make_app().running(port=0) as server:
        for name, message in ACCEPTED.items():
            async with client(server) as one:
                await one.send_text(message)
                assert (await one.receive())["type"] == "welcome", name


async def test_depth_64_and_unknown_fields_pass() -> None:
    """After the hello, frames with unknown fields, and frames that are nested 64 levels deep, are accepted."""
    async with make_app().running(port=0) as server, greeted(server) as one:
        await one.send_text(nested(64))
        assert (await one.receive("reply"))["error"]["code"] == "unknown_command"
        await one.send("ack", seq=MAX_SEQ, more="than known")
        await one.send("pong", at=1)
        await one.say("alive")


async def test_binary_message_gets_1003() -> None:
    """A client that sends a binary message is closed with 1003 (unsupported data), and is not told to come back."""
    async with make_app().running(port=0) as server:
        for messages in ([hello().encode()], [hello(), b"\x00"]):
            ended = await end_of(server, *messages)
            assert (ended.code, ended.goodbye is not None and "retry_ms" in ended.goodbye) == (1003, False)


async def test_missing_hello_gets_4503(autojump_clock: MockClock) -> None:
    """A client that sends no hello within ``hello_seconds`` is closed with 4503 (no hello in time)."""
    async with make_app().running(port=0) as server, memory_client(server) as one:
        began = trio.current_time()
        ended = await one.ended()
        assert (ended.code, ended.goodbye is not None, round(trio.current_time() - began)) == (4503, True, 10)


async def test_hello_just_in_time(autojump_clock: MockClock) -> None:
    """A hello that comes just before ``hello_seconds`` have passed is answered with a welcome."""
    async with make_app().running(port=0) as server, memory_client(server) as one:
        await trio.sleep(9.9)
        await one.hello()


@pytest.mark.parametrize(
    ("token", "code", "comes_back"),
    [(None, 4501, False), ("expired", 4004, True), ("forbidden", 4502, False), ("broken", 4006, True)],
)
async def test_refused_token_has_its_code(token: str | None, code: int, comes_back: bool) -> None:
    """If a token is refused, the close code depends on the reason.

    The client is told when to come back only if another attempt can succeed.
    """
    async with make_app(auth=auth_by_name).running(port=0) as server:
        ended = await end_of(server, hello(token=token))
        assert (ended.code, ended.goodbye is not None and "retry_ms" in ended.goodbye) == (code, comes_back)
        assert "secret" not in ended.reason
        await wait_for_connections(server)


async def test_auth_without_user_gets_4006() -> None:
    """If the auth function returns something that is not a user, the client is closed with 4006 (internal error)."""

    async def wrong(_: Credentials) -> Any:
        return "alice"

    async with make_app(auth=wrong).running(port=0) as server:
        ended = await end_of(server, hello(token="x"))
        assert (ended.code, ended.goodbye is not None) == (4006, True)


async def test_auth_gets_credentials() -> None:
    """The auth function gets the client's token, session, headers and address as credentials.

    The ``repr`` of these credentials does not show the token.
    """
    seen: list[Credentials] = []

    async def note(credentials: Credentials) -> User:
        seen.append(credentials)
        return User("alice")

    async with make_app(auth=note).running(port=0) as server:
        async with client(server, additional_headers={"X-Tenant": "acme"}) as one:
            await one.hello("s7", token="t")
    (only,) = seen
    assert (only.token, only.session, only.headers["x-tenant"], only.address) == ("t", "s7", "acme", "127.0.0.1")
    assert "t'" not in repr(only)


async def test_signed_token_is_accepted() -> None:
    """A validly signed token is accepted. An expired token is refused with 4004 (token expired).

    A token that was changed, or signed with another key, is refused with 4501 (not authenticated).
    """
    auth = TokenAuth(KEY)
    async with make_app(auth=auth).running(port=0) as server:
        async with greeted(server, token=auth.issue("alice", 60)) as one:
            await one.say("hello")
        assert (await end_of(server, hello(token=auth.issue("alice", -1)))).code == 4004
        assert (await end_of(server, hello(token=auth.issue("alice", 60) + "x"))).code == 4501
        assert (await end_of(server, hello(token=TokenAuth(KEY + "!").issue("alice", 60)))).code == 4501


async def test_expiring_token_ends_with_4004(
    autojump_clock: MockClock,
) -> None:
    """When a client's token expires, its connection is closed with 4004 (token expired).

    This also holds for a client that answers pings.
    """

    async def for_a_minute(_: Credentials) -> User:
        return User("alice", time.time() + 60)

    async with make_app(auth=for_a_minute).running(port=0) as server, greeted_in_memory(server) as one:
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_alive, one)
            ended = await one.ended()
            nursery.cancel_scope.cancel()
        assert (ended.code, ended.goodbye is not None and "retry_ms" in ended.goodbye) == (4004, True)
        assert 59 < trio.current_time() - began < 61


async def keep_alive(one: Any) -> None:
    """Send a pong every 5 seconds, until cancelled."""
    while True:
        await trio.sleep(5)
        await one.send("pong")


async def test_welcome_has_exactly_its_fields() -> None:
    """The welcome has exactly the fields that the protocol defines."""
    names = {"type", "session", "connection", "epoch", "oldest", "latest", "recovered", "ping_ms"}
    names |= {"max_frame_bytes", "command_memory_ms", "runs", "queued", "typing"}
    async with make_app().running(port=0) as server, greeted(server) as one, greeted(server) as two:
        welcome = one.welcome
        assert set(welcome) == names
        expected = {"session": "s1", "oldest": 1, "latest": 0, "recovered": False, "ping_ms": 25_000}
        assert welcome.items() >= {**expected, "max_frame_bytes": 65_536, "command_memory_ms": 300_000}.items()
        assert (welcome["runs"], welcome["queued"], welcome["typing"]) == ([], [], [])
        assert welcome["connection"] != two.welcome["connection"]
        assert welcome["epoch"] == two.welcome["epoch"]


@pytest.mark.parametrize(("seconds", "ms"), [(0, 0), (1.9999, 1999), (math.inf, 2**53 - 1)])
async def test_welcome_has_command_memory(seconds: float, ms: int) -> None:
    """The welcome says how long the server remembers commands. The time is in ms, and is rounded down.

    A client needs it: a command that is repeated later could be carried out twice.
    """
    async with make_app(command_memory_seconds=seconds).running(port=0) as server, greeted(server) as one:
        assert one.welcome["command_memory_ms"] == ms


async def test_welcome_has_open_runs() -> None:
    """The welcome lists the runs that are open, and no run that has ended."""
    async with make_app().running(port=0) as server, greeted(server) as one:
        run_id = await one.start("1", "wait")
        started = (await one.events_until(1))[0]
        async with greeted(server) as two:
            assert two.welcome["runs"] == [{"run_id": run_id, "agent": "wait", "started": started["ts"]}]
        await one.command("2", "run.cancel", run_id=run_id)
        await one.completed(run_id)
        async with greeted(server) as two:
            assert two.welcome["runs"] == []


async def test_crashed_runs_are_closed_before_welcome(caplog: pytest.LogCaptureFixture) -> None:
    """If a session crashes, its open runs are closed in the log before the next client gets its welcome.

    A line of the server's log has their number.
    *Otherwise a page would show these runs as open until the next event.*
    """
    log = FaultyLog(MemoryLog())
    async with make_app(log).running(port=0) as server:
        async with greeted(server) as one:
            run_id = await one.start("1", "wait")
            await one.events_until(2)
            log.fail("append")
            await one.send("command", id="2", name="message.send", args={"text": "lost"})
            assert (await one.ended()).code == 4006
        closing = log.hold("append")
        async with memory_client(server) as two:
            await two.send("hello", session="s1")
            await closing.reached.wait()
            await trio.testing.wait_all_tasks_blocked()
            closing.released.set()
            welcome = await two.receive("welcome")
            assert (welcome["runs"], welcome["latest"]) == ([], 3)
            last = (await two.events_until(3))[-1]
            assert (last["run_id"], last["type"], last["data"]["status"]) == (run_id, "agent_completed", "interrupted")
    closed = "session 's1' of user 'anonymous': closed 1 run as interrupted, "
    assert [message.startswith(closed) for message in caplog.messages if "interrupted" in message] == [True]


async def test_open_run_has_ts_of_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the welcome, the start time of an open run is the ``ts`` of its ``agent_started`` event."""
    seconds = itertools.count(int(time.time()))
    monkeypatch.setattr("actors.streams._stream.time_ns", lambda: next(seconds) * 1_000_000_000)
    async with make_app().running(port=0) as server, greeted(server) as one:
        await one.start("1", "wait")
        started = (await one.events_until(1))[0]
        async with greeted(server) as two:
            assert [run["started"] for run in two.welcome["runs"]] == [started["ts"]]


async def test_users_see_nothing_of_each_other() -> None:
    """If two users have sessions with the same name, neither user sees anything of the other user's session.

    This holds for events, runs, signals, history and positions.
    """
    async with make_app(auth=auth_by_name).running(port=0) as server:
        async with greeted(server, token="alice") as alice, greeted(server, token="bob") as bob:
            assert alice.welcome["epoch"] != bob.welcome["epoch"]
            run_id = await alice.start("1", "typist")
            await alice.say("for alice")
            await alice.send("typing", active=True)
            await alice.receive("signal")
            assert (await bob.command("1", "run.cancel", run_id=run_id))["result"] == {"cancelled": False}
            assert (await bob.command("2", "run.cancel", command_id="1"))["result"] == {"cancelled": False}
            await bob.send("history", id="h", after=0, limit=10)
            assert (await bob.receive("history"))["events"] == []
            await bob.say("for bob")
            assert [event["data"] for event in await bob.events_until(1)] == [{"text": "for bob"}]
            resume = {"epoch": alice.welcome["epoch"], "seq": 1}
            async with greeted(server, token="bob", resume=resume) as again:
                assert (again.welcome["reset"], again.welcome["typing"], again.welcome["runs"]) == (
                    "epoch_changed",
                    [],
                    [],
                )
                assert [event["data"] for event in await again.events_until(1)] == [{"text": "for bob"}]
            assert {frame["type"] for frame in bob.frames} == {"welcome", "reply", "history", "events"}
