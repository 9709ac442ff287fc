"""The time of an actor between two incarnations: its hook ``before_restart``, and the wait for the restart.

::

    end of an incarnation ─► the supervisor decides ─► before_restart(reason), while the backoff runs ─► the wait
                                                                                                          │
    the first message ◄─ after_restart(reason) ◄─ started() ◄─ a new instance ◄───────────────────────────┘
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, ClassVar

import trio

from actors.failures import log_failure, members, shown
from actors.loop.trio_internals import cancel_with_force, footing, has_left_open, is_cancelled, leave_open_ones
from actors.runtime._deadlines import GRACE, own_failure
from actors.runtime._frames import let_go_of_frames
from actors.runtime._incarnation import Incarnation, joined

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actors.runtime._deadlines import DeadlineEnforcer
    from actors.runtime._instance import Instance
    from actors.runtime._lifecycle import ExitReason
    from actors.runtime._waits import Waits

logger = logging.getLogger("actors")


class Restarted(Incarnation):
    """An incarnation after the first one. It knows the reason why the one before it ended, until the hook is called."""

    __slots__ = ("_reason",)

    is_restarted: ClassVar[bool] = True

    def __init__(self, cell: Waits[Any], reason: ExitReason) -> None:
        super().__init__(cell)
        self._reason: ExitReason | None = reason

    async def call_after_restart(self, actor: Instance) -> None:
        """Call the hook ``after_restart`` of the new instance."""
        reason, self._reason = self._reason, None
        if reason is not None:
            await actor.after_restart(reason)

    def close(self, error: Callable[[], Exception], cause: BaseException | None) -> Sequence[object]:
        """Release the parts of this life, after its end. Return the stashed messages."""
        self._reason = None
        return super().close(error, cause)


class Pause:
    """One actor's time before a restart."""

    __slots__ = ("_actor", "_deadline", "_enforcer", "_hook", "_is_final", "reason", "scope", "until")

    def __init__(self, reason: ExitReason, until: float) -> None:
        self.reason = reason
        """Reason for which the last incarnation ended, with the exceptions of its hook."""
        self.until = until
        """Time of the restart, on trio's clock. Infinite if the supervisor calls for it."""
        self.scope: trio.CancelScope | None = None
        """Cancel scope of the wait; None before the wait."""
        self._actor: Instance | None = None
        self._hook: trio.CancelScope | None = None
        self._enforcer: DeadlineEnforcer | None = None
        self._deadline = math.inf
        self._is_final = False

    @property
    def has_hook(self) -> bool:
        """Whether the hook ``before_restart`` must be called."""
        return self._actor is not None

    def set_hook(self, actor: Instance, deadline: float, enforcer: DeadlineEnforcer) -> None:
        """Let :meth:`call_before_restart` call the hook of the instance ``actor``, and end it at ``deadline``."""
        self._actor, self._deadline, self._enforcer = actor, deadline, enforcer

    def go_on(self, *, is_final: bool) -> None:
        """End the wait. If ``is_final``, the actor is not restarted, and its hook is cancelled as well."""
        self.until = -math.inf
        if self.scope is not None:
            self.scope.cancel()
        elif is_final and self._hook is not None and self._enforcer is not None:
            self._is_final = True
            self._hook.cancel()
            self._enforcer.at(self, trio.current_time() + GRACE)

    def force(self) -> None:
        """Cancel the hook, even its shielded code."""
        if self._hook is not None:
            cancel_with_force(self._hook)

    async def call_before_restart(self, path: str) -> None:
        """Call the hook, and end it at its deadline. Its exceptions are logged, and join the reason. Never raises."""
        actor, enforcer = self._actor, self._enforcer
        assert actor is not None  # noqa: S101  -- set together
        assert enforcer is not None  # noqa: S101  -- as above
        self._actor = None
        failures: list[BaseException] = []
        with trio.CancelScope(deadline=self._deadline) as self._hook:
            enforcer.at(self, self._deadline + GRACE)
            try:
                await actor.before_restart(self.reason)
            except BaseException as raised:  # noqa: BLE001  -- whatever an actor raises joins its exit reason
                failure = own_failure(f"before_restart() of {path}", raised) or self._lateness(path)
                failures += [] if failure is None else [failure]
            if has_left_open(self._hook, footing(0)):
                left = await leave_open_ones(self._hook, footing(0), None)
                failures += [left] if members(left) or not is_cancelled() else []
        enforcer.withdraw(self)
        self._hook = self._enforcer = None
        for failure in failures:
            self.reason = joined(self.reason, failure)
            let_go_of_frames(failure)
            log_failure(logger, "before_restart() of %s failed: %s", path, shown(failure), error=failure)

    def _lateness(self, path: str) -> BaseException | None:
        """Return the error of a hook that was cancelled at its deadline; None if something else cancelled it."""
        if self._is_final or self._hook is None or not self._hook.cancel_called:
            return None
        return TimeoutError(f"before_restart() of {path} was cancelled: it did not end in the time of a stop")
