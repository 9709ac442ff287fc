"""Two servers on one log in Valkey: clients of both share sessions, over real WebSockets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio
from _cluster_nodes import eventually
from _cluster_servers import guest, node
from _valkey import Server
from metrics.scraping import OPEN, scrape

from actors import CommandRefused, ConfigError, NodeState
from actors.cluster.looking import SeenNode, info_text, info_words
from transport import Greenroom
from transport.cli import main
from transport.cli.cluster_command import table
from transport.client import connect

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 60
"""Time limit of the test."""


def app(log: str, **settings: object) -> Greenroom:
    """Return an app with an agent that emits its input."""
    made = Greenroom(log=log, settings=settings)

    @made.agent
    async def echo(run: Any, value: str) -> str:
        await run.output(value)
        return value

    return made


async def test_a_client_of_each_server() -> None:
    """A start at one server is seen by the clients of both. When that server ends, the session goes on at the other."""
    with trio.fail_after(SECONDS), Server() as valkey:
        async with app(valkey.url).running(port=0) as first:
            async with app(valkey.url).running(port=0) as second:
                async with (
                    connect(second.url, session="s1") as owner,
                    connect(first.url, session="s1") as client,
                ):
                    await owner.send("hello")
                    await client.start("echo", "1")
                    ours, theirs = [await read(each, 4) for each in (owner, client)]
                    assert ours == theirs
                    assert ours[0] == "user_message"
            async with connect(first.url, session="s1") as again:
                assert await read(again, 4) == ours
                await again.start("echo", "2")
                assert (await read(again, 3))[-1] == "agent_completed"


async def test_settings_reach_the_node() -> None:
    """``node_name`` names the node of a server, and a second server with this name does not start."""
    with Server() as valkey:
        server = app(valkey.url, node_name="web", lease_seconds=1)
        async with server.running(port=0):
            with (
                pytest.raises(ConfigError, match="node_name web is in use"),
                trio.fail_after(SECONDS),
            ):
                async with app(valkey.url, node_name="web", lease_seconds=1).running(port=0):
                    raise AssertionError("the second server has started")


async def test_server_that_is_cut_off_is_not_ready() -> None:
    """While Valkey does not answer, ``/readyz`` says that the node is cut off. Statistics and metrics name the node."""
    with Server() as valkey:
        async with app(valkey.url, node_name="web", lease_seconds=1).running(port=0) as server:
            assert server.health().unready == ""
            async with connect(server.url, session="s1") as client:
                await client.start("echo", "1")
                await read(client, 3)
            seen = server.cluster_statistics()
            assert seen is not None
            assert (seen.node, seen.state, seen.nodes, seen.claims) == ("web", NodeState.LIVE, 1, 1)
            assert seen.until <= 0.75
            assert min(seen.flushes, seen.commands) > 0
            found = await scrape(server, OPEN)
            assert found.value("cluster_nodes", node="web") == 1
            assert found.value("runs_total", agent="echo", status="ok", node="web") == 1
            valkey.pause()
            await eventually(lambda: server.health().unready == "the node is cut off from the server of its log")
            assert server.health().failed == ""
            valkey.go_on()
            await eventually(lambda: not server.health().unready)


async def test_nodes_are_listed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """``greenroom cluster`` lists the nodes of a log. ``greenroom copy`` is refused while one of them beats."""

    def command(*words: str) -> tuple[int, str, str]:
        status = main(words)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    async def run(*words: str) -> tuple[int, str, str]:
        return await trio.to_thread.run_sync(command, *words)

    with Server() as valkey, trio.fail_after(SECONDS):
        assert await run("cluster", valkey.url) == (0, f"{valkey.url}: no nodes\n", "")
        async with app(valkey.url, node_name="web", lease_seconds=8).running(port=0) as server:
            async with connect(server.url, session="s1") as client:
                await client.start("echo", "1")
                await read(client, 3)
            _, out, _ = await run("cluster", valkey.url, "--json")
            (node,) = [json.loads(line) for line in out.splitlines()]
            assert (node["name"], node["is_beating"], node["info"]["lease"]) == ("web", True, "8")
            assert node["info"]["users"] in {"0", "1"}
            status, _, refused = await run("copy", valkey.url, f"sqlite:{tmp_path}/new.db")
            assert (status, "is in use by web: end all servers" in refused) == (2, True)
            assert not await trio.Path(tmp_path, "new.db").exists()


async def test_other_leases_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """A node with another ``lease_seconds`` is a warning: the node with the shorter one would take it for dead."""
    with Server() as valkey, trio.fail_after(SECONDS):
        async with app(valkey.url, node_name="long", lease_seconds=60).running(port=0):
            async with app(valkey.url, node_name="short", lease_seconds=50).running(port=0):
                told = "node long has lease_seconds 60, and this node 50: give all servers on one log the same"
                await eventually(lambda: told in caplog.messages)


async def test_commands_use_the_prefix_of_keys(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands on a log in Valkey use ``valkey_prefix`` of the environment, as its servers do."""
    with Server() as valkey, trio.fail_after(SECONDS):
        async with app(valkey.url, valkey_prefix="other").running(port=0) as server:
            async with connect(server.url, session="s1") as client:
                await client.start("echo", "1")
                await read(client, 3)
        for prefix, sessions in (("gr", 0), ("other", 1)):
            monkeypatch.setenv("GREENROOM_VALKEY_PREFIX", prefix)
            assert await trio.to_thread.run_sync(main, ("verify", valkey.url)) == 0
            assert f": {sessions} sessions, " in capsys.readouterr().out


def test_table_of_nodes() -> None:
    """The table has a line for each node, also for a node without the words of this version."""
    told = info_words(info_text({"lease": 8, "users": 12, "version": "1.0.0"}))
    nodes = [SeenNode("a", "a/0/1", 0, 7, True, told), SeenNode("long-name", "b/0/1", 0, 900, False, {})]  # noqa: FBT003 - a record
    assert table(nodes, 3_661.4) == [
        "node       beating  beats  up       lease  users  version",
        "a          yes      7      1:01:01  8      12     1.0.0",
        "long-name  no       900    1:01:01  ?      ?      ?",
    ]


def test_words_of_a_node() -> None:
    """The text of a beat has names and values. Other words are ignored."""
    assert info_words(info_text({"lease": 8, "users": 0})) == {"lease": "8", "users": "0"}
    assert info_words("") == info_words("old text") == {}


async def test_server_with_a_log_of_its_own_is_no_node() -> None:
    """A server whose log no other server can use has no statistics of a cluster."""
    async with app("memory:").running(port=0) as server:
        assert server.cluster_statistics() is None


async def read(client: Any, number: int) -> list[str]:
    """Return the types of the next events of a client."""
    events = client.events()
    return [(await anext(events)).type for _ in range(number)]


async def test_limits_of_a_user_hold_for_all_nodes() -> None:
    """``runs_per_user`` counts the runs of a user at all nodes together."""
    limits = {"runs_per_user": 1, "queued_runs_per_user": 0}
    with Server() as valkey, trio.fail_after(SECONDS):
        async with node(valkey.url, "first", **limits) as first, node(valkey.url, "second", **limits) as second:
            async with guest(first.url, "s1") as client, guest(second.url, "s2") as other:
                run = await client.start("endless", "begun")
                with pytest.raises(CommandRefused) as refused:
                    await other.client.start("echo", "too many")
                assert refused.value.code == "overloaded"
                assert "1 runs go on and 0 wait" in str(refused.value)
                await client.client.cancel(run)
                await eventually(lambda: client.ends)
                await other.start("echo", "alone")
                await eventually(lambda: other.ends == ["ok"])
