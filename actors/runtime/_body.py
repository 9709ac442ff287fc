"""The lasting parts of one actor: its place in the tree, its mailbox, its counters and its watchers."""

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
    """The children that an actor is one of, as the actor sees them."""

    @property
    def system(self) -> Runtime:
        """The services of their system."""
        ...

    @property
    def cell(self) -> Body | None:
        """The parent actor; None at the root."""
        ...

    def on_up(self, cell: Body) -> None:
        """Be notified that an incarnation of the child has come up."""
        ...

    def on_exit(self, cell: Body, reason: ExitReason, seconds: float) -> float | None:
        """Be notified that an incarnation has ended, ``seconds`` after it came up. Return the delay of the next one.

        The delay is in seconds: None for no further incarnation, ``math.inf`` if the children begin it themselves.
        """
        ...

    def on_ended(self, cell: Body, reason: ExitReason) -> None:
        """Be notified that the child has ended for good."""
        ...


class EndedOwner:
    """The owner of the mailbox of an actor that has ended."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def discard(self, item: object, why: Undelivered) -> None:
        """Do nothing: the mailbox of an ended actor accepts no items, and so drops none."""


class Body(Course):
    """The parts of one actor that last over all its incarnations, and the dead letters of its mailbox."""

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
        """The children that it is one of; None after it has ended for good."""
        self.spec = spec
        self.make: Callable[[], Instance] | None = make
        """Factory of the instance of each incarnation; None after it has ended for good."""
        self.mailbox = Mailbox(self, spec.mailbox, self.system.home)
        self.task: trio.lowlevel.Task | None = None
        """The actor's own task. It runs all incarnations."""
        self.handled = 0
        """Number of messages handled, over all incarnations."""
        self.failed = 0
        """Number of messages on which an incarnation ended."""
        self.restarts: int = 0
        """Number of restarts."""
        self.final_path = ""
        """Path of an actor that has ended, and does not hold its parent any more."""
        self._watchers: dict[Watcher, None] | None = None

    @property
    def path(self) -> str:
        """Path in the tree."""
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
        """Make the current message a dead letter: the actor ended on it. An ask gets ``error``."""
        self.failed += 1
        if isinstance(item, Request):
            item.settle(outcome.Error(error))
            item = item.message
        self.system.office.publish(item, self.path, Undelivered.FAILED, cause)

    def discard(self, item: object, why: Undelivered) -> None:
        """Make an item a dead letter, and let an ask fail. A given-up request is no dead letter."""
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
        """Make a reply a dead letter: its caller no longer waits."""
        self.system.office.publish(reply, self.path, Undelivered.LATE_REPLY)

    # Watchers

    @property
    def watchers(self) -> int:
        """Number of watchers."""
        return len(self._watchers or ())

    def add_watcher(self, watcher: Watcher) -> None:
        """Notify ``watcher`` when the actor has ended for good."""
        if self._watchers is None:
            self._watchers = {}
        self._watchers[watcher] = None

    def remove_watcher(self, watcher: Watcher) -> None:
        """Do not notify ``watcher`` any more."""
        if self._watchers is not None:
            self._watchers.pop(watcher, None)

    def notify_watchers(self, reason: ExitReason) -> None:
        """Notify all watchers that the actor has ended for good, and forget them."""
        watchers, self._watchers = self._watchers, None
        for watcher in watchers or ():
            watcher.on_terminated(Terminated(self.ref, reason))


def cause_of(reason: ExitReason) -> BaseException | None:
    """Return the exception of an exit reason, if it has one."""
    return reason.exception if isinstance(reason, (Failure, Killed)) else None
