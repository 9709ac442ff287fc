"""The requests of AG-UI: a run, a whole thread, its open runs, the end of a run, and the capabilities of an agent."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import orjson
import trio

from actors import CommandRefused, Position
from transport.adapters.agui._capabilities import capabilities_of
from transport.adapters.agui._formats import RunFormat, ThreadFormat, failed, refusal_of
from transport.adapters.agui._input import BadInput, RunInput
from transport.adapters.agui._run_view import BY
from transport.adapters.agui._search import find_answered, find_questions, find_running, find_start
from transport.adapters.agui.encoder import Encoder, ThreadEncoder
from transport.adapters.answers import Refused, json_answer, refusal_answer
from transport.adapters.positions import flag, start_of
from transport.protocol import close_codes, server_frames

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transport.adapters.agui._capabilities import Capabilities
    from transport.adapters.agui._input import Answer, InputFunction
    from transport.adapters.agui._search import Asked
    from transport.adapters.answers import Answer as HttpAnswer
    from transport.adapters.exchange import Exchange
    from transport.adapters.stream_wire import StreamWire

START_WAIT_SECONDS = 1.0
"""Time in which the start of a run is expected. A run that waits for its turn gets its stream then, with comments."""

_NO_THREAD = "capabilities"
"""The session for which the user of a request is looked for that is about no thread."""


class _Failed(Exception):
    """The AG-UI run cannot begin: it is a stream of one RUN_ERROR."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message


class _Handler:
    """The base of the handlers."""

    def refusal(self, refused: Refused) -> HttpAnswer:
        """Return the response to a refused request."""
        return refusal_of(refused)


class RunHandler(_Handler):
    """``POST /{agent}``: start a run, join it, or go on with it by answers to its questions; then stream it.

    Args:
        input_: The function that makes the input of the agent from the ``RunAgentInput``.
    """

    def __init__(self, input_: InputFunction) -> None:
        self._input = input_

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        try:
            asked = RunInput.of(exchange.request.json())
            if not await _resume(exchange, asked):
                await self._run(exchange, asked)
        except BadInput as error:
            exchange.answer(failed("bad_input", str(error)))
        except _Failed as error:
            exchange.answer(failed(error.code, error.message))

    async def _run(self, exchange: Exchange, asked: RunInput) -> None:
        cursor = start_of(exchange.request).resume
        async with exchange.attached(asked.thread) as attachment:
            position = Position(attachment.epoch, attachment.latest)
            seq = await find_start(attachment, asked.sender)
        if seq is not None:
            position = Position(position.epoch, seq - 1)
        elif cursor is not None:
            # Never a start: the client has seen this run, so it would be a second one.
            lost = "epoch_changed" if cursor.epoch != position.epoch else "unknown_run"
            raise _Failed(lost, "the log does not have this run any more")
        format_ = RunFormat(
            Encoder(asked.thread, asked.run_id),
            lambda event: event.command_id == asked.sender,
            orjson.dumps(asked.sender),
            cursor,
        )
        if seq is not None or await self._start(exchange, asked):
            await exchange.stream(asked.thread, format_, resume=position)
        else:
            await self._stream_waiting(exchange, asked, format_, position)

    async def _stream_waiting(
        self, exchange: Exchange, asked: RunInput, format_: RunFormat, position: Position
    ) -> None:
        """Stream a run that waits for its turn, and tell its client if the start is refused or cancelled."""
        async with trio.open_nursery() as nursery:

            def on_wire(wire: StreamWire) -> None:
                nursery.start_soon(self._tell_refusal, exchange, asked, wire)

            await exchange.stream(asked.thread, format_, resume=position, on_wire=on_wire)
            nursery.cancel_scope.cancel()

    async def _start(self, exchange: Exchange, asked: RunInput, wait: float | None = START_WAIT_SECONDS) -> bool:
        """Start the run, and return whether it has begun. Raise ``_Failed`` if the start was refused."""
        args = {"agent": exchange.request.path_params["agent"], "input": self._input(asked.body)}
        reply = await exchange.command(
            asked.thread, id=asked.sender, name="run.start", args=args, wait=wait, by=asked.sender
        )
        if reply is not None and reply.code is not None:
            raise _Failed(reply.code, reply.message)
        return reply is not None

    async def _tell_refusal(self, exchange: Exchange, asked: RunInput, wire: StreamWire) -> None:
        try:
            while not await self._start(exchange, asked, wait=None):
                pass
        except _Failed as error:
            wire.send(server_frames.error(error.code, error.message))
        except Refused as refused:
            wire.send(server_frames.error("refused", refused.reason))


async def _resume(exchange: Exchange, asked: RunInput) -> bool:
    """Answer the questions of a run, and stream the AG-UI run that goes on. Return False if a run is to be started."""
    answers = asked.answers or asked.tool_answers
    if not answers:
        return False
    async with exchange.attached(asked.thread) as attachment:
        epoch, known = attachment.epoch, await find_questions(attachment, {each.question for each in answers})
    if not asked.answers:
        answers = [each for each in answers if each.question in known and known[each.question].is_tool]
        if asked.asks_anew:  # the page does not wait for the runs that wait for its tools
            answers = [each for each in answers if known[each.question].closed_by is None]
        if not answers:
            return False
    open_ones = [(each, _require_open(asked, each, known.get(each.question))) for each in answers]
    # In reverse: the first question ended the last AG-UI run. Later ones are answered when that goes on.
    for answer, question in reversed(open_ones):
        if question.closed_by is None:
            await _send(exchange, asked, answer, question)
    if not asked.answers and asked.asks_anew:
        return False
    first, found = open_ones[0]
    format_ = RunFormat(
        Encoder(asked.thread, asked.run_id, first.question),
        lambda event: event.run_id == found.root,
        orjson.dumps(found.root),
        start_of(exchange.request).resume,
    )
    await exchange.stream(asked.thread, format_, resume=Position(epoch, found.started - 1))
    return True


def _require_open(asked: RunInput, answer: Answer, question: Asked | None) -> Asked:
    """Return the question. Raise ``_Failed`` unless it is open, or this AG-UI run has answered it before."""
    if question is None or question.closed_by not in {None, asked.sender}:
        raise _Failed("not_waiting", f"the run does not wait for an answer to {answer.question}")
    return question


async def _send(exchange: Exchange, asked: RunInput, answer: Answer, question: Asked) -> None:
    """Send the answer to a question to its run."""
    name, args = "input.answer", {"run_id": answer.run, "call_id": answer.question, "value": answer.value}
    if answer.is_cancelled:
        name, args = "run.cancel", {"run_id": question.root}
    id_ = f"{asked.sender}:{answer.question}"
    reply = await exchange.command(asked.thread, id=id_, name=name, args=args, by=asked.sender)
    if reply is not None and reply.code is not None:
        raise _Failed("not_waiting" if reply.code == "unknown_run" else reply.code, reply.message)


class ConnectHandler(_Handler):
    """``POST /{agent}/connect``: the whole thread from its beginning, and then new events."""

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        try:
            asked = RunInput.of(exchange.request.json())
        except BadInput as error:
            exchange.answer(failed("bad_input", str(error)))
            return
        live = flag(exchange.request, "live") if "live" in exchange.request.query else True
        format_ = ThreadFormat(ThreadEncoder(asked.thread), start_of(exchange.request).resume, live=live)
        await exchange.stream(asked.thread, format_)


class CancelHandler(_Handler):
    """``POST /{agent}/{thread}/{run}/cancel``: ask the run behind an AG-UI run to stop."""

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        thread, sender = exchange.request.path_params["thread"], f"{BY}{exchange.request.path_params['run']}"
        cancelled = await self._cancel(exchange, thread, {"command_id": sender})
        if not cancelled:
            async with exchange.attached(thread) as attachment:
                root = await find_answered(attachment, sender)
            cancelled = root is not None and await self._cancel(exchange, thread, {"run_id": root})
        exchange.answer(json_answer(200, {"cancelled": cancelled}))

    async def _cancel(self, exchange: Exchange, thread: str, args: dict[str, Any]) -> bool:
        id_ = f"agui-cancel:{secrets.token_hex(8)}"
        reply = await exchange.command(thread, id=id_, name="run.cancel", args=args)
        result: Any = {} if reply is None or reply.code is not None else reply.result
        return bool(result.get("cancelled"))


class RunningHandler:
    """``GET /{agent}/{thread}/runs``: the ids of the AG-UI runs of a thread that are open, or wait for their turn."""

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        thread = exchange.request.path_params["thread"]
        if not exchange.within_rate(await exchange.user(thread)):
            raise Refused(close_codes.FLOODING, "too many requests of this user")
        async with exchange.attached(thread) as attachment:
            running = await find_running(attachment)
            queued = [each.command_id for each in attachment.queued]
        running += [id_.removeprefix(BY) for id_ in queued if id_.startswith(BY)]
        exchange.answer(json_answer(200, {"runs": running}))

    def refusal(self, refused: Refused) -> HttpAnswer:
        """Return the response to a refused request: no stream was asked for."""
        return refusal_answer(refused)


class CapabilitiesHandler:
    """``GET /{agent}/capabilities``: the ``AgentCapabilities`` of AG-UI for an agent.

    Args:
        own: The capabilities that the application declares, by the name of the agent.
    """

    def __init__(self, own: Mapping[str, Capabilities]) -> None:
        self._own = own

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        if not exchange.within_rate(await exchange.user(_NO_THREAD)):
            raise Refused(close_codes.FLOODING, "too many requests of this user")
        sessions, name = exchange.server.sessions, str(exchange.request.path_params["agent"])
        try:
            agent = sessions.agents.find(name)
        except CommandRefused as error:
            exchange.answer(json_answer(404, {"code": error.code, "message": error.message}))
            return
        seconds = sessions.settings.run_seconds if agent.timeout is None else agent.timeout
        exchange.answer(json_answer(200, capabilities_of(agent.describe(), seconds, self._own.get(name, {}))))

    def refusal(self, refused: Refused) -> HttpAnswer:
        """Return the response to a refused request: no stream was asked for."""
        return refusal_answer(refused)
