"""Replies in several parts: the bounded buffer between the two actors, and the caller's iterator."""

from __future__ import annotations

import contextlib
from collections import deque
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, Self, TypeVar

import outcome
import trio

from actors.errors import AskAbandoned, AskTimeout
from actors.runtime._home import Home
from actors.runtime._request import AskEnd, PendingAsk

if TYPE_CHECKING:
    from actors.runtime._mailbox import Mailbox

PARTS = 16
"""Number of parts of a reply that wait for a slow caller, if the caller names no other number."""

END: Final = object()
"""The answer that ends a reply in parts."""

T = TypeVar("T")


class Target(Protocol):
    """The interface of the asked actor."""

    @property
    def path(self) -> str:
        """Path of the actor in the tree."""
        ...

    @property
    def mailbox(self) -> Mailbox:
        """Mailbox of the actor."""
        ...

    def check_may_be_asked(self) -> None:
        """Raise RuntimeError if the caller of an ask would wait for itself."""
        ...


class Parts(AskEnd):
    """The parts of one reply that were sent and not taken yet. The sender waits while there are ``size`` of them."""

    __slots__ = ("_request", "deadline", "items", "size")

    def __init__(self, request: PendingAsk, size: int, deadline: float) -> None:
        super().__init__()
        self.deadline = deadline
        """Time at which the caller's own deadline ends the reply, in seconds on trio's clock."""
        self._request = request
        self.size = size
        self.items: deque[Any] = deque()

    async def put(self, part: object) -> None:
        """Add a part. While the buffer is full, wait.

        Raises AskAbandoned if the ask has ended. If this is cancelled, the part was not added.
        """
        while len(self.items) >= self.size and not self._request.done:
            await self.wait()
        if self._request.done:
            raise AskAbandoned("the caller of this ask takes no more parts")
        self.items.append(part)
        self._changed.wake()

    @property
    def has_next(self) -> bool:
        """Whether :meth:`take` has something to return or raise."""
        return bool(self.items) or self._request.done

    async def arrived(self) -> None:
        """Wait until there is a part, or the ask has ended. Safe to cancel."""
        while not self.has_next:
            await self.wait()

    def take(self) -> object:
        """Remove and return the next part. Return END if the reply is complete. If the ask failed, raise its error."""
        if self.items:
            part = self.items.popleft()
            self._changed.wake()
            return part
        request = self._request
        answer = END if request.result is None else request.result.unwrap()
        # An actor that answers without a stream has sent one part.
        request.result = outcome.Value(END)
        return answer


class ReplyParts(Generic[T]):
    """The parts of one reply, as an async iterator; see :meth:`ActorRef.ask_stream`.

    Use it as ``with ref.ask_stream(message) as parts: async for part in parts: …``. At the end of the ``with`` block
    the actor learns that the caller has left. Without a ``with`` block, it learns that when Python frees this object.
    """

    __slots__ = ("_ended", "_is_sent", "_message", "_parts", "_request", "_size", "_target", "_timeout", "_token")

    def __init__(self, target: Target, message: object, size: int, timeout: float | None) -> None:
        self._target = target
        self._message = message
        self._size = size
        self._timeout = timeout
        self._request: PendingAsk | None = None
        self._parts: Parts | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._is_sent = self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """Return the next part of the reply. The first call sends the message.

        Raises:
            StopAsyncIteration: The reply is complete, or was closed.
            AskTimeout: The next part did not come in time. The reply is then closed.
            ActorError: All errors of :meth:`ActorRef.ask`, after the parts that were sent before.

        Cancellation:
            No part was taken. The next call continues. If the message was not sent yet, the next call sends it.
        """
        await trio.lowlevel.checkpoint()
        if self._ended:
            raise StopAsyncIteration
        if self._parts is None:
            self._parts = self._prepare(trio.current_effective_deadline())
        if self._timeout is None:
            return await self._next(self._parts)
        with trio.move_on_after(self._timeout):
            return await self._next(self._parts)
        if self._is_sent and self._parts.has_next:  # it came in the moment of the timeout
            return self._take(self._parts)
        self.close()
        raise AskTimeout(f"{self._target.path} sent no part of its reply within {self._timeout} s")

    def _prepare(self, deadline: float) -> Parts:
        """Return the buffer of the parts, with its request, which is sent later."""
        if get_ident() != self._target.mailbox.home.thread:
            raise Home.elsewhere()
        self._target.check_may_be_asked()
        self._token = trio.lowlevel.current_trio_token()
        self._request = PendingAsk(self._message, self._target.mailbox)
        self._request.caller = trio.lowlevel.current_task()
        self._request.end = parts = Parts(self._request, self._size, deadline)
        self._message = None
        return parts

    async def _next(self, parts: Parts) -> T:
        if not self._is_sent:
            await self._target.mailbox.put(self._request)
            self._is_sent = True
        await parts.arrived()
        return self._take(parts)

    def _take(self, parts: Parts) -> T:
        try:
            part: Any = parts.take()
        except BaseException:
            self._ended = True
            raise
        if part is END:
            self._ended = True
            raise StopAsyncIteration
        return part  # type: ignore[no-any-return]  # the type is a promise of the message

    def close(self) -> None:
        """Take no more parts. If the reply is not complete, the actor learns that its caller has left. Idempotent.

        The parts in the buffer are dropped.
        """
        self._ended = True
        if self._is_sent and self._request is not None and not self._request.done:
            self._target.mailbox.home.check()
            self._request.abandon()
        if self._parts is not None:
            self._parts.items.clear()

    def __del__(self) -> None:
        # Python may free this in another thread, or in the middle of other code. So the loop makes the change later.
        if self._is_sent and self._token is not None and self._request is not None and not self._request.done:
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._request.abandon)
