"""The questions of a run to its user."""

from __future__ import annotations

from typing import Any, TypeVar, overload

import trio

from actors.loop.threads import require_task
from actors.runs._emits import EmittingRun, string_of
from actors.runs._question import question_of

T = TypeVar("T")


class AskingRun(EmittingRun):
    """The base class of :class:`~actors.Run` that asks the user."""

    __slots__ = ()

    @overload
    async def ask_user(
        self,
        prompt: str,
        *,
        into: type[T],
        schema: object = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as below
    ) -> T: ...
    @overload
    async def ask_user(
        self,
        prompt: str,
        *,
        into: object = None,
        schema: object = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as below
    ) -> Any: ...
    async def ask_user(
        self,
        prompt: str,
        *,
        into: object = None,
        schema: object = None,
        timeout: float | None = None,  # noqa: ASYNC109 - it ends only the question
    ) -> Any:  # JSON, or the type `into`
        """Ask the user a question, wait for the answer, and return it.

        Args:
            prompt: The question.
            into: The type of the answer, of any kind that an agent's input can have. An answer that does not fit is
                refused as ``bad_input``, and the question stays open. Without a type, the answer is any JSON value.
            schema: A JSON value that tells clients which answer is expected; by default the JSON Schema of ``into``.
                The answer is not checked against it.
            timeout: Time limit for the answer, in seconds.

        Raises:
            ConfigError: No answer could ever have the type ``into``.
            TimeoutError: There was no answer within ``timeout``. The question is withdrawn, as by a cancellation.
            RunFailed: The user has ``open_questions_per_user`` open questions already; the code is ``overloaded``.

        Cancellation:
            The question is withdrawn (``input_withdrawn``). If the whole run is stopping, the end of the run closes the
            question instead. Later answers are refused, usually as ``not_waiting``.
        """
        return await self._ask(prompt, into, schema, timeout)

    async def _ask(self, prompt: str, into: object, schema: object, seconds: float | None) -> Any:
        waiting = trio.move_on_after(float("inf") if seconds is None else seconds)  # first: it checks `seconds`
        require_task(self._stream.thread, "ask_user()")
        call_id = self._next_call()
        data, expected = question_of(string_of(prompt), into, schema)
        text = self._recorder.encode(data)
        await self.ready_to_ask()
        self._recorder.record("input_requested", text, self.id, call_id)
        question = self._recorder.open_question(self.id, call_id, expected)
        stopping = self.cancelled
        self.waits.add(waiting)
        try:
            with waiting:
                await question.answered()
            # An answer that came in the moment of the timeout counts: its sender was told that it was taken.
            if question.is_answered:
                return question.value
            self._require_open()
            self._recorder.withdraw(self.id, call_id, "timeout")
            raise TimeoutError(f"the user did not answer within {seconds:g} s")
        except trio.Cancelled:
            # A run that was told to stop meanwhile ends soon, and its question with it: one event says so, not two.
            if self.cancelled == stopping and not self._recorder.scope.cancel_called:
                self._recorder.withdraw(self.id, call_id, "cancelled")
            raise
        finally:
            self.waits.discard(waiting)
            self._recorder.forget_question(call_id)
