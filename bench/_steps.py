"""The longest step of the tasks of some modules: for so long, every other task of the event loop waits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import CodeType


@attrs.define(eq=False)
class LongestSteps(trio.abc.Instrument):
    """Notes the longest step of the tasks whose code is in one of the folders.

    A step is measured by the CPU time of the thread, so that other programs on the machine do not make it longer.
    """

    folders: Sequence[str]
    """Parts of the names of files, such as ``/transport/http/``."""
    longest_seconds: float = attrs.field(default=0.0, init=False)
    _begun: float = attrs.field(default=0.0, init=False)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - the signature of Instrument
        """Note when the step begins."""
        self._begun = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Note the step if it was the longest so far, and if the task is at a place in one of the folders."""
        lasted = time.thread_time() - self._begun
        if lasted > self.longest_seconds and any(
            folder in code.co_filename for code in places(task) for folder in self.folders
        ):
            self.longest_seconds = lasted


def places(task: trio.lowlevel.Task) -> Iterator[CodeType]:
    """Yield the code of each coroutine in which a task waits, from the outermost on."""
    coroutine: object = task.coro
    while coroutine is not None:
        code: CodeType | None = getattr(coroutine, "cr_code", None)
        if code is not None:
            yield code
        coroutine = getattr(coroutine, "cr_await", None)
