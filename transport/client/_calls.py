"""Commands and history requests as calls: a task sends a request and waits for its outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transport.errors import TransportError

if TYPE_CHECKING:
    from transport.client._commands import Commands, Question
    from transport.client._ending import Ending
    from transport.client._items import Wakeups
    from transport.client._loop import EventLoop, Lot


class _Call:
    """One task's wait for an outcome. Only the first outcome counts."""

    __slots__ = ("_done", "_lot", "_outcome")

    def __init__(self, lot: Lot) -> None:
        self._lot = lot
        self._done = False
        self._outcome: object = None

    def set(self, outcome: object) -> None:
        if not self._done:
            self._done, self._outcome = True, outcome
            self._lot.unpark_all()

    async def wait(self) -> object:
        while not self._done:
            await self._lot.park()
        return self._outcome


class Calls:
    """The tasks that wait for the outcome of a command or history request, stored by the id of the request."""

    def __init__(self, loop: EventLoop, commands: Commands, ending: Ending, wakeups: Wakeups) -> None:
        self._loop = loop
        self._commands = commands
        self._ending = ending
        self._wakeups = wakeups
        self._waiting: dict[str, _Call] = {}

    async def ask(self, frame: Question) -> Any:
        """Send the request ``frame``, wait for its answer, return the result. If the server refuses, raise an error.

        While the client is offline, the frame waits for the next connection. If the call is cancelled before the frame
        was sent, the frame is withdrawn. If the call is cancelled later, perhaps the server still does the command. The
        frame is not sent again.
        """
        self._loop.check()
        self._ending.check()
        self._commands.submit(frame)
        call = self._waiting[frame.id] = _Call(self._loop.lot())
        self._wakeups.outgoing.unpark_all()
        # A reader that waits for the application reads on while a command waits for its reply.
        self._wakeups.room.unpark_all()
        try:
            result = await call.wait()
        finally:
            # The reply removed the entry. An entry that is there now may be another task's later command with this id.
            if self._waiting.get(frame.id) is call:
                del self._waiting[frame.id]
                self._commands.withdraw(frame.id)
        if isinstance(result, TransportError):
            self._ending.check()
        if isinstance(result, Exception):
            raise result
        return result

    def answer(self, id_: str, outcome: object) -> None:
        """Wake the task that waits for command ``id_``. ``outcome`` is the command's result, or an exception."""
        self._waiting.pop(id_).set(outcome)

    def end(self, error: TransportError) -> None:
        """Wake all waiting tasks, and raise ``error`` in them, because the client has ended.

        If the outcome of a task arrived earlier, the task still gets that outcome.
        """
        for call in self._waiting.values():
            call.set(error)
