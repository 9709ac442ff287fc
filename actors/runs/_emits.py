"""The emits of a run: the methods that add an event to the session, or send a signal to its clients."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Self, TypeVar

import orjson

from actors.errors import RunFailed, UnserialisableEvent
from actors.events.encoding import encode, encode_text, is_text
from actors.events.line import TEXT_BEGIN, TEXT_END, envelope
from actors.runs._node import RunNode
from actors.streams._signals import Typist

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.runs._recorder import RunRecorder

T = TypeVar("T")


class EmittingRun(RunNode):
    """A run with the methods that emit events and signals. :class:`~actors.Run` adds the rest.

    Each emit has two parts. The first part puts the event into the session's stream, without waiting, in any event
    loop. The second part is the pause after it, which waits in the event loop of the run's code.
    """

    __slots__ = ("_append", "_calls", "_envelopes", "_limit", "_stream")

    def __init__(self, recorder: RunRecorder, agent: str, parent: Self | None = None) -> None:
        super().__init__(recorder, agent, parent)
        # Bound once: a few lookups less for each event.
        self._stream = recorder.stream
        self._append = recorder.stream.put
        self._limit = recorder.settings.max_event_bytes
        self._envelopes: dict[str, bytes] = {}
        self._calls = 0

    async def thinking(self, text: str) -> None:
        """Emit ``agent_thinking``, with a piece of the agent's thoughts."""
        # Written out here and in output(), which saves two calls an event. encode_text() refuses a text that is
        # no string, too large or not Unicode, and says which.
        if self.closed:
            self._require_open()
        head = self._envelopes.get("agent_thinking") or self._envelope("agent_thinking", TEXT_BEGIN)
        try:
            data = orjson.dumps(text) if type(text) is str else b""
        except TypeError:
            data = b""
        if not data or len(data) > self._limit:
            data = encode_text(text, self._limit)
        if self._append(head, data, TEXT_END, lone=True):
            await self._pause()

    async def output(self, text: str) -> None:
        """Emit ``agent_output``, with a piece of the agent's answer. Clients join the pieces in order."""
        if self.closed:
            self._require_open()
        head = self._envelopes.get("agent_output") or self._envelope("agent_output", TEXT_BEGIN)
        try:
            data = orjson.dumps(text) if type(text) is str else b""
        except TypeError:
            data = b""
        if not data or len(data) > self._limit:
            data = encode_text(text, self._limit)
        if self._append(head, data, TEXT_END, lone=True):
            await self._pause()

    async def custom(self, name: str, value: object = None) -> None:
        """Emit ``custom``: an event that the application defines, with a name and any JSON value."""
        data = encode({"name": string_of(name), "value": value}, self._limit)
        if self.closed:
            self._require_open()
        if self._append(self._envelopes.get("custom") or self._envelope("custom"), data, lone=True):
            await self._pause()

    def signal(self, name: str, data: object = None) -> None:
        """Send a signal to the clients that are now connected to the session. Never waits.

        ``data`` can be any JSON value. A signal has no sequence number, is not stored, and can be lost.
        """
        if get_ident() != self._stream.thread:
            self._hop("signal()", self.signal, name, data)
            return
        self._require_open()
        if not is_text(string_of(name)):  # elsewhere a name is encoded, and so checked, with the rest
            raise UnserialisableEvent("the signal's name has a lone surrogate")
        self._recorder.signals.send(name, self._recorder.encode(data))

    def typing(self, active: bool) -> None:  # noqa: FBT001 - the one argument of a toggle
        """Tell clients whether the agent is typing. Never waits. When the run ends, the agent no longer types."""
        if get_ident() != self._stream.thread:
            self._hop("typing()", self.typing, active)
            return
        self._require_open()
        self._recorder.signals.set_typing(Typist.AGENT, self.id, active=bool(active))

    def in_loop(self, name: str, function: Callable[..., T], *args: object) -> T:
        """Call ``function`` in the session's event loop: directly, or from another thread, which waits for the result.

        ``name`` names the caller in the error. Raise RuntimeError in a thread from which the loop cannot be reached.
        """
        return function(*args) if get_ident() == self._stream.thread else self._hop(name, function, *args)

    async def pause(self) -> None:
        """Wait while too many events of the session are not yet committed to the log. Always a checkpoint."""
        await self._pause()

    async def ready_to_ask(self) -> None:
        """Wait until the session can take the event that opens a question; see :meth:`ready`.

        Raise :class:`~actors.RunFailed` if the user has too many open questions.
        """
        await self.ready()
        limit, account = self._recorder.settings.open_questions_per_user, self._recorder.account
        if account.questions >= limit:
            account.reached("open_questions_per_user")
            many = f"{limit} questions to the user are open already"
            raise RunFailed(self.id, self.agent, "error", "overloaded", many)

    def _envelope(self, event: str, begun: bytes = b"") -> bytes:
        """Return the bytes with which each event of this type begins in this run.

        ``begun`` is the beginning of the event's data. The bytes are built once for each event type, and kept for later
        events.
        """
        parent = self.parent.id if self.parent is not None else None
        head = self._envelopes[event] = envelope(event, self.id, parent) + begun
        return head

    def _next_call(self) -> str:
        """Return the id of the next tool call or question of the run."""
        self._calls += 1
        return f"{self.id}.{self._calls}"


def string_of(text: str) -> str:
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]  agents need not be typed
        raise UnserialisableEvent(f"expected a string, got {type(text).__name__}")
    return text
