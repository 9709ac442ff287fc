"""The second cancel: ending work that shields itself from the first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import trio


def cancel_with_force(scope: trio.CancelScope) -> None:
    """Cancel the scope and take the shield off every scope inside it, in all its tasks.

    Trio has no public way to reach the scopes inside a scope, and without one a task that shields itself for ever could
    never be ended. A scope that is shielded later is not reached: call it again.
    """
    scope.cancel()
    todo: list[Any] = [scope._cancel_status]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  -- see above
    while todo:
        status = todo.pop()
        if status is not None:
            for inner in status.children:
                inner._scope.shield = False  # noqa: SLF001  -- see above
                todo.append(inner)
