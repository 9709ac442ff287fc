"""Lone surrogates, which JSON can escape and UTF-8 cannot hold, are refused in a command's reply."""

from __future__ import annotations

import pytest
from protocol.agents import make_app
from protocol.wire import greeted

HALF = "half \ud800"
COMMANDS: dict[str, tuple[str, dict[str, object]]] = {
    "its name": (HALF, {}),
    "the text of a message": ("message.send", {"text": HALF}),
    "an agent's name": ("run.start", {"agent": HALF}),
    "an input": ("run.start", {"agent": "echo", "input": HALF}),
    "a key within an input": ("run.start", {"agent": "echo", "input": {HALF: 1}}),
    "a run to cancel": ("run.cancel", {"run_id": HALF}),
    "a command to cancel": ("run.cancel", {"command_id": HALF}),
    "a run to answer": ("input.answer", {"run_id": HALF, "call_id": "c", "value": 1}),
    "a call to answer": ("input.answer", {"run_id": "r", "call_id": HALF, "value": 1}),
}


@pytest.mark.parametrize("where", COMMANDS)
async def test_lone_surrogate_in_a_command(where: str) -> None:
    """If a command contains a lone surrogate (half a character), it is refused as ``bad_args``.

    The connection stays open.
    """
    name, args = COMMANDS[where]
    async with make_app().running(port=0) as server, greeted(server) as one:
        reply = await one.command("c1", name, **args)
        assert (reply["ok"], reply["error"]["code"]) == (False, "bad_args")
        assert await one.command("c1", name, **args) == {**reply, "duplicate": True}


async def test_lone_surrogate_in_an_answer() -> None:
    """If an answer contains a lone surrogate (half a character), it is refused as ``bad_args``.

    The question stays open, so another answer is accepted.
    """
    async with make_app().running(port=0) as server, greeted(server) as one:
        run_id = await one.start("s", "ask")
        call_id = (await one.events_until(2))[-1]["call_id"]
        for command_id, value, code in (("c1", [HALF], "bad_args"), ("c2", "whole \0\u2028", None)):
            reply = await one.command(command_id, "input.answer", run_id=run_id, call_id=call_id, value=value)
            assert reply.get("error", {}).get("code") == code
        assert (await one.completed(run_id))["data"]["result"] == "whole \0\u2028"
