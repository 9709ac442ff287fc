"""The lasting parts of one actor: its position in the tree, its mailbox, its counters and its watchers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import outcome

from actors.errors import MailboxFull, MessageUnhandled
from actors.runtime._course import Course
from actors.runtime._dead_letters import Undelivered
from actors.runtime._lifecycle import ExitReason, Failure, Killed
from actors.runtime._mailbox import Mailbox
from actors.runtime._ref import Terminated
from actors.runtime._request import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    import trio

    from actors.runtime._instance import Instance
    from actors.runtime._ref import ActorRef, Watcher
    from actors.runtime._runtime import Runtime
    from actors.runtime._spec import ChildSpec


class Parent(Protocol):
    """The group of siblings to which an actor belongs, with the methods that the actor calls on it."""

    @property
    def system(self) -> Runtime:
        """Runtime services of the system to which the children belong."""
        ...

    @property
    def cell(self) -> Body | None:
        """The parent actor; None at the root."""
        ...

    def on_up(self, cell: Body) -> None:
        """Receive the notice that an incarnation of the child has started."""
        ...

    def on_exit(self, cell: Body, reason: ExitReason, seconds: float) -> float | None:
        """Receive the notice that an incarnation of the child has ended, ``seconds`` after its start. Return the delay.

        The delay is the number of seconds until the next incarnation. None means that no further incarnation follows;
        ``math.inf`` means that this group will begin the next incarnation.
        """
        ...

    def on_ended(self, cell: Body, reason: ExitReason) -> None:
        """Receive the notice that the child has ended and is not restarted."""
        ...


class EndedOwner:
    """The owner of the mailbox of an actor that has ended."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def discard(self, item: object, why: Undelivered) -> None:
        """Do nothing: the mailbox of an actor that has ended accepts no items, so it has none to drop."""


class Body(Course):
    """The parts of one actor that stay the same over all its restarts. It also reports the mailbox's dead letters."""

    __slots__ = (
        "_watchers",
        "failed",
        "final_path",
        "handled",
        "mailbox",
        "make",
        "parent",
        "restarts",
        "spec",
        "system",
        "task",
    )

    def __init__(self, parent: Parent, spec: ChildSpec, make: Callable[[], Instance]) -> None:
        super().__init__()
        self.system = parent.system
        self.parent: Parent | None = parent
        """Group of siblings to which the actor belongs; None after the final end of the actor."""
        self.spec = spec
        self.make: Callable[[], Instance] | None = make
        """Function that makes the instance of each incarnation; None after the final end of the actor."""
        self.mailbox = Mailbox(self, spec.mailbox, self.system.home)
        self.task: trio.lowlevel.Task | None = None
        """The actor's own task. It runs all incarnations."""
        self.handled = 0
        """Number of messages handled, over all incarnations."""
        self.failed = 0
        """Number of messages that were being handled when an incarnation failed or was killed."""
        self.restarts: int = 0
        """Number of restarts of the actor."""
        self.final_path = ""
        """Path of the actor after its end, when the path can no longer be made from its parent."""
        self._watchers: dict[Watcher, None] | None = None

    @property
    def path(self) -> str:
        """Path of the actor in the tree."""
        names: list[str] = []
        cell: Body | None = self
        while cell is not None and cell.parent is not None:
            names.append(cell.spec.id)
            cell = cell.parent.cell
        above = "" if cell is None else cell.final_path
        return "/".join([above, *reversed(names)])

    @property
    def ref(self) -> ActorRef:
        """The handle on the actor. Subclasses make it."""
        raise NotImplementedError

    # Messages that were not handled

    def drop_failed(self, item: object, error: Exception, cause: BaseException | None) -> None:
        """Turn a message into a dead letter, because the actor ended while handling it. An ask raises ``error``."""
        self.failed += 1
        if isinstance(item, Request):
            item.settle(outcome.Error(error))
            item = item.message
        self.system.office.publish(item, self.path, Undelivered.FAILED, cause)

    def discard(self, item: object, why: Undelivered) -> None:
        """Turn an item into a dead letter, and make it fail if it is an ask. An ask that was given up is dropped."""
        if isinstance(item, Request):
            if not item.settle(outcome.Error(self._refusal(why))):
                return
            item = item.message
        self.system.office.publish(item, self.path, why)

    def _refusal(self, why: Undelivered) -> Exception:
        """Return the error of an ask after its message became a dead letter."""
        match why:
            case Undelivered.OVERFLOW:
                return MailboxFull(f"the mailbox of {self.path} was full: the message was dropped")
            case Undelivered.UNHANDLED:
                return MessageUnhandled(f"{self.path} does not handle this message")
            case _:
                return self.mailbox.refusal()

    def late(self, reply: object) -> None:
        """Turn a reply into a dead letter, because the caller no longer waits."""
        self.system.office.publish(reply, self.path, Undelivered.LATE_REPLY)

    # Watchers

    @property
    def watchers(self) -> int:
        """Number of actors that watch this actor."""
        return len(self._watchers or ())

    def add_watcher(self, watcher: Watcher) -> None:
        """Notify ``watcher`` when the actor has ended and is not restarted."""
        if self._watchers is None:
            self._watchers = {}
        self._watchers[watcher] = None

    def remove_watcher(self, watcher: Watcher) -> None:
        """Do not notify ``watcher`` any more."""
        if self._watchers is not None:
            self._watchers.pop(watcher, None)

    def notify_watchers(self, reason: ExitReason) -> None:
        """Notify all watchers that the actor has ended and is not restarted. Then forget the watchers."""
        watchers, self._watchers = self._watchers, None
        for watcher in watchers or ():
            watcher.on_terminated(Terminated(self.ref, reason))


def cause_of(reason: ExitReason) -> BaseException | None:
    """Return the exception of an exit reason; None if the reason has none."""
    return reason.exception if isinstance(reason, (Failure, Killed)) else None
