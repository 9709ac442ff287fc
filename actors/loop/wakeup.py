"""A way for tasks to wait until another task wakes them. The waking code can run at any depth of the stack."""

from __future__ import annotations

import trio


class Wakeup:
    """The tasks that wait in :meth:`wait` until another task calls :meth:`wake`.

    This class works like :class:`trio.lowlevel.ParkingLot`, but a ``RecursionError`` in one of its methods changes
    nothing. *Agents wake the task that commits events (the committer) from any depth of the stack. A ParkingLot removes
    a task from its list, then schedules the task: if the stack is full between the two steps, the committer sleeps for
    ever. A ParkingLot also lists a task before the task waits: if the wait then fails, a task that does not wait is
    woken, and that ends trio.*

    Trio makes a new outcome for each wake-up, which takes one call more than all that follows. Keep it so: at the end
    of the stack that call fails first. *With one outcome for all wake-ups, a wake-up succeeded where the next call of
    the caller failed, and an agent that emitted at every depth left its session waiting for ever.*
    """

    __slots__ = ("_holds", "_tasks")

    def __init__(self) -> None:
        self._holds = 0
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
            # This calls nothing: a call would fail at the end of the stack too.
            if task in tasks:
                del tasks[task]

    def wake(self) -> None:
        """Wake all waiting tasks. Between :meth:`hold` and :meth:`release`, do nothing.

        Raise ``RecursionError`` if the stack is full: tasks that were not woken continue to wait.
        """
        for task in () if self._holds else tuple(self._tasks):
            del self._tasks[task]
            try:
                trio.lowlevel.reschedule(task)
            except BaseException:
                # Trio clears custom_sleep_data as it schedules a task: if it is set, the task still waits.
                if task.custom_sleep_data is self:
                    self._tasks[task] = None
                raise

    def hold(self) -> None:
        """Let the waiting tasks sleep until :meth:`release`. Each call needs one release."""
        self._holds += 1

    def release(self) -> None:
        """End a :meth:`hold`. The last release wakes all waiting tasks, as :meth:`wake` does."""
        self._holds -= 1
        if not self._holds:
            self.wake()
