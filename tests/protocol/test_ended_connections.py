"""A connection that has ended or failed: it harms no other, and its memory is freed."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from protocol.wire import client, greeted_in_memory, memory_client, wait_for_connections
from suites.stage import server_with

from actors.spi import CommandReply, SessionEnding
from transport.server._connection import Connection
from transport.server._delivery import Delivery
from transport.server._liveness import Liveness

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import Run
    from transport import Server


async def patient(run: Run, seconds: float) -> str:
    """Make three outputs and signals, ``seconds`` apart."""
    for _ in range(3):
        await run.output("…")
        run.signal("progress")
        await trio.sleep(seconds)
    return "done"


def restarts(server: Server) -> set[int]:
    """Return the numbers of restarts of all actors, as a set."""

    def walk(node: Any) -> set[int]:
        return {node.restarts}.union(*map(walk, node.children))

    return walk(server.system.tree())


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Connection]:
    """Return the list of all connections that the server makes, in order. The list grows during the test."""
    connections: list[Connection] = []
    made_as = Connection.__init__

    def note(self: Connection, *args: Any) -> None:
        made_as(self, *args)
        connections.append(self)

    monkeypatch.setattr(Connection, "__init__", note)
    return connections


async def test_reply_to_an_ended_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If a client leaves before it gets its reply, nothing fails: the sessions continue, and no actor is restarted."""
    async with server_with(patient, runs_per_user=1).running(port=0) as server:
        async with greeted_in_memory(server, token="alice") as first, greeted_in_memory(server, token="bob") as other:
            await first.send("command", id="k1", name="run.start", args={"agent": "patient", "input": 2})
            await first.receive("reply")
            async with greeted_in_memory(server, token="alice") as tab:
                await tab.send("command", id="k2", name="run.start", args={"agent": "patient", "input": 2})
                await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(20)
            await other.send("command", id="k1", name="run.start", args={"agent": "patient", "input": 0})
            assert (await other.receive("reply"))["ok"]
            await first.send("command", id="k3", name="message.send", args={"text": "x"})
            assert (await first.receive("reply"))["result"] == {"seq": 11}
        assert restarts(server) == {0}
        assert server.sessions.statistics().crashed == 0


@pytest.mark.parametrize("left", ["by itself", "sent away"])
async def test_ended_connection_ignores_calls(
    autojump_clock: trio.testing.MockClock, made: list[Connection], left: str
) -> None:
    """If another object still calls a method of a connection that has ended, the call has no effect.

    The test tries every method that may be called.
    """
    async with server_with(patient).running(port=0) as server:
        async with greeted_in_memory(server, token="alice"):
            if left == "sent away":
                made[0].close(4005, "enough")
        await wait_for_connections(server)
        ended = made[0]
        delivery = ended._delivery  # noqa: SLF001 - the session and the flusher may still hold it
        visits = server.endpoint.statistics()
        calls: list[Callable[[], object]] = [
            delivery.on_events,
            lambda: delivery.on_signal("typing", b"{}"),
            lambda: delivery.reply(CommandReply("k1", {})),
            delivery.schedule,
            delivery.flush,
            lambda: delivery.on_failed(ValueError()),
            lambda: delivery.on_ended(SessionEnding.CRASHED),
            ended.on_drained,
            ended.on_stuck,
            lambda: ended._liveness.on_failed(ValueError()),  # noqa: SLF001 - the heartbeat may still hold it
            lambda: ended.close(4005, "again"),
        ]
        for call in calls:
            call()
            await trio.testing.wait_all_tasks_blocked()
        assert ended._liveness.beat(trio.current_time()) is None  # noqa: SLF001 - as above
        assert server.endpoint.statistics() == visits
        assert (ended.waiting_bytes, restarts(server)) == (0, {0})


PARTS = {
    "on_events": Delivery,
    "on_signal": Delivery,
    "flush": Delivery,
    "_send_signals": Delivery,
    "reply": Delivery,
    "beat": Liveness,
}
"""Methods of a connection that other tasks call, and their classes."""


@pytest.mark.parametrize("method", PARTS)
@pytest.mark.parametrize("error", [ValueError(), SystemExit(), RecursionError()])
async def test_failing_connection_ends_alone(
    autojump_clock: trio.testing.MockClock,
    made: list[Connection],
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    error: BaseException,
) -> None:
    """If the server's code for one connection raises, only this connection is closed, with 4006 (internal error)."""
    inner: Any = getattr(PARTS[method], method)

    def fail(self: Any, *args: Any) -> Any:
        for one in made:
            parts = (one._delivery, one._liveness)  # noqa: SLF001 - one of them is what the test lets fail
            if one.user is not None and one.user.id == "mallory" and self in parts:
                raise error
        return inner(self, *args)

    monkeypatch.setattr(PARTS[method], method, fail)
    async with server_with(patient).running(port=0) as server, memory_client(server) as bad:
        async with greeted_in_memory(server, token="alice") as good:
            await good.send("command", id="k1", name="run.start", args={"agent": "patient", "input": 3})
            await bad.send("hello", session="s1", token="mallory")
            await bad.send("command", id="k1", name="run.start", args={"agent": "patient", "input": 3})
            if method != "reply":  # the session contains a failure of this method; the real one never raises
                assert (await bad.ended()).code == 4006
            while (await good.receive("events"))["events"][-1]["type"] != "agent_completed":
                pass
            assert restarts(server) == {0}


@pytest.mark.parametrize("left", ["by itself", "sent away", "lost", "before its hello", "over a socket"])
async def test_ended_connection_is_freed(made: list[Connection], left: str) -> None:
    """The memory of an ended connection is freed without a garbage collection, although its session lives on."""
    async with server_with(patient).running(port=0) as server:
        gc.collect()
        gc.disable()
        try:
            await come_and_leave(server, made, left)
            await wait_for_connections(server)
            await trio.testing.wait_all_tasks_blocked()
            connection = weakref.ref(made.pop())
            assert connection() is None
        finally:
            gc.enable()


async def test_queued_start_keeps_no_connection(made: list[Connection]) -> None:
    """If a connection that sent a start ends while the start is queued, the connection is freed from memory."""
    async with server_with(patient, runs_per_user=1).running(port=0) as server:
        async with greeted_in_memory(server, token="alice") as first:
            await first.send("command", id="k1", name="run.start", args={"agent": "patient", "input": 1_000})
            await first.receive("reply")
            for _ in range(2):
                async with greeted_in_memory(server, token="alice") as tab:
                    await tab.send("command", id="k2", name="run.start", args={"agent": "patient", "input": 0})
                    await trio.testing.wait_all_tasks_blocked()
            gc.collect()
            gc.disable()
            try:
                async with greeted_in_memory(server, token="alice") as tab:
                    await tab.send("command", id="k2", name="run.start", args={"agent": "patient", "input": 0})
                    await trio.testing.wait_all_tasks_blocked()
                await trio.testing.wait_all_tasks_blocked()
                ended = [weakref.ref(each) for each in made[1:]]
                made.clear()
                assert [each() for each in ended] == [None] * 3
            finally:
                gc.enable()
            await first.send("command", id="k3", name="run.cancel", args={"command_id": "k2"})
            assert (await first.receive("reply"))["result"] == {"cancelled": True}


async def come_and_leave(server: Server, made: list[Connection], left: str) -> None:
    """Connect a client and end its connection in the way that ``left`` names."""
    async with client(server) if left == "over a socket" else memory_client(server) as one:
        if left == "before its hello":
            return
        await one.hello(token="alice")
        await one.send("command", id="k1", name="run.start", args={"agent": "patient", "input": 0})
        await one.receive("reply")
        if left == "sent away":
            made[0].close(4005, "enough")
            await one.ended()
        elif left == "lost":
            await trio.aclose_forcefully(one.socket.stream)  # type: ignore[attr-defined] # the library's
