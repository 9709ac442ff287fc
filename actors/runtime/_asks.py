"""The messages that an actor handles or answers later: stashed messages, and asks with a deferred answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import outcome

from actors.errors import ReplyDropped
from actors.runtime._request import PendingAsk

if TYPE_CHECKING:
    from collections.abc import Callable


class Owner(Protocol):
    """The incarnation (an actor's life between two restarts) to which the stash and the deferred asks belong."""

    @property
    def path(self) -> str:
        """Path of the actor in the tree."""
        ...

    @property
    def current(self) -> object:
        """The message that is being handled. If the message is an ask, its PendingAsk (the message with its caller)."""
        ...

    @property
    def is_cut_short(self) -> bool:
        """Whether the whole actor was cancelled, or its incarnation (life until the next restart) has ended."""
        ...

    def on_all_answered(self) -> None:
        """Receive the notice that no deferred ask is left: all of them are answered or given up."""
        ...


class LateAnswers:
    """The stash and the deferred asks of one incarnation (an actor's life between two restarts).

    The object is made only when it is first needed, because most actors never stash or defer.
    """

    __slots__ = ("_owner", "deferred", "stash")

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self.stash: list[object] = []
        """The stashed messages, oldest first. An ask is stashed as its PendingAsk."""
        self.deferred: dict[PendingAsk, int] = {}
        """The deferred asks, each with the number of its Reply objects that still exist."""

    def put_aside(self, item: object) -> None:
        """Add the current message to the stash."""
        self.stash.append(item)
        if isinstance(item, PendingAsk):
            self._keep(item)

    def take_stash(self) -> list[object]:
        """Empty the stash, and return its items, oldest first."""
        stashed, self.stash = self.stash, []
        return stashed

    def defer(self, request: PendingAsk) -> None:
        """Record that the answer to ``request`` is deferred, and that one more Reply object for the request exists."""
        self._keep(request)
        self.deferred[request] = self.deferred.get(request, 0) + 1

    def _keep(self, request: PendingAsk) -> None:
        """Mark a request: its answer comes later, so the return value of ``receive`` is not the answer."""
        request.kept = True
        request.keeper = self

    def forget(self, request: PendingAsk) -> None:
        """Remove a request from the deferred requests (asks that the actor answers later).

        After the last deferred request, notify the owner: a stop that waits for all answers can then continue.
        """
        if self.deferred.pop(request, None) is not None and not self.deferred:
            self._owner.on_all_answered()

    def give_up(self, request: PendingAsk) -> None:
        """Drop a stashed or deferred request, because its caller no longer waits for the answer."""
        self.forget(request)
        if self.stash:
            self.stash = [item for item in self.stash if item is not request]
        # Free the message, unless the actor is handling it now. A Reply that still exists keeps the request in memory.
        if self._owner.current is not request:
            request.message = None

    def on_reply_freed(self, request: PendingAsk) -> None:
        """Count that Python freed a Reply of the request unused.

        If that was the last Reply of the request, make the ask fail with ReplyDropped.
        """
        # If the whole actor is cancelled, so is the work for the reply. The caller then gets the error of that end.
        if request.done or self._owner.is_cut_short or request not in self.deferred:
            return
        self.deferred[request] -= 1
        if self.deferred[request] == 0:
            self.forget(request)
            # A stashed request is handled again later, and can be answered then.
            if not any(item is request for item in self.stash):
                request.settle(outcome.Error(ReplyDropped(f"{self._owner.path} lost its reply to this message")))

    def fail_all(self, error: Callable[[], Exception]) -> None:
        """Make every deferred ask raise an exception. ``error`` makes a new exception for each ask."""
        deferred, self.deferred = self.deferred, {}
        for request in deferred:
            request.settle(outcome.Error(error()))
