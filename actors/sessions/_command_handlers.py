"""The handlers of a session's commands, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from actors.errors import CommandRefused, UnserialisableEvent
from actors.events.encoding import is_text
from actors.events.line import envelope
from actors.events.types import Custom, UserMessage
from actors.sessions._closing import Closing
from actors.sessions._commands import LOCAL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from actors.events.types import JSON
    from actors.runs._recorder import RunRecorder
    from actors.sessions._command_memory import CommandMemory
    from actors.sessions._commands import Command
    from actors.sessions._replies import Replies
    from actors.sessions._services import SessionServices
    from actors.sessions._starts import Starts

_SHOWN = 100
"""Maximum number of characters of an unknown command's name in the refusal: the name can be very long."""


class CommandHandlers:
    """The handlers of one session's commands. A handler replies, or raises CommandRefused. Handlers never wait."""

    __slots__ = ("_memory", "_recorder", "_replies", "_services", "_starts", "closing")

    def __init__(
        self,
        services: SessionServices,
        recorder: RunRecorder,
        memory: CommandMemory,
        replies: Replies,
        starts: Starts,
    ) -> None:
        self._services = services
        self._recorder = recorder
        self._memory = memory
        self._replies = replies
        self._starts = starts
        self.closing: Closing | None = None
        """The permanent close of the session. None until the first command ``session.close``.

        When a close has begun, every other command is refused.
        """

    def handle(self, command: Command, now: float) -> None:
        """Carry out a command, unless the same command was sent before. Every command gets a reply, now or later.

        ``now`` is the time on trio's clock, in seconds.
        """
        if not self._memory.admit(command, now):
            return
        try:
            handler = self._handler_of(command)
            handler(self, command)
        except CommandRefused as refusal:
            self._replies.refuse(command.id, refusal.code, refusal.message)

    def _handler_of(self, command: Command) -> Callable[[Any, Command], None]:  # Any: the handlers themselves
        if self.closing is not None and command.name != "session.close":
            raise CommandRefused("cancelled", "the session is being closed permanently")
        handler = self._HANDLERS.get(command.name)
        if handler is None:
            raise _unknown(command)
        return handler

    def _start_run(self, command: Command) -> None:
        if self._services.draining:
            raise CommandRefused("overloaded", "the server is about to end: try again after reconnecting")
        agent = command.agent or self._services.agents.find(command.text("agent"))
        text, value = self._input_of(command)
        self._starts.accept(command, agent, agent.fit(value, self._recorder.redact), text)

    def _input_of(self, command: Command) -> tuple[bytes, JSON]:
        """Return the input of a ``run.start`` in two forms: JSON text for the event, and a value for the agent."""
        text = command.encoded_input
        if text is not None:
            return text, orjson.loads(text)
        # Decoding the text again would give the same value: it came from JSON, and encode() refuses every value that
        # JSON cannot hold.
        value = command.args.get("input")
        return self._encode(value), value

    def _cancel_run(self, command: Command) -> None:
        run_id = self._run_named_by(command)
        run, start = self._recorder.runs.get(run_id), self._starts.find(run_id)
        is_queued = start is not None and not start.begun
        if run is not None:
            run.stop()
        elif start is not None and is_queued:
            self._starts.cancel_queued(start)
        # False is no error: the run may have ended while the command was on its way.
        result: dict[str, JSON] = {"cancelled": run is not None or is_queued}
        if start is not None and start.in_doubt:
            # *The client was told that the run is cancelled. Then the process died before agent_started was committed:
            # the start was sent again, and the run that the user had cancelled continued.*
            self._replies.send_when_committed(command.id, result)
        else:
            self._replies.send(command.id, result)

    def _run_named_by(self, command: Command) -> str:
        """Return the id of the run that a command names, by the run's own id or by the id of the start command."""
        if "command_id" not in command.args or command.args.get("run_id") is not None:
            return command.text("run_id")
        return self._starts.find_run(command.text("command_id"))

    def _answer_question(self, command: Command) -> None:
        run_id, call_id = command.text("run_id"), command.text("call_id")
        if run_id not in self._recorder.runs:
            raise CommandRefused("unknown_run", f"run {run_id} is unknown or over")
        question = self._recorder.questions.get(call_id)
        if question is None or question.run_id != run_id:
            raise CommandRefused("not_waiting", f"run {run_id} does not wait for an answer to {call_id}")
        if "value" not in command.args:
            raise CommandRefused("bad_args", "value is missing")
        data = self._encode({"value": command.args["value"], "by": command.by})
        # If this raises, the question stays open, so the user can answer again.
        value = question.fit(command.args["value"], self._recorder.redact)
        # Record the event first: if that raises, the question is still open.
        self._recorder.record("input_received", data, run_id, call_id)
        del self._recorder.questions[call_id]
        question.answer(value)
        self._replies.send_when_done(command, {})

    def _send_message(self, command: Command) -> None:
        text = command.args.get("text")
        if not isinstance(text, str):
            raise CommandRefused("bad_args", "text must be a string")
        # The session must not wait here: it would carry out no other command meanwhile.
        self._recorder.account.require_rate()
        self._recorder.stream.put(envelope(UserMessage.type, None), self._encode({"text": text}))
        self._replies.send_when_done(command, {"seq": self._recorder.stream.seq})

    def _emit(self, command: Command) -> None:
        """Emit an event of the application, for code at another node of a cluster."""
        if command.by != LOCAL or command.encoded_input is None:
            raise _unknown(command)
        self._recorder.account.require_rate()
        self._recorder.stream.put(envelope(Custom.type, None), command.encoded_input)
        self._replies.send_when_done(command, {})

    def _close_session(self, command: Command) -> None:
        if self.closing is None:
            self.closing = Closing(self._services, self._recorder, self._replies)
            self.closing.begin(self._starts)
        self.closing.join(command.id)

    def _encode(self, data: object) -> bytes:
        """Return the data of an event as JSON text.

        Raise ``CommandRefused("bad_args")`` if the data is too large or not allowed.
        """
        try:
            return self._recorder.encode(data)
        except UnserialisableEvent as error:
            raise CommandRefused("bad_args", str(error)) from error

    _HANDLERS: ClassVar[Mapping[str, Callable[[Any, Command], None]]] = {
        "run.start": _start_run,
        "run.cancel": _cancel_run,
        "input.answer": _answer_question,
        "message.send": _send_message,
        "event.emit": _emit,
        "session.close": _close_session,
    }


def _unknown(command: Command) -> CommandRefused:
    if not is_text(command.name):
        return CommandRefused("bad_args", "the command's name has a lone surrogate")
    name = command.name if len(command.name) <= _SHOWN else command.name[:_SHOWN] + "…"
    return CommandRefused("unknown_command", f"there is no command {name!r}")
