"""The asks that an incarnation answers later, and the stash of the incarnation."""

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
        """Path of the incarnation's actor in the tree."""
        ...

    @property
    def current(self) -> object:
        """The message or Request that is being handled."""
        ...

    @property
    def is_cut_short(self) -> bool:
        """Whether the whole incarnation is cancelled, or has ended."""
        ...

    def on_all_answered(self) -> None:
        """Receive the notice that the last deferred ask is answered."""
        ...


class LateAnswers:
    """The stash and the deferred asks of one incarnation. It is made when it is first needed: most actors have none."""

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
        """Record that one more Reply exists for the current request."""
        self._keep(request)
        self.deferred[request] = self.deferred.get(request, 0) + 1

    def _keep(self, request: Request) -> None:
        """Mark a request: it is answered later, and not by the return value of ``receive``."""
        request.kept = True
        request.keeper = self

    def forget(self, request: Request) -> None:
        """Drop a deferred request. If it was the last one, a draining stop that waited for it continues."""
        if self.deferred.pop(request, None) is not None and not self.deferred:
            self._owner.on_all_answered()

    def give_up(self, request: Request) -> None:
        """Drop a stashed or deferred request, because its caller gave up."""
        self.forget(request)
        if self.stash:
            self.stash = [item for item in self.stash if item is not request]
        # Free the message unless it is being handled: a Reply that is kept holds the request.
        if self._owner.current is not request:
            request.message = None

    def on_reply_freed(self, request: Request) -> None:
        """Make a request fail with ReplyDropped if Python freed its last Reply."""
        # When the incarnation is cancelled, the work for the reply is too. The caller then gets the error of the end.
        if request.done or self._owner.is_cut_short or request not in self.deferred:
            return
        self.deferred[request] -= 1
        if self.deferred[request] == 0:
            self.forget(request)
            if not any(item is request for item in self.stash):
                request.settle(outcome.Error(ReplyDropped(f"{self._owner.path} lost its reply to this message")))

    def fail_all(self, error: Callable[[], Exception]) -> None:
        """Make each deferred ask fail with a new exception from ``error()``."""
        deferred, self.deferred = self.deferred, {}
        for request in deferred:
            request.settle(outcome.Error(error()))
