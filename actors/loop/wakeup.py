"""Waiting for a wake-up that may come from any depth of the stack."""

from __future__ import annotations

import trio


class Wakeup:
    """Tasks that wait in :meth:`wait` until :meth:`wake`.

    As :class:`trio.lowlevel.ParkingLot`, with one promise more: a ``RecursionError`` anywhere in it changes nothing.
    *Agents wake the committer from as deep as they like. A lot takes a task out before it schedules it: where the stack
    ended between the two, nothing would ever have been committed again. And it puts a task in before that waits: an
    agent that could not wait would have been woken all the same, which ends trio.*
    """

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: dict[trio.lowlevel.Task, None] = {}

    def __bool__(self) -> bool:
        return bool(self._tasks)

    async def wait(self) -> None:
        """Wait for the next :meth:`wake`. Safe to cancel."""
        task, tasks = trio.lowlevel.current_task(), self._tasks

        def abort(_: object) -> trio.lowlevel.Abort:
            del tasks[task]
            return trio.lowlevel.Abort.SUCCEEDED

        tasks[task] = None
        task.custom_sleep_data = self
        try:
            await trio.lowlevel.wait_task_rescheduled(abort)
        finally:
            # No call here: it would need the very room that was missing.
            if task in tasks:
                del tasks[task]

    def wake(self) -> None:
        """Let all go on that wait. Raises ``RecursionError`` near the end of the stack: those left wait on."""
        for task in tuple(self._tasks):
            del self._tasks[task]
            try:
                trio.lowlevel.reschedule(task)
            except BaseException:
                # Trio clears this as it schedules a task: only one that was not scheduled waits on.
                if task.custom_sleep_data is self:
                    self._tasks[task] = None
                raise
