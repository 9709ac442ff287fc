"""An attachment and a handle work with any command sink and directory, such as those of another node."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from actors import Agents, CommandRefused, SessionHandle, SessionSettings, StreamKey
from actors.sessions._messages import Emit, Typing
from actors.spi import Attachment, Command, CommandReply, Cursor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors import Event, SessionStatistics


@attrs.define(eq=False)
class RemoteFeed:
    """A source of events for a cursor that has no events."""

    committed_seq: int = 0
    oldest_in_memory: int = 1
    detached: list[Cursor] = attrs.Factory(list[Cursor])

    def slice(self, after: int, until: int, /) -> Sequence[bytes]:
        return [b"{}"] * (until - after)

    async def read(self, after: int, limit: int, size: int) -> Sequence[bytes]:
        await trio.lowlevel.checkpoint()
        return ()

    def detach(self, cursor: Cursor) -> None:
        self.detached.append(cursor)

    def adopt(self, cursor: Cursor) -> None: ...


class Tab:
    """A listener that ignores everything."""

    def on_events(self) -> None: ...
    def on_signal(self, name: str, data: bytes) -> None: ...
    def on_ended(self, reason: str) -> None: ...


@attrs.define(eq=False)
class RemoteSink:
    """A command sink that notes all calls."""

    posted: list[Command | Typing] = attrs.Factory(list["Command | Typing"])
    detached: list[str] = attrs.Factory(list[str])

    def post(self, message: Command | Typing) -> None:
        self.posted.append(message)

    async def history(self, after: int, limit: int, size: int) -> tuple[Sequence[bytes], bool]:
        await trio.lowlevel.checkpoint()
        return [b"%d %d %d" % (after, limit, size)], True

    def detach(self, connection: str) -> None:
        self.detached.append(connection)


async def test_attachment_with_another_sink() -> None:
    """An attachment passes all requests of its client (commands, typing, history, detaching) only to its own sink.

    The sink can be any object with the right methods, such as a link to another node.
    """
    sink, feed = RemoteSink(), RemoteFeed()
    cursor = Cursor(feed, Tab(), 0)
    attachment = Attachment(
        sink=sink,
        session="s1",
        connection="c1",
        cursor=cursor,
        epoch="e",
        oldest=1,
        latest=0,
        recovered=False,
        reset=None,
        runs=(),
        queued=(),
        typing=(),
    )
    command = Command("k1", "message.send", {"text": "x"}, "c1", print)
    attachment.command(command)
    attachment.typing_changed(active=True)
    assert sink.posted == [command, Typing("c1", active=True)]
    assert await attachment.history(1, 2, 3) == ([b"1 2 3"], True)
    attachment.detach()
    assert (sink.detached, feed.detached, cursor.detached) == (["c1"], [cursor], True)


@attrs.define(eq=False)
class RemoteDirectory:
    """A directory of sessions on another node. It replies to commands with given replies."""

    replies: dict[str, CommandReply]
    settings: SessionSettings = attrs.Factory(SessionSettings)
    agents: Agents = attrs.Factory(Agents)
    asked: list[object] = attrs.Factory(list[object])
    checked: list[str] = attrs.Factory(list[str])

    def require_task(self, call: str) -> None:
        self.checked.append(call)

    async def ask(self, key: StreamKey, message: object) -> object:
        await trio.lowlevel.checkpoint()
        self.asked.append(message)
        if isinstance(message, Command):
            message.reply(attrs.evolve(self.replies[message.name], id=message.id))
        return None

    def lease(self, key: StreamKey) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def history(self, key: StreamKey, after: int | None, before: int | None, limit: int) -> Sequence[Event]:
        await trio.lowlevel.checkpoint()
        self.asked.append((after, before, limit))
        return ()

    def statistics_of(self, key: StreamKey) -> SessionStatistics | None:
        return None


async def test_handle_with_another_directory() -> None:
    """A handle on a session passes commands and events to its directory, the service that finds sessions.

    The directory can be any object with the right methods. The handle returns the result of the reply, or raises the
    refusal.
    """
    directory = RemoteDirectory(
        {
            "run.start": CommandReply("", {"run_id": "r-1"}),
            "run.cancel": CommandReply("", code="overloaded", message="later"),
        }
    )
    handle = SessionHandle(directory, StreamKey("alice", "s1"))
    assert await handle.start("agent", {"a": 1}) == "r-1"
    with pytest.raises(CommandRefused, match="later"):
        await handle.cancel("r-1")
    await handle.emit("n", 1)
    async with handle.lease():
        assert handle.statistics() is None
    assert await handle.history(after=1, limit=2) == ()
    start, cancel, emitted, history = directory.asked
    assert history == (1, None, 2)
    assert isinstance(start, Command)
    assert (start.args, start.encoded_input, start.internal) == ({"agent": "agent"}, b'{"a":1}', True)
    assert isinstance(cancel, Command)
    assert emitted == Emit(b'{"name":"n","value":1}')
    assert directory.checked == ["run.start", "run.cancel", "history()"]
