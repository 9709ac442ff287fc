"""Log lines as JSON: their fields, their ids, and that nothing of clients is in them."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import trio
import trio.testing
from protocol.agents import auth_by_name
from protocol.wire import client, greeted, wait_for_connections

from actors import LogUnavailable, MemoryLog, Run
from actors.failures import log_failure, log_line
from actors.testing.faulty_log import FaultyLog
from transport import Credentials, Greenroom, User
from transport.logs import JsonFormatter

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger("greenroom.test")


@pytest.fixture
def lines() -> Iterator[Any]:
    """Return a function that returns all lines so far, decoded. Lines of every level are written."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield lambda: [orjson.loads(line) for line in stream.getvalue().split("\n") if line]
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def test_fields(lines: Any) -> None:
    """A line has the time in UTC, the level, the logger and the message, and the ids that were given."""
    log_line(logger, logging.INFO, "%s has %d", "ann", 2, fields={"user": "ann", "connection": "c-1"})
    (line,) = lines()
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "greenroom.test",
        "message": "ann has 2",
        "user": "ann",
        "connection": "c-1",
    }


def test_failure(lines: Any) -> None:
    """A traceback is one field. It does not make further lines."""
    log_failure(logger, "it failed", error=ValueError("two\nlines \x1b[0m"), fields={"reference": "ab12"})
    (line,) = lines()
    assert (line["message"], line["reference"], "ValueError" in line["exception"]) == ("it failed", "ab12", True)


@pytest.mark.parametrize("text", ["\ud800", "\u2028", 'a "quote"', "\x00\n\r", "☃"])
def test_any_text_is_one_line_of_json(lines: Any, text: str) -> None:
    """Every message is one line that strict readers of JSON read."""
    logger.warning(text)  # as code of an application does
    (line,) = lines()
    assert line["message"] == text.encode("utf-8", "replace").decode()


async def test_lines_of_an_agent_have_its_run(lines: Any) -> None:
    """Lines of an agent's own code, also in the thread of a sync tool, have the user, the session and the run."""
    app = Greenroom("memory:", settings={"drain_seconds": 0})
    own = logging.getLogger("own.code")

    def tool() -> None:
        own.warning("in a thread")

    @app.agent
    async def logs(run: Run) -> None:
        own.warning("in a task")
        await run.call_tool(tool)

    @app.agent
    async def fails(run: Run) -> None:
        raise ValueError("no")

    async with app.running(port=0) as server:
        handle = await server.sessions.get("ann", "s1")
        runs = {name: await handle.start(name) for name in ("logs", "fails")}
        async with greeted(server):
            await trio.testing.wait_all_tasks_blocked()
        while server.sessions.statistics().runs.running:
            await trio.lowlevel.checkpoint()
    for line in (line for line in lines() if line["logger"] == "own.code"):
        assert (line["user"], line["session"], line["run"]) == ("ann", "s1", runs["logs"])
    (failed,) = [line for line in lines() if line["level"] == "error"]
    assert (failed["user"], failed["session"], failed["run"]) == ("ann", "s1", runs["fails"])


SECRET = "PAYLOAD"


async def auth_by_token(credentials: Credentials) -> User:
    """Return the user before the colon of the token, or refuse the token."""
    user = await auth_by_name(credentials)
    return User(user.id.partition(":")[0])


class FailingOnce(MemoryLog):
    """A log that fails to make the session ``broken``."""

    async def make(self, key: Any) -> Any:
        """Fail for one session."""
        if key.session != "broken":
            return await super().make(key)
        raise LogUnavailable("the disk is full")


def busy_app(log: Any) -> Greenroom:
    """Return an app whose agents handle texts that must not be logged."""
    app = Greenroom(log, auth=auth_by_token, settings={"drain_seconds": 0, "commands_burst": 30})

    def tool(value: str) -> str:
        return value + SECRET

    @app.agent
    async def works(run: Run, text: str) -> str:
        await run.thinking(text)
        await run.call_tool(tool, value=text)
        await run.output(text)
        await run.custom("note", {"text": text})
        async with run.subrun("part", text) as part:
            part.result = text
        return text

    @app.agent
    async def fails(run: Run, text: str) -> str:
        await run.output(text)
        raise RuntimeError("it failed")

    @app.agent
    async def asks(run: Run, text: str) -> None:
        await run.ask_user(text)

    return app


async def test_nothing_of_clients_is_logged(lines: Any) -> None:
    """No text, argument, result, answer, frame or token of a client is in any line, of any level."""
    token = f"ann:{SECRET}"
    log = FaultyLog(FailingOnce())
    async with busy_app(log).running(port=0) as server:
        async with greeted(server, token="ann") as one:
            for number, agent in enumerate(("works", "fails", "asks")):
                await one.start(f"c{number}", agent, f"{SECRET} {number}")
            await one.say(SECRET)
            question = next(event for event in one.events() if event["type"] == "input_requested")
            args = {"run_id": question["run_id"], "call_id": question["call_id"]}
            await one.command("answer", "input.answer", **args, value=SECRET)
            await one.command("wrong input", "run.start", agent="works", input={SECRET: SECRET})
            await one.command("wrong agent", "run.start", agent="nobody", input=SECRET)
            await one.command("too late", "input.answer", **args, value=SECRET)
            for number in range(40):  # beyond the limit
                await one.send("command", id=f"m{number}", name="message.send", args={"text": SECRET})
            await one.reply("m39")
        for wrong in (f'{{"{SECRET}', f'{{"type":"hello","session":"s1","token":"ann","resume":"{SECRET}"}}', "[]"):
            async with client(server) as one:
                await one.send_text(wrong)
                assert (await one.ended()).code == 4500
        for name in ("wrong", "stranger", "expired", "forbidden", "unavailable", "broken"):
            async with client(server) as one:
                await one.send("hello", session="s1", token=name)
                await one.ended()
        async with client(server) as one:
            await one.send("hello", session="broken", token=token)
            assert (await one.ended()).code == 4006
        async with greeted(server, token=token) as one:
            log.fail("append")
            await one.send("command", id="lost", name="message.send", args={"text": SECRET})
            await one.ended()
        await wait_for_connections(server)
    text = "\n".join(json.dumps(line) for line in lines() if line["logger"].startswith(("greenroom", "actors")))
    assert "refused" in text
    assert text.count("reference") >= 2
    assert [line for line in text.splitlines() if SECRET in line] == []
