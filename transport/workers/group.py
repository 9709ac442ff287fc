"""The parent's side: it starts the workers, starts dead ones again, and passes signals on."""

from __future__ import annotations

import random
import signal
from contextlib import closing
from typing import TYPE_CHECKING

import attrs
import trio

from actors import RestartLimit
from actors.backoff import Backoff
from transport.workers._process import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from transport.server.listening import Listeners
    from transport.workers._process import Addresses
    from transport.workers.launch import Launch

_BACKOFF = Backoff(0.1, 10.0, random_factor=0.2)
"""The wait before a dead worker is started again."""
_STARTS = 3
"""Number of starts in a row that may fail, unless other workers go on."""
_ENDING_SECONDS = 30.0
"""How long beyond ``drain_seconds`` a worker may take to end, for its goodbyes and for the app's own end."""
_NEVER = 1e9
"""A time in seconds that does not pass, and that fits any timer. ``drain_seconds`` may be infinite."""


@attrs.define(eq=False)
class _Slot:
    """One of the workers: its present process, and its history."""

    number: int
    process: WorkerProcess | None = None
    is_ready: bool = False
    replacing: bool = False
    """Whether the process was asked to end, so that another takes its place."""
    failed_starts: int = 0
    """Number of processes in a row that ended before they were ready."""
    deaths: int = 0
    """Number of processes in a row that ended early."""
    reload: bool = False
    """Whether SIGHUP came before the process was ready. It is sent when the process catches it."""

    def send(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)


class Workers:
    """The workers of a parent process.

    Args:
        launch: How a worker is started.
        count: The number of workers.
        listeners: The listening sockets. They are closed when the workers drain.
        drain_seconds: How long the runs of a worker may go on after the worker was asked to end.
        say: Called with each line for the operator.
    """

    def __init__(
        self, launch: Launch, count: int, listeners: Listeners, drain_seconds: float, say: Callable[[str], None]
    ) -> None:
        self._launch = launch
        self._slots = [_Slot(number) for number in range(1, count + 1)]
        self._listeners = listeners
        self._patience = min(drain_seconds + _ENDING_SECONDS, _NEVER)
        self._say = say
        self._drain = trio.Event()
        self._drain_signal = signal.SIGTERM
        self._were_ready = False
        self._changed = trio.Event()
        self._roll = trio.Event()
        self._gave_up: _Slot | None = None
        """The worker that made this process give up."""
        self._is_clean = True

    async def run(self, on_ready: Callable[[Addresses], None], signals: AsyncIterator[int]) -> int:
        """Run the workers until a signal has ended them. Return the exit status: 1 if a worker ended with an error.

        SIGTERM and SIGINT let all workers drain. A second one kills them, and then this process, at once. SIGUSR2
        restarts the workers in turn. SIGHUP is passed on to each of them.

        Args:
            on_ready: Called once, when all workers accept connections.
            signals: The signals that this process gets.

        Raises:
            RestartLimit: A worker ended again and again before it was ready. The others have drained.

        Cancellation: the workers notice that their parent has gone when the process ends, and drain.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._heed, signals)
            nursery.start_soon(self._restart_in_turn)
            nursery.start_soon(self._report_ready, on_ready)
            async with trio.open_nursery() as keeping:
                for slot in self._slots:
                    keeping.start_soon(self._keep, slot)
            nursery.cancel_scope.cancel()
        if self._gave_up is not None:
            raise RestartLimit(
                f"the start of worker {self._gave_up.number} failed {_STARTS} times: its lines above say why"
            )
        return 0 if self._is_clean else 1

    async def _report_ready(self, on_ready: Callable[[Addresses], None]) -> None:
        await self._until(lambda: all(slot.is_ready for slot in self._slots))
        process = self._slots[0].process
        if process is not None and process.addresses is not None:
            self._were_ready = True
            on_ready(process.addresses)

    async def _heed(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if number == signal.SIGUSR2:
                self._roll.set()
            elif number == signal.SIGHUP:
                self._reload()
            elif not self._drain.is_set():
                self._begin_drain(signal.Signals(number))
            else:
                self._end_at_once(signal.Signals(number))

    def _reload(self) -> None:
        for slot in self._slots:
            slot.reload = not slot.is_ready
            if slot.is_ready:
                slot.send(signal.SIGHUP)

    def _begin_drain(self, number: signal.Signals) -> None:
        """Close this process's copies of the listening sockets, and send ``number`` to all workers: they drain."""
        self._drain_signal = number
        self._drain.set()
        for listener in self._listeners:
            listener.close()
        for slot in self._slots:
            slot.send(number)
        self._notify()

    def _end_at_once(self, number: signal.Signals) -> None:
        for slot in self._slots:
            slot.send(signal.SIGKILL)
        # As a server without workers ends: by the signal itself.
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    # One worker

    async def _keep(self, slot: _Slot) -> None:
        """Run one worker, and start it again when it has died, until all drain."""
        while not self._drain.is_set():
            began = trio.current_time()
            try:
                status = await self._one_process(slot)
            except OSError as error:
                status, slot.failed_starts = f"could not be started: {error}", slot.failed_starts + 1
            if self._drain.is_set():
                return
            if slot.replacing:
                slot.replacing = False
                continue
            lived = trio.current_time() - began
            slot.deaths = 0 if lived >= _BACKOFF.healthy_after else slot.deaths + 1
            if self._gives_up(slot):
                self._say(f"worker {slot.number} {status}")
                self._gave_up = slot
                self._begin_drain(signal.SIGTERM)
                return
            # After the first death of a worker that has run for some time, another one is started at once.
            wait = _BACKOFF.delay(slot.deaths - 1, random.random()) if slot.deaths else 0.0  # noqa: S311 - no secret
            self._say(f"worker {slot.number} {status}; it is started again" + (f" in {wait:.1f} s" if wait else ""))
            with trio.move_on_after(wait):
                await self._drain.wait()

    def _gives_up(self, slot: _Slot) -> bool:
        """Return whether it is useless to start a worker again. While other workers serve, it never is."""
        serving = self._were_ready and any(each.is_ready for each in self._slots)
        return slot.failed_starts >= _STARTS and not serving

    async def _one_process(self, slot: _Slot) -> str:
        """Run one process of a worker to its end. Return a text that says how it ended."""
        listeners = self._listeners.of_worker(slot.number)
        process = slot.process = await WorkerProcess.start(slot.number, self._launch, listeners, self._patience)
        with closing(process):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._note_ready, slot, process)
                if self._drain.is_set():  # it began while the process was being started
                    slot.send(self._drain_signal)
                status = await self._wait(slot, process)
                nursery.cancel_scope.cancel()
        was_ready, slot.is_ready, slot.process = slot.is_ready, False, None
        slot.failed_starts = 0 if was_ready or slot.replacing else slot.failed_starts + 1
        self._note_end(slot, process, status, was_ready=was_ready)
        self._notify()
        return f"(process {process.pid}) {_told(status, was_ready=was_ready)}"

    async def _wait(self, slot: _Slot, process: WorkerProcess) -> int:
        """Wait until a process has ended. If it was asked to end, and takes too long, kill it."""
        status: list[int] = []
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                status.append(await process.wait())
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait)
            await self._until(lambda: slot.replacing or self._drain.is_set())
            await trio.sleep(self._patience)
            which = f"worker {slot.number} (process {process.pid})"
            self._say(f"{which} has not ended in {self._patience:g} s: it is killed")
            process.send_signal(signal.SIGKILL)
        return status[0]

    async def _note_ready(self, slot: _Slot, process: WorkerProcess) -> None:
        if await process.until_ready():
            slot.is_ready, slot.failed_starts = True, 0
            if slot.reload:
                slot.reload = False
                slot.send(signal.SIGHUP)
            self._notify()

    def _note_end(self, slot: _Slot, process: WorkerProcess, status: int, *, was_ready: bool) -> None:
        """Report a worker that did not end as it should, although it was asked to end."""
        if (self._drain.is_set() or slot.replacing) and status and (was_ready or status != -signal.SIGTERM):
            self._is_clean = self._is_clean and not self._drain.is_set()
            self._say(f"worker {slot.number} (process {process.pid}) {_told(status, was_ready=was_ready)}")

    # All workers

    async def _restart_in_turn(self) -> None:
        """For each SIGUSR2, restart the workers one after the other. The next one waits until the last one is ready."""
        while True:
            await self._roll.wait()
            self._roll = trio.Event()
            self._say("SIGUSR2: the workers are restarted in turn")
            for slot in self._slots:
                before = slot.process
                if before is not None:
                    slot.replacing = True
                    self._notify()
                    before.send_signal(signal.SIGTERM)
                await self._until(lambda: slot.is_ready and slot.process is not before)  # noqa: B023 - awaited here
            self._say("all workers were restarted")

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds. It is looked at after each change of a worker."""
        while not condition():
            await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def _told(status: int, *, was_ready: bool) -> str:
    """Return how a process ended, for a person."""
    before = "" if was_ready else " before it was ready"
    if status >= 0:
        return f"ended with status {status}{before}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"was ended by {name}{before}"
