"""The rules of the actor runtime that every random run must keep, and the records by which they are checked.

The actors and users of a random run report their actions and observations. Each rule is checked in one method here. A
broken rule is a line in ``faults``. Nothing here draws a random number or lets time pass, so the checks do not change a
run.
"""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import trio
from _runtime_lives import LifeLedger
from _runtime_records import Answer, Letter, Life, is_consistent_ask, is_consistent_tell

from actors import ActorTerminated, AskTimeout, DeadLetter, Failure, Killed, Normal, Shutdown, Undelivered

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from actors import ActorRef, ActorSystem, ExitReason, TreeNode


class Ledger(LifeLedger):
    """The records of one random run, and the texts of its broken rules."""

    def __init__(self) -> None:
        super().__init__()
        self.letters: list[Letter] = []
        self._last: dict[tuple[trio.lowlevel.Task, ActorRef], int] = {}
        self._last_unstashed: dict[tuple[Life, int], int] = {}
        self._cancelled_asks: Counter[ActorRef] = Counter()
        self._handled: Counter[ActorRef] = Counter()

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
        self._check_counts(dead)
        self.check_lives(refs)

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


def _size(node: TreeNode) -> int:
    """Return the number of actors in a tree, without the root."""
    return sum((child.state != "terminated") + _size(child) for child in node.children)
