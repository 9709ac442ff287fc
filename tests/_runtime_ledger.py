"""The rules of the actor runtime that every random run must keep, and the records by which they are checked.

The actors and users of a random run report their actions and observations. Each rule is checked in one method here. A
broken rule is a line in ``faults``. Nothing here draws a random number or lets time pass, so the checks do not change a
run.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import trio
from _runtime_records import (
    GROUP_STRATEGIES,
    ROUNDING,
    Answer,
    ChildGroup,
    Letter,
    Life,
    Placement,
    is_consistent_ask,
    is_consistent_tell,
    is_expected,
    leaf_errors,
)

from actors import (
    ActorTerminated,
    AskTimeout,
    DeadLetter,
    Failure,
    Killed,
    Normal,
    Restart,
    RestartLimit,
    Shutdown,
    Strategy,
    Undelivered,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from actors import ActorRef, ActorSystem, ExitReason, TreeNode


class Ledger:
    """The records of one random run, and the texts of its broken rules."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.letters: list[Letter] = []
        self.root = ChildGroup(path="/")
        self.groups: list[ChildGroup] = [self.root]
        self.lives: dict[ActorRef, list[Life]] = {}
        self.running: dict[str, Life] = {}
        """Lives of the actors that have an open nursery, by path."""
        self.stopped: set[ActorRef] = set()
        """Actors for which a permanent stop was requested."""
        self.refusing: set[ActorRef] = set()
        """Actors that refused a message because they end permanently."""
        self.killed: set[ActorRef] = set()
        self.reasons: dict[ActorRef, ExitReason] = {}
        self._events = itertools.count(1)
        self._last: dict[tuple[trio.lowlevel.Task, ActorRef], int] = {}
        self._last_unstashed: dict[tuple[Life, int], int] = {}
        self._cancelled_asks: Counter[ActorRef] = Counter()
        self._handled: Counter[ActorRef] = Counter()

    def check(self, holds: object, fault: str) -> None:
        """Add the text ``fault`` to the broken rules unless ``holds`` is true."""
        if not holds:
            self.faults.append(fault)

    def group_of(self, supervisor: ActorRef, strategy: str) -> ChildGroup:
        """Return the record of a supervisor's children.

        If there is none, return an empty record that is not checked.
        """
        path = supervisor.path
        found = (each for each in reversed(self.groups) if each.path == path and each.is_spec)
        group = next((each for each in found if each.strategy == strategy), None)
        return group or ChildGroup(Strategy.ONE_FOR_ALL, is_single=False, is_complete=False)

    def new_group(self) -> ChildGroup:
        """Make and return a new record of a supervisor's children."""
        group = ChildGroup(is_spec=True)
        self.groups.append(group)
        return group

    # Lives

    def on_made(self, placement: Placement) -> Life:
        """Record that an instance of an actor is made."""
        placement.group.instances += 1
        life = Life(placement)
        self.groups.append(life.group)
        return life

    def on_starting(self, life: Life, ref: ActorRef) -> None:
        """Record that ``started()`` is called.

        Check that no earlier life of the actor, and no child of it, still runs.
        """
        life.ref, path, group = ref, ref.path, life.placement.group
        life.group.path, group.path = path, path.rpartition("/")[0] or "/"
        lives = self.lives.setdefault(ref, [])
        self.check(ref not in self.stopped, f"the stop of {path} was undone")
        self.check(ref not in self.refusing, f"{path} refused a message for good, and lives on")
        below = [each for each in self.running if each == path or each.startswith(f"{path}/")]
        self.check(not below, f"{path} starts while {below} run")
        self.check(len(lives) <= ref.statistics().restarts, f"{path} has more lives than restarts")
        group.actors[life.placement] += not lives
        if lives:
            self._check_restart(life, lives[-1], path)
        group.down.discard(life.placement)
        lives.append(life)
        self.running[path] = life

    def _check_restart(self, life: Life, before: Life, path: str) -> None:
        """Check that the actor may be restarted after the end of its life ``before``."""
        placement, group = life.placement, life.placement.group
        self.check(placement.restart is not Restart.TEMPORARY, f"{path} is temporary, and was restarted")
        if group.strategy in GROUP_STRATEGIES:
            self._check_group_restart(life, path)
        elif not (placement.has_backoff or placement.is_apart):
            group.restarts.append(trio.current_time())
        # Nothing is before the first of a group. A first child that was started by hand while its group was halted
        # is a member of that group.
        is_first = group.strategy is Strategy.REST_FOR_ONE and placement.place == 0 and group.actors[placement] == 1
        is_alone = group.strategy not in GROUP_STRATEGIES or is_first
        if before.failed or before.cancelled_itself or before.ref in self.killed or not is_alone:
            return
        was_halted = isinstance(before.stop_reason, Shutdown) and not before.stopped_itself
        self.check(not was_halted, f"{path} was restarted because of another")
        is_done = (
            before.stopping_returned and isinstance(before.stop_reason, (Normal, Shutdown)) and before.group.is_empty
        )
        self.check(
            not (is_done and placement.restart is Restart.TRANSIENT),
            f"{path} is transient, was done, and was restarted",
        )

    def _check_group_restart(self, life: Life, path: str) -> None:
        """Check that no member of the group still runs that was up before the group's first end."""
        placement, group = life.placement, life.placement.group
        # Supervisors do not report their ends: one of them may have ended first.
        first = group.first if group.is_complete else 0
        for other in self.running.values():
            is_after = group.strategy is Strategy.ONE_FOR_ALL or other.placement.place > placement.place
            runs_on = (
                other.placement.group is group
                and other.placement is not placement
                and is_after
                and 0 < other.up_at < first
            )
            self.check(not runs_on, f"{path} was restarted without its group")

    def on_started(self, life: Life) -> None:
        """Record that ``started()`` of an actor returns."""
        life.up_at = next(self._events)

    def on_ended(self, life: Life, path: str) -> None:
        """Record that an actor's nursery is closed: the end of the actor, or a restart."""
        life.ended_at = next(self._events)
        group = life.placement.group
        if life.placement.restart is not Restart.TEMPORARY:
            group.first = group.first if group.down else life.ended_at
            group.down.add(life.placement)
        self.check(self.running.pop(path, None) is life, f"{path} ran twice")

    def on_stopping(self, life: Life, path: str, reason: ExitReason) -> None:
        """Record that ``stopping()`` is called. Check the rules for it.

        It is called once, only after the start, not while a message is being handled, and not after a kill.
        """
        self.check(life.up_at, f"{path} stops, and never came up")
        self.check(life.stop_reason is None, f"{path} stops twice")
        self.check(not life.is_busy, f"{path} stops with a message in hand")
        self.check(not isinstance(reason, Killed), f"{path} was killed, and stops")
        below = [each for each in self.running if each.startswith(f"{path}/")]
        self.check(not below, f"{path} stops while {below} run")
        life.stop_reason = reason

    def on_before_restart(self, life: Life, path: str, reason: ExitReason) -> None:
        """Record that ``before_restart()`` is called. Check that the actor was up, has ended, and was not killed."""
        self.check(life.up_at and life.ended_at, f"{path} is restarted, and has not ended")
        self.check(not life.is_closing, f"{path} is about to be restarted twice")
        self.check(not isinstance(reason, Killed), f"{path} was killed, and has a hook")
        self.check(path not in self.running, f"{path} runs before its restart")
        life.is_closing = True

    def on_after_restart(self, life: Life, ref: ActorRef) -> None:
        """Record that ``after_restart()`` is called. Check that it is for a restart, and before the first message."""
        self.check(ref.statistics().restarts, f"{ref.path} was not restarted, and has a hook")
        self.check(self.lives[ref][-1] is life and not life.up_at, f"{ref.path} is up before its hook")

    def on_kill(self, ref: ActorRef) -> None:
        """Record that an actor is about to be killed. If the actor runs, its end will not be graceful."""
        self.killed.add(ref)
        life = self.running.get(ref.path)
        if life is not None and life.ref is ref:
            life.was_killed = True

    def on_end_known(self, ref: ActorRef, reason: ExitReason) -> None:
        """Record that a caller learns of an actor's end.

        Check that all callers get the same reason, and that nothing runs.
        """
        self.check(not ref.alive, f"{ref.path} has ended, and lives")
        self.check(self.reasons.setdefault(ref, reason) is reason, f"{ref.path} ended twice")
        for path, life in self.running.items():
            self.check(life.ref is not ref, f"{path} has ended, and runs")

    # Messages

    def new_letter(self, to: ActorRef, *, is_ask: bool = False) -> Letter:
        """Make and return the record of a new message."""
        task = trio.lowlevel.current_task()
        letter = Letter(len(self.letters), to, task, is_ask, to in self.stopped)
        self.letters.append(letter)
        return letter

    @contextlib.contextmanager
    def sending(self, letter: Letter) -> Generator[Letter]:
        """Send a message inside the block: record the error that the sender gets."""
        try:
            yield letter
        except BaseException as error:
            letter.error = error
            # The error of a message that was forwarded may be that of the other actor.
            if isinstance(error, ActorTerminated) and not letter.forwards:
                self.refusing.add(letter.to)
                if isinstance(error.reason, (Normal, Shutdown, Failure, Killed)):
                    self.on_end_known(letter.to, error.reason)
            raise

    def check_may_receive(self, life: Life, path: str) -> None:
        """Check that an actor may handle a message now: it is up, is not busy and has not stopped."""
        self.check(life.up_at, f"{path} has a message before it is up")
        self.check(not life.is_busy, f"{path} has two messages in hand")
        self.check(life.stop_reason is None, f"{path} has a message after stopping()")

    @contextlib.contextmanager
    def handling(self, life: Life, letter: Letter) -> Generator[None]:
        """Handle a message inside the block: record that the actor is busy with it, and the outcome."""
        assert life.ref is not None
        path, aside = life.ref.path, (letter.stashed, letter.forwards)
        self.check_may_receive(life, path)
        self.check(letter.to is life.ref or letter.forwards, f"{path} has a message for {letter.to.path}")
        self.check(all(ref.alive for ref in life.watching), f"{path} has a message before the end it watches")
        self.check(letter.times_begun <= sum(aside), f"{path} has a message twice")
        if not letter.times_begun:
            key = letter.sender, letter.to
            is_next = letter.by_timer or self._last.get(key, -1) < letter.number
            self.check(is_next, f"{path} has messages of one sender out of order")
            if not letter.by_timer:
                self._last[key] = letter.number
        elif letter.stashed_by is not None:
            is_next = self._last_unstashed.get(letter.stashed_by, -1) < letter.place
            self.check(is_next, f"{path} unstashes messages out of order")
            self._last_unstashed[letter.stashed_by] = letter.place
        letter.times_begun += 1
        life.is_busy = True
        try:
            yield
        except trio.Cancelled:
            self._cancelled_asks[life.ref] += letter.is_ask
            raise
        finally:
            life.is_busy = False
        letter.handled += (letter.stashed, letter.forwards) == aside
        self._handled[life.ref] += 1

    def on_stashed(self, life: Life, letter: Letter) -> None:
        """Record that the actor stashed the message that it handles."""
        letter.stashed += 1
        letter.stashed_by, letter.place = (life, life.unstashed), next(self._events)

    @staticmethod
    def on_unhandled(letter: Letter) -> None:
        """Record that the actor is about to return UNHANDLED for a message that it handled."""
        letter.handled, letter.unhandled = letter.handled - 1, letter.unhandled + 1

    def on_terminated(self, life: Life, ref: ActorRef, reason: ExitReason) -> None:
        """Record that a watcher receives a Terminated message. Check that it gets one for each watch."""
        assert life.ref is not None
        self.check_may_receive(life, life.ref.path)
        self.check(ref in life.watching, f"{life.ref.path} was told twice of the end of {ref.path}")
        life.watching.discard(ref)
        self.on_end_known(ref, reason)

    # While it runs

    def check_now(self, system: ActorSystem, refs: Iterable[ActorRef]) -> None:
        """Check that the tree, ``find`` and the statistics agree now."""
        self.check(_size(system.tree()) == system.statistics().actors, "the tree and the number of actors differ")
        for ref in refs:
            ref.statistics()
            if ref.alive:
                self.check(ref not in self.reasons, f"{ref.path} has ended, and lives again")
                self.check(system.find(ref.path) is ref, f"{ref.path} is in no list")
        for path, life in self.running.items():
            self.check(life.ref is system.find(path), f"{path} runs, and is in no list")

    # At the end

    def check_at_end(self, refs: Iterable[ActorRef], dead: list[DeadLetter]) -> None:
        """Check the rules for a system that has ended."""
        self._check_letters(dead)
        for ref in refs:
            self._check_leftovers(ref)
        for ref, lives in self.lives.items():
            self._check_reason(ref, lives[-1])
        self._check_counts(dead)
        for group in self.groups:
            self._check_limit(group)

    def _check_letters(self, dead: list[DeadLetter]) -> None:
        """Check that every message has come to exactly one end."""
        whys: defaultdict[int, list[Undelivered]] = defaultdict(list)
        late: Counter[int] = Counter()
        for each in dead:
            if isinstance(each.message, Letter):
                whys[each.message.number].append(each.why)
            elif isinstance(each.message, Answer) and each.message.letter.is_ask:
                late[each.message.letter.number] += 1
        for letter in self.letters:
            is_consistent = is_consistent_ask if letter.is_ask else is_consistent_tell
            why = whys[letter.number]
            text = f"letter {letter} is dead for {why}, {late[letter.number]} replies to it are"
            self.check(is_consistent(letter, why), text)
            self.check(not (letter.sent_after_stop and letter.error is None), f"{letter} was accepted after a stop")
            was_abandoned = isinstance(letter.error, (trio.Cancelled, AskTimeout))
            is_late = letter.deferred or letter.streamed or letter.takes_parts
            replies = was_abandoned * (late[letter.number] if is_late else letter.handled)
            self.check(late[letter.number] == replies <= 1, text)

    def _check_leftovers(self, ref: ActorRef) -> None:
        """Check that an ended actor has no task, child, timer, watcher or message left."""
        now = ref.statistics()
        left = now.tasks, now.children, now.timers, now.stashed, now.watchers, now.mailbox.depth
        self.check(not any((*left, now.mailbox.senders_waiting)), f"{ref.path} has left {now}")

    def _check_reason(self, ref: ActorRef, life: Life) -> None:
        """Check that the exit reason of an actor agrees with the events since its last start."""
        reason = self.reasons[ref]
        is_graceful = isinstance(reason, (Normal, Shutdown))
        error = None if isinstance(reason, (Normal, Shutdown)) else reason.exception
        for each in () if error is None else leaf_errors(error):
            self.check(is_expected(each), f"{ref.path} ended with {each!r}")
        if ref.statistics().restarts != len(self.lives[ref]) - 1:
            return  # a later incarnation was counted, and its methods did not run
        self.check(not (is_graceful and life.up_at and life.stop_reason is None), f"{ref.path} never ran stopping()")
        self.check(not (is_graceful and life.failed), f"{ref.path} failed, and ended {reason}")
        self.check(not (is_graceful and life.was_killed), f"{ref.path} was killed, and ended {reason}")
        is_right = (
            life.failed
            or life.cancelled_itself
            or not (life.up_at and life.group.is_empty and isinstance(reason, Failure))
        )
        self.check(is_right, f"{ref.path} did not fail, and ended {reason}")

    def _check_counts(self, dead: list[DeadLetter]) -> None:
        """Compare the statistics of the actors with the recorded messages."""
        failed, dropped = Counter[str](), Counter[str]()
        for each in dead:
            failed[each.path] += each.why is Undelivered.FAILED
            dropped[each.path] += each.why is Undelivered.OVERFLOW
        for ref in self.lives:
            now, path = ref.statistics(), ref.path
            failed[path] -= now.failed
            dropped[path] -= now.mailbox.dropped
            is_right = 0 <= now.handled - self._handled[ref] <= self._cancelled_asks[ref]
            self.check(is_right, f"{path} handled {now.handled}, not {self._handled[ref]}")
        for path in {ref.path for ref in self.lives}:
            self.check(not failed[path], f"{path} counts {-failed[path]} failed messages too many")
            self.check(not dropped[path], f"{path} counts {-dropped[path]} dropped messages too many")

    def _check_limit(self, group: ChildGroup) -> None:
        """Check that the supervisor did not restart its children more often than its limit allows."""
        if not group.is_single:
            return
        times, limit = sorted(group.restarts), group.max_restarts
        for first, one_too_many in zip(times, times[limit:], strict=False):
            is_right = one_too_many - first > group.max_seconds - ROUNDING
            self.check(is_right, f"{group.path} restarted its children more than {limit} times: {times}")

    def came_up(self, ref: ActorRef) -> bool:
        """Return whether the actor came up. If not, the code that started it has got the error.

        A supervisor does not report its start: the start is known only if the supervisor came up.
        """
        lives = self.lives.get(ref)
        return lives is None or any(life.up_at for life in lives)

    def check_gave_up(self, limits: Iterable[RestartLimit]) -> None:
        """Check that each supervisor that gave up had more starts of children than its limit allows restarts."""
        for limit in limits:
            groups = [group for group in self.groups if group.path == limit.path]
            is_right = any(not group.is_complete or group.instances > group.max_restarts for group in groups)
            self.check(is_right or not groups, f"{limit.path} gave up too soon")


def _size(node: TreeNode) -> int:
    """Return the number of actors in a tree, without the root."""
    return sum((child.state != "terminated") + _size(child) for child in node.children)
