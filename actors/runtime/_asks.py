"""The asks that an incarnation answers later, and its stash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import outcome

from actors.errors import ReplyDropped
from actors.runtime._request import Request

if TYPE_CHECKING:
    from collections.abc import Callable


class Owner(Protocol):
    """The incarnation that stashed or deferred messages."""

    @property
    def path(self) -> str:
        """Path of its actor in the tree."""
        ...

    @property
    def current(self) -> object:
        """The message or Request that is being handled."""
        ...

    @property
    def is_cut_short(self) -> bool:
        """Whether all of it is cancelled, or over."""
        ...

    def on_all_answered(self) -> None:
        """Be notified that the last deferred ask is answered."""
        ...


class LateAnswers:
    """The stash and the deferred asks of one incarnation. Made with the first one, since most actors have none."""

    __slots__ = ("_owner", "deferred", "stash")

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self.stash: list[object] = []
        """The stashed messages and Requests, oldest first."""
        self.deferred: dict[Request, int] = {}
        """The asks that are answered later, with the number of their replies that exist."""

    def put_aside(self, item: object) -> None:
        """Add the current message to the stash."""
        self.stash.append(item)
        if isinstance(item, Request):
            self._keep(item)

    def take_stash(self) -> list[object]:
        """Empty the stash, and return its items, oldest first."""
        stashed, self.stash = self.stash, []
        return stashed

    def defer(self, request: Request) -> None:
        """Record that the current request has one reply more."""
        self._keep(request)
        self.deferred[request] = self.deferred.get(request, 0) + 1

    def _keep(self, request: Request) -> None:
        """Mark a request as answered later than by the return value of ``receive``."""
        request.kept = True
        request.keeper = self

    def forget(self, request: Request) -> None:
        """Drop a deferred request. A draining stop that waited for the last one goes on."""
        if self.deferred.pop(request, None) is not None and not self.deferred:
            self._owner.on_all_answered()

    def give_up(self, request: Request) -> None:
        """Drop a request, stashed or deferred: its caller gave up."""
        self.forget(request)
        if self.stash:
            self.stash = [item for item in self.stash if item is not request]
        # Free the message unless it is being handled: a Reply that is kept holds the request.
        if self._owner.current is not request:
            request.message = None

    def on_reply_freed(self, request: Request) -> None:
        """Let a request fail with ReplyDropped if the freed reply was its last one."""
        # When the incarnation is cancelled, the work for the reply is too. The caller then gets the error of the end.
        if request.done or self._owner.is_cut_short or request not in self.deferred:
            return
        self.deferred[request] -= 1
        if self.deferred[request] == 0:
            self.forget(request)
            if not any(item is request for item in self.stash):
                request.settle(outcome.Error(ReplyDropped(f"{self._owner.path} lost its reply to this message")))

    def fail_all(self, error: Callable[[], Exception]) -> None:
        """Let each deferred ask fail with an ``error()`` of its own."""
        deferred, self.deferred = self.deferred, {}
        for request in deferred:
            request.settle(outcome.Error(error()))
