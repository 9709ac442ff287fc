"""No name or text of a client, a user or an agent can begin a line of the server's log."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from _below import HOST, NATIVE
from protocol.wire import client
from websockets.exceptions import InvalidStatus

from transport import Credentials, Forbidden, Greenroom, User

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors import Run

FORGED = "\nSTART forged\r\x1b[2J\u2028START\x85START"


@contextmanager
def kept_lines() -> Iterator[list[str]]:
    """Keep all records of the project's loggers inside the block, as a log file has them."""
    lines: list[str] = []

    class Keeps(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Keeps()
    handler.setFormatter(logging.Formatter("START %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in ("actors", "greenroom")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    yield lines
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(handler)
        logger.setLevel(level)


async def auth(credentials: Credentials) -> User:
    """Return a user whose name is the token. Forbid one, and fail for another."""
    name = str(credentials.token)
    if name.startswith("mallory"):
        raise Forbidden(f"no {name}")
    if name.startswith("broken"):
        raise ValueError(f"cannot look up {name}")
    return User(name)


async def fails(run: Run, text: str) -> None:
    """Fail with the input in the text of the exception, in a note and as code."""
    error = RuntimeError(f"{run.user} asked for {text}")
    error.add_note(text)
    try:
        compile("a b", text, "exec")
    except SyntaxError:
        raise error  # noqa: B904 - its context is shown, too


@pytest.mark.parametrize("forged", [FORGED, "\r\nSTART", "\x0bSTART", "\x1cSTART", "\u2029START", "\u202eTRATS"])
async def test_no_name_forges_a_line(forged: str) -> None:
    """Users, inputs, commands, frames, origins and paths are written without line ends and control characters."""
    app = Greenroom("memory:", auth=auth)
    app.agent(fails)
    with kept_lines() as lines:
        async with app.running(port=0) as server:
            async with client(server) as one:
                await one.hello(token=f"ann{forged}")
                await one.completed(await one.start(f"id{forged}", "fails", f"text{forged}"))
                await one.command(f"c{forged}", f"name{forged}")
                await one.command(f"d{forged}", "run.start", agent=f"agent{forged}")
            for token in ("mallory", "broken"):
                async with client(server) as one:
                    await one.send("hello", session="s1", token=token + forged)
                    await one.ended()
            async with client(server) as one:
                await one.send_text(f'{{"type": "hello", "session": "s\\u000aSTART", "{forged}')
                await one.ended()
            for options in (
                {"origin": "http://evil.example/\u202eSTART".encode().decode("latin-1")},
                {"path": "/%0aSTART"},
            ):
                with pytest.raises(InvalidStatus):
                    async with client(server, **options):
                        pass
            (await server.sessions.get(f"bob{forged}", "s1")).statistics()
    text = "\n".join(lines)
    assert len(lines) > (5 if HOST == NATIVE else 4)  # a web server judges the paths
    for part in ("ann", "mallory"):
        assert f"{part}\\" in text, part
    for line in lines:
        first, *below = line.split("\n")
        assert line.replace("\n", "").isprintable()
        assert first.startswith("START ")
        assert [part for part in below if part.startswith("START")] == []
