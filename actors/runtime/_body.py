"""The parts of one actor that last over its restarts: position in the tree, mailbox, counters and watchers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import outcome

from actors.errors import MailboxFull, MessageUnhandled, RestartLimit
from actors.failures import is_a, members
from actors.runtime._course import Course
from actors.runtime._dead_letters import Undelivered
from actors.runtime._lifecycle import ExitReason, Failure, Killed
from actors.runtime._mailbox import Mailbox
from actors.runtime._ref import Terminated
from actors.runtime._request import PendingAsk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import trio

    from actors.runtime._instance import Instance
    from actors.runtime._ref import ActorRef, Watcher
    from actors.runtime._runtime import Runtime
    from actors.runtime._spec import ChildSpec


class Parent(Protocol):
    """The interface of a parent's group of children. Each child calls it to report its own start and end."""

    @property
    def system(self) -> Runtime:
        """The services that all actors of the system share."""
        ...

    @property
    def cell(self) -> Body | None:
        """The parent actor; None if the parent is the system itself."""
        ...

    def on_up(self, cell: Body) -> None:
        """Receive the notice that the child is up, after its first start or a restart."""
        ...

    def on_exit(self, cell: Body, reason: ExitReason, seconds: float) -> float | None:
        """Receive the notice that a child has ended. ``seconds`` is the time for which the child was up.

        Return the delay of the child's restart, in seconds. Return None if the child is not restarted. Return
        ``math.inf`` if a later call starts the child again, together with other children.
        """
        ...

    def on_ended(self, cell: Body, reason: ExitReason) -> None:
        """Receive the notice that the child has ended permanently: it is not restarted."""
        ...


class EndedOwner:
    """A small object that owns the mailbox of an ended actor, so that the mailbox does not keep the actor in memory."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def discard(self, item: object, why: Undelivered) -> None:
        """Do nothing: the mailbox of an actor that has ended accepts no items, so there are none to drop."""


class Body(Course):
    """The parts of one actor that stay the same over all its restarts.

    The class also turns messages that the actor does not handle into dead letters.
    """

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

    mailbox_kind: ClassVar[type[Mailbox]] = Mailbox
    """Class of the actor's mailbox."""

    def __init__(self, parent: Parent, spec: ChildSpec, make: Callable[[], Instance]) -> None:
        super().__init__()
        self.system = parent.system
        self.parent: Parent | None = parent
        """The group of children to which the actor belongs; None after the permanent end of the actor."""
        self.spec = spec
        self.make: Callable[[], Instance] | None = make
        """Function that makes a new instance of the actor for each start and restart; None after the permanent end."""
        self.mailbox = self.mailbox_kind(self, spec.mailbox, self.system.home)
        self.task: trio.lowlevel.Task | None = None
        """The actor's own task. The same task runs the actor after each restart."""
        self.handled = 0
        """Number of messages that the actor has handled. Restarts do not reset it."""
        self.failed = 0
        """Number of messages that were not handled completely, because the actor failed or was killed.

        Restarts do not reset it.
        """
        self.restarts: int = 0
        """Number of restarts of the actor."""
        self.final_path = ""
        """Path of the actor, stored at its end: an ended actor has no parent from which the path could be made."""
        self._watchers: dict[Watcher, None] | None = None

    @property
    def path(self) -> str:
        """Path of the actor in the tree."""
        names: list[str] = []
        cell: Body | None = self
        while cell is not None and cell.parent is not None:
            names.append(cell.spec.id)
            cell = cell.parent.cell
        # The loop has ended at the root, or at an actor that has ended and so has no parent any more.
        above = "" if cell is None else cell.final_path
        return "/".join([above, *reversed(names)])

    @property
    def ref(self) -> ActorRef[Any, Any]:
        """Handle of the actor. A subclass must define this."""
        raise NotImplementedError

    # Messages that were not handled

    def drop_failed(self, item: object, error: Exception, cause: BaseException | None) -> None:
        """Turn a message into a dead letter, because the actor ended while it handled the message.

        If the message is an ask, its caller gets ``error``.
        """
        self.failed += 1
        if isinstance(item, PendingAsk):
            item.settle(outcome.Error(error))
            item = item.message
        self.system.office.publish(item, self.path, Undelivered.FAILED, cause)

    def discard(self, item: object, why: Undelivered) -> None:
        """Turn a message into a dead letter. If the message is an ask, its caller gets an error.

        An ask for which no caller waits any more is dropped without a dead letter.
        """
        if isinstance(item, PendingAsk):
            if not item.settle(outcome.Error(self._refusal(why))):
                return
            item = item.message
        self.system.office.publish(item, self.path, why)

    def _refusal(self, why: Undelivered) -> Exception:
        """Return the error that an ask raises after its message became a dead letter for the cause ``why``."""
        match why:
            case Undelivered.OVERFLOW:
                return MailboxFull(f"the mailbox of {self.path} was full: the message was dropped")
            case Undelivered.UNHANDLED:
                return MessageUnhandled(f"{self.path} does not handle this message")
            case _:
                return self.mailbox.refusal()

    def late(self, reply: object) -> None:
        """Turn a reply to an ask into a dead letter, because the caller no longer waits."""
        self.system.office.publish(reply, self.path, Undelivered.LATE_REPLY)

    # Watchers

    @property
    def watchers(self) -> int:
        """Number of actors that watch this actor."""
        return len(self._watchers or ())

    def add_watcher(self, watcher: Watcher) -> None:
        """Add a watcher. It is notified when the actor has ended permanently."""
        if self._watchers is None:
            self._watchers = {}
        self._watchers[watcher] = None

    def remove_watcher(self, watcher: Watcher) -> None:
        """Remove a watcher, so that it is not notified."""
        if self._watchers is not None:
            self._watchers.pop(watcher, None)

    def notify_watchers(self, reason: ExitReason) -> None:
        """Notify all watchers that the actor has ended permanently. Then forget the watchers."""
        watchers, self._watchers = self._watchers, None
        for watcher in watchers or ():
            watcher.on_terminated(Terminated(self.ref, reason))


def cause_of(reason: ExitReason) -> BaseException | None:
    """Return the exception that an exit reason contains; None if the actor ended without an exception."""
    return reason.exception if isinstance(reason, (Failure, Killed)) else None


def limits_in(reason: ExitReason) -> Sequence[RestartLimit]:
    """Return each RestartLimit in an exit reason.

    There can be several, because an actor can fail again while it ends.
    """
    if not isinstance(reason, Failure):
        return ()
    held = members(reason.exception) or (reason.exception,)
    return [cast("RestartLimit", each) for each in held if is_a(each, RestartLimit)]
