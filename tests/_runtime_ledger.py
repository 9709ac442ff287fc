"""What must hold in every run of the actor runtime: who reports it, and the judgement at the end.

The actors and users of a random run report what they do and see; each rule is one method here. A broken rule is a line
in ``faults``. Nothing here draws a random number or lets time pass, so judging changes no run.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import attrs
import trio

from actors import (
    ActorRestarted,
    ActorTerminated,
    AskTimeout,
    DeadLetter,
    DeathPact,
    Failure,
    Killed,
    MailboxFull,
    MessageUnhandled,
    Normal,
    ReplyDropped,
    Restart,
    RestartLimit,
    Shutdown,
    SpecError,
    Strategy,
    Undelivered,
)
from actors.errors import ActorError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from actors import ActorRef, ActorSystem, ExitReason, TreeNode

GROUPS = frozenset({Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE})
ROUNDING = 1e-6
"""Seconds: sums of times are not exact."""
HURRY = 3.0
"""Seconds after the time of a stop within which the actor is gone: one of grace, and one for each new shield."""
REFUSALS = (
    "asks itself",
    "has started, which waits for",
    "waits for the end of",
    "waits for its own end",
    "sets no timers",
    "has no nursery",
    "no message in hand",
    "cancelled the scope of its own nursery",
)
"""What a RuntimeError of the runtime may say here."""
ADDED = math.inf
"""The place of a child that is not in the spec: after all that are."""


class Boom(Exception):
    """What actors raise."""


class LeaveTheProcess(SystemExit):
    """What some raise, though it is none of their business."""


def inside(error: object) -> Iterator[BaseException]:
    """Go through an exception, its causes, its members, and what it tells of an actor's end."""
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop()
        if isinstance(each, (Failure, Killed)):
            waiting.append(each.exception)
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
        if isinstance(each, ActorTerminated):
            waiting.append(each.reason)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Go through the members of a group, and of the groups in it; what is no group is its only leaf."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from leaves(each)
    else:
        yield error


def is_expected(error: BaseException) -> bool:
    """Whether an actor may end with this exception here."""
    if isinstance(error, RuntimeError):
        return any(text in str(error) for text in REFUSALS)
    if isinstance(error, (DeathPact, SpecError)):
        return False
    return isinstance(error, (Boom, LeaveTheProcess, ActorError))


@attrs.define(eq=False)
class Letter:
    """One message, told or asked, and what became of it."""

    number: int
    to: ActorRef
    sender: trio.lowlevel.Task
    is_ask: bool
    was_stopped: bool
    """Whether its addressee had been asked to end for good before it was sent."""
    error: BaseException | None = None
    answer: object = None
    begun: int = 0
    stashed: int = 0
    handled: int = 0
    unknown: int = 0
    aside: tuple[Life, int] | None = None
    """Who put it aside last, and what it is taken back with."""
    place: int = 0
    """When that was, counted in events."""
    deferred: bool = False


@attrs.frozen(eq=False)
class Answer:
    """The reply to one message."""

    letter: Letter


@attrs.define(eq=False)
class Staff:
    """The children of one supervisor's spec, or of one incarnation of an actor."""

    strategy: Strategy = Strategy.ONE_FOR_ONE
    max_restarts: int = 3
    max_seconds: float = 5.0
    is_one: bool = True
    """Whether there is only one incarnation of its supervisor: then its intensity can be judged."""
    is_seen: bool = True
    """Whether all its children report their starts."""
    is_spec: bool = False
    """Whether they are those of a spec."""
    path: str = ""
    made: int = 0
    restarts: list[float] = attrs.field(factory=list[float])
    """When its children were restarted."""
    down: set[Post] = attrs.field(factory=set["Post"])
    """The children that ended and may come back with their group."""
    first: int = 0
    """When the first of those ended, counted in events."""

    @property
    def is_empty(self) -> bool:
        """Whether it never had a child."""
        return self.is_seen and not self.made


@attrs.frozen(eq=False)
class Post:
    """The place of one child."""

    staff: Staff
    restart: Restart
    place: float = ADDED
    waits: bool = False
    """Whether it has a backoff: then it starts again later than it is counted."""


@attrs.define(eq=False)
class Life:
    """One incarnation of an actor, as its methods see it."""

    post: Post
    staff: Staff = attrs.field(factory=Staff)
    """Its own children."""
    ref: ActorRef | None = None
    up: int = 0
    """When it came up, counted in events; 0 is never."""
    over: int = 0
    """When its nursery was closed."""
    wished: bool = False
    """Whether it asked for its own end."""
    said: bool = False
    """Whether ``stopping()`` returned."""
    failed: bool = False
    cut: bool = False
    """Whether it cancelled its own nursery: a failure, unless it was done before it noticed."""
    was_killed: bool = False
    unstashed: int = 0
    """How often it took back what it had put aside."""
    goodbye: ExitReason | None = None
    is_busy: bool = False
    watching: set[ActorRef] = attrs.field(factory=set["ActorRef"])


class Ledger:
    """All that was reported in one run, and what is wrong with it."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.letters: list[Letter] = []
        self.root = Staff(path="/")
        self.staffs: list[Staff] = [self.root]
        self.lives: dict[ActorRef, list[Life]] = {}
        self.beating: dict[str, Life] = {}
        """The incarnations whose nurseries are open, by path."""
        self.stopped: set[ActorRef] = set()
        """Those that were asked to end for good."""
        self.killed: set[ActorRef] = set()
        self.reasons: dict[ActorRef, ExitReason] = {}
        self._events = itertools.count(1)
        self._last: dict[tuple[trio.lowlevel.Task, ActorRef], int] = {}
        self._taken_back: dict[tuple[Life, int], int] = {}
        self._given_up: Counter[ActorRef] = Counter()

    def check(self, holds: object, fault: str) -> None:
        """Note a fault unless the rule holds."""
        if not holds:
            self.faults.append(fault)

    def staff_of(self, supervisor: ActorRef, strategy: str) -> Staff:
        """Find the record of a supervisor's children; an empty one, of which nothing is judged, if there is none."""
        path = supervisor.path
        found = (each for each in reversed(self.staffs) if each.path == path and each.is_spec)
        staff = next((each for each in found if each.strategy == strategy), None)
        return staff or Staff(Strategy.ONE_FOR_ALL, is_one=False, is_seen=False)

    def staff(self) -> Staff:
        """Make the record of a supervisor's children."""
        staff = Staff(is_spec=True)
        self.staffs.append(staff)
        return staff

    # Lives

    def makes(self, post: Post) -> Life:
        """Note that an instance is made."""
        post.staff.made += 1
        life = Life(post)
        self.staffs.append(life.staff)
        return life

    def starts(self, life: Life, ref: ActorRef) -> None:
        """Note that ``started()`` is called: no other incarnation of it runs, none of its children is left."""
        life.ref, path, staff = ref, ref.path, life.post.staff
        life.staff.path, staff.path = path, path.rpartition("/")[0] or "/"
        lives = self.lives.setdefault(ref, [])
        self.check(ref not in self.stopped, f"the stop of {path} was undone")
        below = [each for each in self.beating if each == path or each.startswith(f"{path}/")]
        self.check(not below, f"{path} starts while {below} run")
        self.check(len(lives) <= ref.statistics().restarts, f"{path} has more lives than restarts")
        if lives:
            self._is_restarted(life, lives[-1], path)
        staff.down.discard(life.post)
        lives.append(life)
        self.beating[path] = life

    def _is_restarted(self, life: Life, before: Life, path: str) -> None:
        post, staff = life.post, life.post.staff
        self.check(post.restart is not Restart.TEMPORARY, f"{path} is temporary, and was restarted")
        if staff.strategy in GROUPS:
            self._is_restarted_with_group(life, path)
        elif not post.waits:
            staff.restarts.append(trio.current_time())
        is_alone = staff.strategy not in GROUPS or (staff.strategy is Strategy.REST_FOR_ONE and post.place == 0)
        if before.failed or before.cut or before.ref in self.killed or not is_alone:
            return
        was_halted = isinstance(before.goodbye, Shutdown) and not before.wished
        self.check(not was_halted, f"{path} was restarted because of another")
        is_done = before.said and isinstance(before.goodbye, (Normal, Shutdown)) and before.staff.is_empty
        self.check(
            not (is_done and post.restart is Restart.TRANSIENT), f"{path} is transient, was done, and was restarted"
        )

    def _is_restarted_with_group(self, life: Life, path: str) -> None:
        """Check that nothing runs on from before the first end of the group; what was starting then is left alone."""
        post, staff = life.post, life.post.staff
        # The end of a supervisor is not reported: it may have been the first.
        first = staff.first if staff.is_seen else 0
        for other in self.beating.values():
            is_after = staff.strategy is Strategy.ONE_FOR_ALL or other.post.place > post.place
            runs_on = other.post.staff is staff and other.post is not post and is_after and 0 < other.up < first
            self.check(not runs_on, f"{path} was restarted without its group")

    def is_up(self, life: Life) -> None:
        """Note that ``started()`` returns."""
        life.up = next(self._events)

    def ends(self, life: Life, path: str) -> None:
        """Note that the nursery of an incarnation is closed."""
        life.over = next(self._events)
        staff = life.post.staff
        if life.post.restart is not Restart.TEMPORARY:
            staff.first = staff.first if staff.down else life.over
            staff.down.add(life.post)
        self.check(self.beating.pop(path, None) is life, f"{path} ran twice")

    def stops(self, life: Life, path: str, reason: ExitReason) -> None:
        """Note that ``stopping()`` is called: once, for one that came up, has nothing in hand and was not killed."""
        self.check(life.up, f"{path} stops, and never came up")
        self.check(life.goodbye is None, f"{path} stops twice")
        self.check(not life.is_busy, f"{path} stops with a message in hand")
        self.check(not isinstance(reason, Killed), f"{path} was killed, and stops")
        below = [each for each in self.beating if each.startswith(f"{path}/")]
        self.check(not below, f"{path} stops while {below} run")
        life.goodbye = reason

    def kills(self, ref: ActorRef) -> None:
        """Note that an actor is about to be killed: one that runs does not end well any more."""
        self.killed.add(ref)
        life = self.beating.get(ref.path)
        if life is not None and life.ref is ref:
            life.was_killed = True

    def is_gone(self, ref: ActorRef, reason: ExitReason) -> None:
        """Note that somebody was told of the end of an actor: it has one, the same for all, and nothing is left."""
        self.check(not ref.alive, f"{ref.path} has ended, and lives")
        self.check(self.reasons.setdefault(ref, reason) is reason, f"{ref.path} ended twice")
        for path, life in self.beating.items():
            self.check(life.ref is not ref, f"{path} has ended, and runs")

    # Messages

    def letter(self, to: ActorRef, *, is_ask: bool = False) -> Letter:
        """Make a message."""
        task = trio.lowlevel.current_task()
        letter = Letter(len(self.letters), to, task, is_ask, to in self.stopped)
        self.letters.append(letter)
        return letter

    @contextlib.contextmanager
    def sending(self, letter: Letter) -> Generator[Letter]:
        """Note what the sender is told."""
        try:
            yield letter
        except BaseException as error:
            letter.error = error
            if isinstance(error, ActorTerminated) and isinstance(error.reason, (Normal, Shutdown, Failure, Killed)):
                self.is_gone(letter.to, error.reason)
            raise

    def receives(self, life: Life, path: str) -> None:
        """Check that an actor may see a message now: it is up, does nothing else, and knows of every end it watched."""
        self.check(life.up, f"{path} has a message before it is up")
        self.check(not life.is_busy, f"{path} has two messages in hand")
        self.check(life.goodbye is None, f"{path} has a message after stopping()")

    @contextlib.contextmanager
    def handling(self, life: Life, letter: Letter) -> Generator[None]:
        """Note that a message is in hand, and how that ends."""
        assert life.ref is not None
        path, stashed = life.ref.path, letter.stashed
        self.receives(life, path)
        self.check(letter.to is life.ref, f"{path} has a message for {letter.to.path}")
        self.check(all(ref.alive for ref in life.watching), f"{path} has a message before the end it watches")
        self.check(letter.begun <= letter.stashed, f"{path} has a message twice")
        if not letter.begun:
            key = letter.sender, letter.to
            self.check(self._last.get(key, -1) < letter.number, f"{path} has messages of one sender out of order")
            self._last[key] = letter.number
        elif letter.aside is not None:
            is_next = self._taken_back.get(letter.aside, -1) < letter.place
            self.check(is_next, f"{path} takes back messages out of order")
            self._taken_back[letter.aside] = letter.place
        letter.begun += 1
        life.is_busy = True
        try:
            yield
        except trio.Cancelled:
            self._given_up[life.ref] += letter.is_ask
            raise
        finally:
            life.is_busy = False
        letter.handled += letter.stashed == stashed

    def puts_aside(self, life: Life, letter: Letter) -> None:
        """Note that the message in hand was stashed."""
        letter.stashed += 1
        letter.aside, letter.place = (life, life.unstashed), next(self._events)

    @staticmethod
    def does_not_know(letter: Letter) -> None:
        """Note that the actor is about to return UNHANDLED for a message that it handled."""
        letter.handled, letter.unknown = letter.handled - 1, letter.unknown + 1

    def is_told(self, life: Life, ref: ActorRef, reason: ExitReason) -> None:
        """Note that a watcher is told of an end: once for each watch."""
        assert life.ref is not None
        self.receives(life, life.ref.path)
        self.check(ref in life.watching, f"{life.ref.path} was told twice of the end of {ref.path}")
        life.watching.discard(ref)
        self.is_gone(ref, reason)

    # While it runs

    def look(self, system: ActorSystem, refs: Iterable[ActorRef]) -> None:
        """Check that every list and number agrees, now."""
        self.check(_size(system.tree()) == system.statistics().actors, "the tree and the number of actors differ")
        for ref in refs:
            ref.statistics()
            if ref.alive:
                self.check(ref not in self.reasons, f"{ref.path} has ended, and lives again")
                self.check(system.find(ref.path) is ref, f"{ref.path} is in no list")
        for path, life in self.beating.items():
            self.check(life.ref is system.find(path), f"{path} runs, and is in no list")

    # The judgement

    def judge(self, refs: Iterable[ActorRef], dead: list[DeadLetter]) -> None:
        """Check what must hold when the system has ended."""
        self._judge_letters(dead)
        for ref in refs:
            self._judge_numbers(ref)
        for ref, lives in self.lives.items():
            self._judge_end(ref, lives[-1])
        self._judge_counts(dead)
        for staff in self.staffs:
            self._judge_intensity(staff)

    def _judge_letters(self, dead: list[DeadLetter]) -> None:
        whys: defaultdict[int, list[Undelivered]] = defaultdict(list)
        late: Counter[int] = Counter()
        for each in dead:
            if isinstance(each.message, Letter):
                whys[each.message.number].append(each.why)
            elif isinstance(each.message, Answer) and each.message.letter.is_ask:
                late[each.message.letter.number] += 1
        for letter in self.letters:
            judge = is_right_ask if letter.is_ask else is_right_tell
            why = whys[letter.number]
            text = f"letter {letter} is dead for {why}, {late[letter.number]} replies to it are"
            self.check(judge(letter, why), text)
            self.check(not (letter.was_stopped and letter.error is None), f"{letter} was accepted after a stop")
            was_given_up = isinstance(letter.error, (trio.Cancelled, AskTimeout))
            replies = was_given_up * (late[letter.number] if letter.deferred else letter.handled)
            self.check(late[letter.number] == replies <= 1, text)

    def _judge_numbers(self, ref: ActorRef) -> None:
        now = ref.statistics()
        left = now.tasks, now.children, now.timers, now.stashed, now.watchers, now.mailbox.depth
        self.check(not any((*left, now.mailbox.senders_waiting)), f"{ref.path} has left {now}")

    def _judge_end(self, ref: ActorRef, life: Life) -> None:
        """Check that an actor ended as what happened in its last incarnation says."""
        reason = self.reasons[ref]
        is_graceful = isinstance(reason, (Normal, Shutdown))
        error = None if isinstance(reason, (Normal, Shutdown)) else reason.exception
        for each in () if error is None else leaves(error):
            self.check(is_expected(each), f"{ref.path} ended with {each!r}")
        if ref.statistics().restarts != len(self.lives[ref]) - 1:
            return  # there was another, or a pause, of which its methods know nothing
        self.check(not (is_graceful and life.up and life.goodbye is None), f"{ref.path} never ran stopping()")
        self.check(not (is_graceful and life.failed), f"{ref.path} failed, and ended {reason}")
        self.check(not (is_graceful and life.was_killed), f"{ref.path} was killed, and ended {reason}")
        is_right = life.failed or life.cut or not (life.up and life.staff.is_empty and isinstance(reason, Failure))
        self.check(is_right, f"{ref.path} did not fail, and ended {reason}")

    def _judge_counts(self, dead: list[DeadLetter]) -> None:
        """Check the numbers that actors report against what they did."""
        handled: Counter[ActorRef] = Counter()
        failed, dropped = Counter[str](), Counter[str]()
        for letter in self.letters:
            handled[letter.to] += letter.handled + letter.stashed + letter.unknown
        for each in dead:
            failed[each.path] += each.why is Undelivered.FAILED
            dropped[each.path] += each.why is Undelivered.OVERFLOW
        for ref in self.lives:
            now, path = ref.statistics(), ref.path
            failed[path] -= now.failed
            dropped[path] -= now.mailbox.dropped
            is_right = 0 <= now.handled - handled[ref] <= self._given_up[ref]
            self.check(is_right, f"{path} handled {now.handled}, not {handled[ref]}")
        for path in {ref.path for ref in self.lives}:
            self.check(not failed[path], f"{path} counts {-failed[path]} failed messages too many")
            self.check(not dropped[path], f"{path} counts {-dropped[path]} dropped messages too many")

    def _judge_intensity(self, staff: Staff) -> None:
        """Check that no supervisor restarts more often than it may, and that none gives up sooner."""
        if not staff.is_one:
            return
        times, limit = sorted(staff.restarts), staff.max_restarts
        for first, one_too_many in zip(times, times[limit:], strict=False):
            is_right = one_too_many - first > staff.max_seconds - ROUNDING
            self.check(is_right, f"{staff.path} restarted its children more than {limit} times: {times}")

    def gave_up(self, limits: Iterable[RestartLimit]) -> None:
        """Check that who gave up had as many children that ended as that takes."""
        for limit in limits:
            staffs = [staff for staff in self.staffs if staff.path == limit.path]
            is_right = any(not staff.is_seen or staff.made > staff.max_restarts for staff in staffs)
            self.check(is_right or not staffs, f"{limit.path} gave up too soon")


def is_right_tell(letter: Letter, dead: list[Undelivered]) -> bool:
    """Whether a message that was told was handled or is a dead letter, once, if it was accepted; else neither."""
    if letter.error is not None:
        return not letter.begun and not dead
    return letter.handled + len(dead) == 1


def is_right_ask(letter: Letter, dead: list[Undelivered]) -> bool:
    """Whether what became of a question is what its sender was told."""
    if letter.error is None:
        answer = letter.answer
        return isinstance(answer, Answer) and answer.letter is letter and letter.handled == 1 and not dead
    lost = [] if letter.deferred else [Undelivered.FAILED]
    was_in_hand = letter.begun > letter.stashed
    match letter.error:
        case MessageUnhandled():
            is_right = dead == [Undelivered.UNHANDLED]
        case MailboxFull():
            is_right = not letter.begun and dead in ([], [Undelivered.OVERFLOW])
        case ActorRestarted():
            is_right = was_in_hand and dead == lost
        case ActorTerminated() if was_in_hand:
            is_right = dead == lost
        case ActorTerminated():
            is_right = dead == [Undelivered.TERMINATED] or not (dead or letter.stashed)
        case ReplyDropped():
            is_right = letter.deferred and not dead
        case AskTimeout() | trio.Cancelled():
            is_right = dead in ([], [Undelivered.FAILED])
        case _:
            is_right = not letter.begun and not dead
    return is_right


def _size(node: TreeNode) -> int:
    """Count the actors in a picture, the root left out."""
    return sum((child.state != "terminated") + _size(child) for child in node.children)
