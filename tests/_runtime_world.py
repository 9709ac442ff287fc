"""The world of one random run: its random generator, its clock, its actors, and its records."""

from __future__ import annotations

import contextlib
import logging
import random
from typing import TYPE_CHECKING, TypeVar

import trio
import trio.testing
from _runtime_handlers import HANDLERS
from _runtime_ledger import Ledger
from _runtime_records import (
    RandomError,
    RandomExit,
    is_expected,
    related_errors,
)
from _runtime_replies import REPLIES

from actors import (
    ActorError,
    ActorRef,
    ActorTerminated,
    ExitReason,
    Restart,
    RestartLimit,
    SupervisorRef,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence

    from _runtime_wild import RandomActor

T = TypeVar("T")
OWN_LIMITS: list[tuple[int | None, float | None]] = [(0, None), (1, None), (2, 1), (None, 1), (None, 9), (100, 5)]
"""Limits of restarts of a child alone: their number, and the period in seconds. None: the default."""


class NothingToChoose(Exception):
    """The exception of :meth:`World.choose` for an empty sequence."""


class World(logging.Handler):
    """The shared state of the actors of one random run."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.has_replies = seed % 2 == 1
        """Whether actors reply in parts and by others, and groups start on demand. The other seeds replay old runs."""
        self.handlers: list[Callable[[RandomActor], Awaitable[object]]] = HANDLERS + (
            REPLIES if self.has_replies else []
        )
        """Ways to handle a message."""
        self.is_new = seed % 4 == 3
        """Whether the actors use limits of their own, and more. The other seeds replay old runs."""
        self.clock = trio.testing.MockClock(autojump_threshold=0)
        """Virtual clock, which jumps forward when all tasks sleep."""
        self.ledger = Ledger()
        self.root = self.ledger.root
        self.journal: list[tuple[float, str]] = []
        self.refs: list[ActorRef] = []
        self.supervisors: list[SupervisorRef] = []
        self.raised: list[BaseException] = []
        self.reported: set[int] = set()
        self.limits: dict[int, RestartLimit] = {}
        """RestartLimit exceptions that were reported, by the id of the object."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.on_reported(record.exc_info[1])

    def on_reported(self, error: object) -> None:
        """Record that an exception or an exit reason was reported: raised, logged or returned to a caller."""
        for each in related_errors(error):
            self.reported.add(id(each))
            if isinstance(each, RestartLimit):
                self.limits[id(each)] = each

    def on_end_known(self, ref: ActorRef, reason: ExitReason) -> None:
        """Record that a caller knows the reason for which an actor ended."""
        self.on_reported(reason)
        self.ledger.on_end_known(ref, reason)

    def note(self, event: str) -> None:
        """Append an event to the journal."""
        self.journal.append((trio.current_time(), event))

    def pick_actor(self) -> ActorRef:
        """Return a random ref, most often the ref of a living actor that is no supervisor."""
        living = [ref for ref in self.refs if ref.alive and not isinstance(ref, SupervisorRef)]
        return self.choose(living if living and self.chance(0.9) else self.refs)

    def choose(self, among: Sequence[T]) -> T:
        """Return a random item of ``among``. Raises NothingToChoose if it is empty."""
        if not among:
            raise NothingToChoose
        return self.random.choice(among)

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return self.random.random() < probability

    def draw_own_limit(self, restart: Restart) -> tuple[int | None, float | None]:
        """Return a random limit of restarts of a child alone, as the options of its spec; often none.

        Only some seeds draw one: so the others replay old runs.
        """
        if not self.is_new or restart is Restart.TEMPORARY or not self.chance(0.4):
            return None, None
        return self.random.choice(OWN_LIMITS)

    @staticmethod
    def limit_of(most: int | None, seconds: float | None) -> tuple[int, float] | None:
        """Return the limit that these options of a child mean: a number of restarts, and a period in seconds."""
        if most is None and seconds is None:
            return None
        return 3 if most is None else most, 5.0 if seconds is None else seconds

    def maybe_fail(self, probability: float) -> None:
        """Raise a RandomError, or sometimes a RandomExit, with the given probability."""
        if self.chance(probability):
            error = RandomExit() if self.chance(0.1) else RandomError(len(self.raised))
            self.raised.append(error)
            raise error

    def add(self, ref: ActorRef) -> None:
        """Record a ref. For a supervisor, record the refs of its children too."""
        self.refs.append(ref)
        if isinstance(ref, SupervisorRef):
            self.supervisors.append(ref)
            with contextlib.suppress(ActorTerminated):
                self.refs += [info.ref for info in ref.children() if info.ref is not None]

    @contextlib.contextmanager
    def tolerant(self) -> Generator[None]:
        """Suppress the expected errors of the calls in the block, and record that they were reported to the caller."""
        try:
            yield
        except NothingToChoose:
            pass
        except (RandomError, RandomExit, ActorError, RuntimeError) as error:
            self.on_reported(error)
            self.ledger.check(is_expected(error), f"a call raised {error!r}")
        except BaseExceptionGroup as group:
            rest = group.split((RandomError, RandomExit, ActorError, trio.Cancelled))[1]
            if rest is not None:
                raise
            self.on_reported(group)
            if group.split(trio.Cancelled)[0] is not None:
                raise
