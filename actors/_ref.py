"""The handle on an actor: all that others ever hold of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from actors._lifecycle import DRAIN, STOP, ExitReason
from actors._mailbox import FAIR_SENDS, MailboxStatistics, Request
from actors._spec import check_seconds
from actors.errors import AskTimeout

if TYPE_CHECKING:
    from actors._cell import Cell


@attrs.frozen
class ActorStatistics:
    """How one actor stands."""

    path: str
    """Its place in the tree, from the root."""
    state: str
    """starting, running, stopping, restarting or terminated."""
    handled: int
    """Messages handled, over all incarnations."""
    failed: int
    """Messages it failed on, or was killed on."""
    restarts: int
    """How often it was restarted."""
    tasks: int
    """Tasks in its nursery now."""
    children: int
    """Actors below it now."""
    timers: int
    """Timers that are set."""
    stashed: int
    """Messages put aside."""
    leases: int
    """Leases held against reaping."""
    watchers: int
    """Actors that wait for its end."""
    mailbox: MailboxStatistics
    """Its data lane."""


class ActorRef:
    """The handle on an actor, over all its restarts. Comes from ``spawn``; has no public constructor.

    ``tell`` passes a checkpoint now and then, not on every call: once in 64 messages to a mailbox, and whenever it has
    to wait. A message is in the mailbox when it returns, and is not when it raises.
    """

    __slots__ = ("__weakref__", "_cell", "_mailbox")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._mailbox = cell.mailbox

    @property
    def path(self) -> str:
        """Its place in the tree: ``/`` and the names from the root down."""
        return self._cell.path

    @property
    def name(self) -> str:
        """Its name, unique among the living children of its parent."""
        return self._cell.spec.id

    @property
    def alive(self) -> bool:
        """Whether it has not ended for good; one that is being restarted is alive."""
        return self._cell.reason is None

    async def tell(self, message: object) -> None:
        """Put a message into the mailbox; wait while it is full.

        Raises ActorTerminated when the actor has ended, is stopping, or ends while this waits; MailboxFull under the
        ``reject`` policy. Cancelled: the message was not sent.
        """
        mailbox = self._mailbox
        if mailbox.accepted % FAIR_SENDS == FAIR_SENDS - 1:
            await trio.lowlevel.checkpoint()
        if not mailbox.offer(message):
            await mailbox.put(message)

    def tell_nowait(self, message: object) -> None:
        """Put a message into the mailbox, or raise MailboxFull or ActorTerminated."""
        self._mailbox.put_nowait(message)

    async def ask(self, message: object, timeout: float | None = None) -> object:  # noqa: ASYNC109  -- the contract
        """Send a message and wait for what ``receive`` returns for it.

        Raises ActorTerminated at once when the actor has ended, is stopping, or ends before it replied; ActorRestarted
        when it failed on this message and goes on; MessageUnhandled when it does not know it; MailboxFull when the
        mailbox refused or dropped it; AskTimeout after ``timeout`` seconds, those spent waiting for room included.

        After a timeout, or cancelled: a message that still waits is skipped, work that has begun for it is cancelled,
        and a reply that comes all the same is a dead letter.
        """
        if trio.lowlevel.current_task() is self._cell.task:
            raise RuntimeError(f"{self.path} asks itself: it would wait for ever")
        if timeout is None:
            return await self._ask(message)
        with trio.move_on_after(timeout):
            return await self._ask(message)
        raise AskTimeout(f"{self.path} did not reply within {timeout} s")

    async def _ask(self, message: object) -> object:
        request = Request(message, self._mailbox)
        if not self._mailbox.offer(request):
            await self._mailbox.put(request)
        return await request.wait()

    async def stop(self, *, drain: bool = False, timeout: float | None = None) -> ExitReason:  # noqa: ASYNC109  -- the contract
        """End the actor for good, whatever its restart type, and return the reason when nothing of it is left.

        New messages are refused from this call on. The message in hand is finished, with ``drain`` those in the mailbox
        too (without it they are dead letters); then its children stop, ``stopping()`` runs, its nursery is cancelled.
        After ``timeout`` seconds (default: the ``shutdown`` of its spec) everything is cancelled, a second later
        shielded work as well, and the reason is Killed; 0 does all that at once. Stopping a dead actor returns its
        reason.

        Raises RuntimeError when the actor's own task calls it: that is ``context.stop()``. Cancelled: the stop goes on.
        """
        cell = self._cell
        if trio.lowlevel.current_task() is cell.task:
            raise RuntimeError(f"{self.path} waits for its own end; use context.stop()")
        seconds = cell.spec.seconds if timeout is None else timeout
        check_seconds(seconds, "timeout")
        cell.stop_soon(DRAIN if drain else STOP, seconds)
        return await cell.gone()

    def kill(self) -> None:
        """End the incarnation now, shielded work too, without ``stopping()``; reason Killed.

        Its supervisor takes that for a failure: a permanent or transient actor comes back. Nothing happens to one that
        has ended or is being restarted. Returns before the end: wait for ``terminated()``.
        """
        self._cell.kill()

    async def terminated(self) -> ExitReason:
        """Wait until it has ended for good; the reason. Cancelled: nothing happened."""
        return await self._cell.gone()

    def statistics(self) -> ActorStatistics:
        """How it stands now."""
        return self._cell.statistics()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path} {self._cell.state}>"


def cell_of(ref: ActorRef) -> Cell:
    """Give the runtime's own modules the body behind a ref, which shows users nothing of it."""
    return ref._cell  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  -- the one place


@attrs.frozen
class Terminated:
    """What a watcher receives, once, when a watched actor has ended for good."""

    ref: ActorRef
    reason: ExitReason
