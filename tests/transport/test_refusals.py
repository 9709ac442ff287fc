"""Log lines about refused clients: one at once for each reason, then at most one a minute with a count."""

from __future__ import annotations

import json
import logging
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from protocol.agents import auth_by_name, make_app
from protocol.wire import client, greeted, greeted_in_memory
from websockets.exceptions import InvalidStatus

from actors.spi import CUT_OFF, UNREACHABLE
from transport.server._heartbeat import Heartbeat
from transport.server._refusals import PERIOD_SECONDS, Reason, RefusalCounts, RefusalLog, Summary
from transport.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from protocol.wire import Client

    from transport import Server

EVIL = "https://evil.example"


# The counts


def test_first_refusal_is_written_at_once() -> None:
    """The first refusal for each reason is logged at once. Further refusals in the same period are only counted."""
    counts = RefusalCounts(10)
    assert counts.note(Reason.ORIGIN, "a", 100)
    assert not counts.note(Reason.ORIGIN, "b", 100)
    assert counts.note(Reason.RATE, "", 105)
    assert not counts.note(Reason.ORIGIN, "c", 109.9)
    assert (counts.next_due, counts.due(109.9)) == (110, [])
    assert counts.due(110) == [Summary(Reason.ORIGIN, 2, "c")]


def test_quiet_reason_is_forgotten() -> None:
    """After a period without refusals a reason is forgotten, and its next refusal is written at once."""
    counts = RefusalCounts(10)
    counts.note(Reason.ORIGIN, "", 100)
    counts.note(Reason.ORIGIN, "", 101)
    assert len(counts.due(110)) == 1
    assert not counts.note(Reason.ORIGIN, "", 115)
    assert len(counts.due(120)) == 1
    assert counts.due(130) == []
    assert counts.next_due is None
    assert counts.note(Reason.ORIGIN, "", 131)


@given(st.lists(st.tuples(st.sampled_from(Reason), st.floats(0, 30)), max_size=60))
def test_every_refusal_is_in_one_line(refusals: list[tuple[Reason, float]]) -> None:
    """Each refusal is in exactly one line, and two lines of a reason are at least a period apart."""
    counts, now, written = RefusalCounts(10), 0.0, 0
    last: dict[Reason, float] = {}

    def line(reason: Reason, refusals: int) -> int:
        assert now >= last.get(reason, float("-inf")) + 10
        last[reason] = now
        return refusals

    for reason, pause in refusals:
        end = now + pause
        while (due := counts.next_due) is not None and due <= end:
            now = due
            written += sum(line(each.reason, each.refusals) for each in counts.due(now))
        now = end
        written += line(reason, 1) if counts.note(reason, "", now) else 0
    while (due := counts.next_due) is not None:
        now = due
        written += sum(line(each.reason, each.refusals) for each in counts.due(now))
    assert written == len(refusals)


# The log of a server


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines about refusals."""
    return [record.getMessage() for record in caplog.records if record.name == "greenroom.refusals"]


async def refuse_origin(server: Server, origin: str) -> None:
    """Be refused as a page of this origin."""
    with pytest.raises(InvalidStatus):
        async with client(server, origin=origin):
            pass


async def test_refused_origin_is_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    """The first refusal of a page's origin is logged at once, and the line names the setting to change.

    After a minute a second line has the number of further refusals in this minute. Each line has the text to type.
    """
    async with make_app().running(port=0) as server:
        for number in range(4):
            await refuse_origin(server, f"https://{number}.example")
        told = "refused (HTTP 403): the origin of the page is not in the setting allowed_origins: 'https://0.example'"
        told += "; if the page is yours, set GREENROOM_ALLOWED_ORIGINS=https://0.example"
        assert lines(caplog) == [told]
        await trio.sleep(PERIOD_SECONDS + 1)
        again = told.replace("refused", "refused 3 more times within 60 s").replace("https://0", "https://3")
        again = again.replace("'https", "the newest: 'https")
        assert lines(caplog) == [told, again]
        await trio.sleep(3 * PERIOD_SECONDS)
        assert lines(caplog) == [told, again]
        await refuse_origin(server, EVIL)
        assert len(lines(caplog)) == 3


async def test_counts_are_written_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """A server that ends writes the refusals that it has only counted."""
    async with make_app().running(port=0) as server:
        for _ in range(2):
            await refuse_origin(server, EVIL)
        assert len(lines(caplog)) == 1
    assert lines(caplog)[1].startswith("refused 1 more time within 60 s (HTTP 403): ")


async def test_text_of_a_client_is_harmless(caplog: pytest.LogCaptureFixture) -> None:
    """An origin is written without control characters and cut, since any program may send one."""
    RefusalLog(Settings(), Heartbeat()).note(Reason.ORIGIN, "https://\x1b[31m\n" + "x" * 5_000)
    (line,) = lines(caplog)
    assert line.isprintable()
    assert len(line) < 400


@pytest.mark.parametrize("origin", ["null", "https://a.example;reboot", "https://a.example\n", "https://", "$(reboot)"])
async def test_only_an_origin_is_offered_to_type(caplog: pytest.LogCaptureFixture, origin: str) -> None:
    """A refused text that cannot be allowed is logged without a command: a shell could carry out such a text."""
    RefusalLog(Settings(), Heartbeat()).note(Reason.ORIGIN, origin)
    (line,) = lines(caplog)
    assert "GREENROOM_ALLOWED_ORIGINS" not in line


async def test_offer_keeps_allowed_origins(caplog: pytest.LogCaptureFixture) -> None:
    """The text to type also has the origins that are allowed already, unless the environment would not count."""
    environment = {"GREENROOM_ALLOWED_ORIGINS": "https://a.example"}
    from_variable = Settings.load(environment=environment, toml=Path("none.toml"))
    for settings in (from_variable, Settings(allowed_origins=("https://a.example",))):
        RefusalLog(settings, Heartbeat()).note(Reason.ORIGIN, EVIL)
    first, second = lines(caplog)
    assert first.endswith(f"set GREENROOM_ALLOWED_ORIGINS=https://a.example,{EVIL}")
    assert second.endswith(f"allowed_origins: '{EVIL}'")


@pytest.mark.parametrize("text", [UNREACHABLE, CUT_OFF])
async def test_cluster_that_cannot_be_reached_is_no_limit(caplog: pytest.LogCaptureFixture, text: str) -> None:
    """If the node of a session or the log's server does not answer, the log names no setting: none would help."""
    RefusalLog(Settings(), Heartbeat()).note_closing(4005, text, greeted=False)
    assert lines(caplog) == [f"refused (4005): the session cannot be reached in the cluster now: {text!r}"]


async def nothing(_: Client) -> None: ...


async def hello(one: Client, **fields: Any) -> None:
    await one.send("hello", **{"session": "s1", "token": "alice", **fields})


async def too_many_commands(one: Client) -> None:
    await one.hello(token="alice")
    for number in range(3):
        await one.send("command", id=str(number), name="message.send", args={"text": "hello"})
    await one.reply("2")
    await one.socket.aclose()


async def many_pongs(one: Client) -> None:
    await one.hello(token="alice")
    for _ in range(4):
        await one.send("pong")


async def many_early_pongs(one: Client) -> None:
    for _ in range(4):
        await one.socket.pong()  # type: ignore[attr-defined]  # a connection of websockets


async def two_runs(one: Client) -> None:
    await one.hello(token="alice")
    for number in range(2):
        await one.send("command", id=str(number), name="run.start", args={"agent": "wait"})
    assert not (await one.reply("1"))["ok"]
    await one.socket.aclose()


UNOPENED = "(4005): the session cannot be opened; settings:"
STRANGER = "the auth function knows no user with these credentials"
UNAVAILABLE = "(4005): the auth function cannot check the client's credentials now: 'authentication is not possible"
LONG = "(1009): a message is larger than max_frame_bytes (1024), or has more fragments than max_fragments (1024)"
FLOOD = "commands_per_second (20), control_frames_per_second (2) or max_fragments (1024) per second"
EARLY = "(dropped): a client without a welcome sends beyond control_frames_per_second (2) or max_fragments (1024)"
QUEUE = (
    "runs_per_user (1), queued_runs_per_user (0), mailbox_size (64), retain_user_bytes (1073741824): "
    "'1 runs go on and 0 wait: try again later'"
)
CLOSED: list[tuple[Callable[[Client], Any], dict[str, object], str]] = [
    (lambda one: hello(one, token=None), {}, "(4501): the client has no token"),
    (lambda one: hello(one, token="wrong"), {}, "(4501): the client has a wrong token: 'the token is not valid: no'"),
    (lambda one: hello(one, token="stranger"), {}, f"(4501): {STRANGER}: 'unknown'"),
    (lambda one: hello(one, token="forbidden"), {}, "(4502): the auth function forbids the user: 'not you'"),
    (lambda one: hello(one, token="expired"), {}, "(4004): the token has expired"),
    (lambda one: hello(one, token="unavailable"), {}, f"{UNAVAILABLE} now: the directory is down'"),
    (nothing, {"hello_seconds": 0.01}, "(4503): no hello came within hello_seconds (0.01 s)"),
    (lambda one: one.send("pong"), {}, "(4500): a message is not a frame of the protocol: 'a frame before hello'"),
    (lambda one: one.send_text(b"x"), {}, "(1003): a message is binary"),
    (lambda one: one.send_text("x" * 1025), {"max_frame_bytes": 1024}, LONG),
    (lambda one: one.send_text("ü" * 600), {"max_frame_bytes": 1024}, LONG),
    (many_pongs, {"control_frames_per_second": 2}, f"(4505): the client goes on sending beyond {FLOOD}"),
    (many_early_pongs, {"control_frames_per_second": 2}, f"{EARLY} per second"),
    (
        too_many_commands,
        {"commands_burst": 2, "commands_per_second": 0.01},
        "(rate_limited): a request is beyond commands_per_second (0.01) and commands_burst (2)",
    ),
    (
        two_runs,
        {"starts_per_minute": 1},
        (
            "(rate_limited): a command is beyond a limit of its user; settings: starts_per_minute (1), "
            "events_per_second (0), bytes_per_second (0)"
        ),
    ),
    (
        two_runs,
        {"runs_per_user": 1, "queued_runs_per_user": 0},
        f"(overloaded): a command found no place in a queue; settings: {QUEUE}",
    ),
]


@pytest.mark.parametrize(("be_refused", "settings", "told"), CLOSED, ids=[told.split(":")[0] for _, _, told in CLOSED])
async def test_refused_client_is_logged(
    caplog: pytest.LogCaptureFixture, be_refused: Callable[[Client], Any], settings: dict[str, Any], told: str
) -> None:
    """A client that is refused after its upgrade is logged, with its close code and the setting to change."""
    caplog.set_level(logging.INFO)
    async with make_app(auth=auth_by_name, **settings).running(port=0) as server, client(server) as one:
        await be_refused(one)
        if be_refused not in {too_many_commands, two_runs}:
            await one.ended()
    assert lines(caplog) == [f"refused {told}"]


async def test_refused_tokens_are_counted_apart(caplog: pytest.LogCaptureFixture) -> None:
    """No token, a wrong token and an expired token are three reasons. A warning shows each of them."""
    caplog.set_level(logging.WARNING)
    async with make_app(auth=auth_by_name).running(port=0) as server:
        for token in (None, "wrong", "expired", "expired"):
            async with client(server) as one:
                await hello(one, token=token)
                await one.ended()
    assert [line.split(":")[0] for line in lines(caplog)] == [
        "refused (4501)",
        "refused (4501)",
        "refused (4004)",
        "refused 1 more time within 60 s (4004)",
    ]


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ("max_connections", "(HTTP 503): the server has max_connections (1)"),
        ("max_connections_per_address", "(HTTP 503): the address has max_connections_per_address (1)"),
        ("max_connections_per_user", "(4504): the user has max_connections_per_user (1)"),
        (
            "max_sessions",
            f"{UNOPENED} max_sessions (1), max_sessions_per_user (100), sessions_per_user (10000)",
        ),
        (
            "sessions_per_user",
            f"{UNOPENED} max_sessions (10000), max_sessions_per_user (100), sessions_per_user (1): 'the user has 1",
        ),
    ],
)
async def test_limit_that_refuses_is_logged(caplog: pytest.LogCaptureFixture, limit: str, told: str) -> None:
    """A limit that refuses a client is logged, with the name and the value of the setting."""
    settings: dict[str, Any] = {limit: 1}
    async with make_app(**settings).running(port=0) as server, greeted(server) as first:
        if "HTTP" in told:
            with pytest.raises(InvalidStatus):
                async with client(server):
                    pass
        else:
            async with client(server) as second:
                await second.send("hello", session="other")
                if limit == "max_connections_per_user":
                    await first.receive("ping")
                    await first.send("pong")
                await second.ended()
        assert lines(caplog)[0].startswith(f"refused {told}")
        assert len(lines(caplog)) == 1


@pytest.mark.parametrize(
    ("path", "options", "told"),
    [
        ("chat", {}, "(HTTP 404): there is nothing at this path; the endpoint is /: '/chat'"),
        ("", {"subprotocols": ["mqtt"]}, "(HTTP 400): the client offers no subprotocol that is served: 'mqtt'"),
    ],
)
async def test_refused_upgrade_is_logged(
    caplog: pytest.LogCaptureFixture, path: str, options: dict[str, Any], told: str
) -> None:
    """A refused upgrade is logged, with the part of the request that is wrong."""
    async with make_app().running(port=0) as server:
        with pytest.raises(InvalidStatus):
            async with client(server, path, **options):
                pass
    assert lines(caplog) == [f"refused {told}"]


async def test_usual_end_is_no_refusal(caplog: pytest.LogCaptureFixture) -> None:
    """The end of a token or a session after the welcome is not logged as a refusal, and neither is the server's end."""
    caplog.set_level(logging.DEBUG)
    async with make_app().running(port=0) as server, greeted(server) as one, greeted(server, "s2"):
        await one.send_text(json.dumps({"type": "command", "id": "1", "name": "session.close", "args": {}}))
        assert (await one.ended()).code == 4506
    assert lines(caplog) == []


async def test_command_at_the_end_is_no_refusal(
    caplog: pytest.LogCaptureFixture, mock_clock: trio.testing.MockClock
) -> None:
    """A command that is refused because the server ends is not logged: no limit is to blame.

    A server closes its connections in batches of 100. The last connection can still send a command.
    """
    app = make_app(max_connections_per_user=101)
    async with app.running(port=0) as server, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(greeted_in_memory(server)) for _ in range(101)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.drain, 5)
            await trio.testing.wait_all_tasks_blocked()
            assert (await clients[-1].command("1", "run.start", agent="wait"))["error"]["code"] == "overloaded"
            mock_clock.autojump_threshold = 0
    assert lines(caplog) == []
