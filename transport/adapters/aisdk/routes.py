"""The routes of a chat: ask for an answer, read one or all of them, cancel it, and answer a question of the agent."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from actors.events.types import Position
from transport.adapters.aisdk.body import command_id, read_chat
from transport.adapters.aisdk.history import ChatHistory, answer_to
from transport.adapters.aisdk.stream import MessageStream, refusal, text_answer
from transport.adapters.answers import Answer, Refused, json_answer
from transport.adapters.past import past_lines
from transport.protocol import close_codes
from transport.protocol.names import CommandName, ErrorCode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from actors.spi import Attachment, CommandReply
    from transport.adapters.exchange import Exchange, Handler

_STATUSES: Mapping[str | None, int] = {
    ErrorCode.UNKNOWN_AGENT: 404,
    ErrorCode.UNKNOWN_RUN: 409,
    ErrorCode.NOT_WAITING: 409,
    ErrorCode.CANCELLED: 409,
    ErrorCode.BAD_ARGS: 400,
    ErrorCode.BAD_INPUT: 400,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.OVERLOADED: 503,
    ErrorCode.OWNER_UNREACHABLE: 503,
}
"""The HTTP status for the error code of a refused command. Other codes are errors of the server: 500."""


class _Chat:
    """The base of the handlers. A refusal is a text for people."""

    def refusal(self, refused: Refused) -> Answer:
        """Return the response to a refused request."""
        return refusal(refused)


class Start(_Chat):
    """``POST /{agent}``: start a run for the newest message, or join the run that it has started, and stream it."""

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        asked = read_chat(exchange.request.json())
        async with exchange.attached(asked.chat) as attachment:
            before = Position(attachment.epoch, attachment.latest)
        args: dict[str, Any] = {"agent": _part(exchange, "agent"), "input": asked.input}
        reply = await _done(exchange, asked.chat, asked.command_id, CommandName.RUN_START, args)
        if not reply.ok:
            exchange.answer(_refusal_of(reply))
            return
        run_id = str(cast("dict[str, Any]", reply.result)["run_id"])
        # A run that was started before has its start somewhere in the log.
        await exchange.stream(asked.chat, MessageStream(run_id), resume=None if reply.duplicate else before)


class Resume(_Chat):
    """``GET /{agent}/{chat}/stream``: stream the newest run that is open, from its start. 204 if none is open.

    If none is open, and ``after`` is the id of a message of the user, the answer to this message is streamed.

    *A page read the messages just before the answer ended, and asked for the stream just after. Without* ``after`` *it
    showed the question without its answer until it was loaded again.*
    """

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        run_id, before, after = await _open_run(exchange), None, exchange.request.query.get("after")
        if run_id is None and after:
            run_id, before = await _answer_to(exchange, after)
        if run_id is None:
            exchange.answer(Answer(204))
        else:
            await exchange.stream(_part(exchange, "chat"), MessageStream(run_id), resume=before)


class Messages(_Chat):
    """``GET /{agent}/{chat}/messages``: the messages of the chat, with all answers that are complete."""

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        history = ChatHistory(_part(exchange, "agent"))
        async with _past(exchange) as (_, pages):
            async for lines in pages:
                for line in lines:
                    history.feed(line)
        exchange.answer(json_answer(200, history.messages()))


class Cancel(_Chat):
    """``POST /{agent}/{chat}/cancel``: cancel the newest run that is open."""

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        run_id = await _open_run(exchange)
        if run_id is None:
            exchange.answer(json_answer(200, {"cancelled": False}))
            return
        name, args = CommandName.RUN_CANCEL, {"run_id": run_id}
        reply = await _done(exchange, _part(exchange, "chat"), command_id("cancel", run_id), name, args)
        exchange.answer(json_answer(200, reply.result) if reply.ok else _refusal_of(reply))


class AnswerQuestion(_Chat):
    """``POST /{agent}/{chat}/answer``: answer a question of a run, as ``data-question`` shows it."""

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        body = exchange.request.json()
        fields = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
        if not {"runId", "callId", "value"} <= fields.keys():
            raise Refused(close_codes.BAD_FRAME, "an answer has runId, callId and value")
        args = {"run_id": fields["runId"], "call_id": fields["callId"], "value": fields["value"]}
        # Another value is another answer: *the first was refused, because it did not fit, and its refusal came again*.
        id_ = command_id("answer", *args.values())
        reply = await _done(exchange, _part(exchange, "chat"), id_, CommandName.INPUT_ANSWER, args)
        exchange.answer(Answer(204) if reply.ok else _refusal_of(reply))


ROUTES: Mapping[str, tuple[str, type[Handler]]] = {
    "/{agent}": ("POST", Start),
    "/{agent}/{chat}/stream": ("GET", Resume),
    "/{agent}/{chat}/messages": ("GET", Messages),
    "/{agent}/{chat}/cancel": ("POST", Cancel),
    "/{agent}/{chat}/answer": ("POST", AnswerQuestion),
}
"""The handler of each path below a mount, with its HTTP method."""


async def _done(exchange: Exchange, session: str, id_: str, name: str, args: dict[str, Any]) -> CommandReply:
    """Send a command, and wait for its reply as long as the client waits: a start may have to wait for its turn."""
    reply = None
    while reply is None:
        reply = await exchange.command(session, id=id_, name=name, args=args)
    return reply


async def _open_run(exchange: Exchange) -> str | None:
    """Return the id of the newest run of the agent that is open and has no parent. Return None if there is none."""
    agent = _part(exchange, "agent")
    async with exchange.attached(_part(exchange, "chat")) as attachment:
        found = [run.id for run in attachment.runs if run.parent_run_id is None and run.name == agent]
    return found[-1] if found else None


async def _answer_to(exchange: Exchange, message_id: str) -> tuple[str | None, Position | None]:
    """Return the id of the newest run that answers a message of the user, and the position before its start."""
    agent, run_id, before = _part(exchange, "agent"), None, None
    async with _past(exchange) as (attachment, pages):
        async for lines in pages:
            for line in lines:
                if (started := answer_to(message_id, agent, line)) is not None:
                    run_id, before = str(started["run_id"]), Position(attachment.epoch, started["seq"] - 1)
    return run_id, before


@asynccontextmanager
async def _past(exchange: Exchange) -> AsyncGenerator[tuple[Attachment, AsyncGenerator[Sequence[bytes]]]]:
    """Attach to the session of the chat, and yield the attachment and the past events. It counts for the rate."""
    chat = _part(exchange, "chat")
    if not exchange.within_rate(await exchange.user(chat)):
        raise Refused(close_codes.FLOODING, "too many requests of this user")
    async with exchange.attached(chat) as attachment, aclosing(past_lines(attachment)) as pages:
        yield attachment, pages


def _part(exchange: Exchange, name: str) -> str:
    """Return a parameter of the route's path."""
    return str(exchange.request.path_params[name])


def _refusal_of(reply: CommandReply) -> Answer:
    return text_answer(_STATUSES.get(reply.code, 500), f"{reply.code}: {reply.message}")
