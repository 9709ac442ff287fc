"""An app for the browser tests. Its one agent follows a script. Some steps of a script never end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from transport import Greenroom

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import Run

app = Greenroom()


async def quick(number: int) -> int:
    """Tool that returns the next number at once."""
    return number + 1


async def broken() -> None:
    """Tool that raises an error with HTML in its text."""
    raise LookupError("the prop is <b>gone</b>")


async def endless(api_key: str = "sesame") -> None:
    """Tool that never ends. The value of its argument is a secret."""
    await trio.sleep_forever()


@app.agent
async def player(run: Run, script: str) -> str:
    """Do the steps of ``script``, which are separated by " | ", and return the script."""
    for word in script.split(" | "):
        await play(run, word)
    return script


async def play(run: Run, word: str) -> None:
    """Do one step of a script. An unknown word is emitted as text."""
    match word:
        case "think":
            await run.thinking("What is my line?")
        case "tool":
            await run.call_tool(quick, number=41)
        case "fail":
            await swallow(run, broken)
        case "time out":
            await swallow(run, endless, timeout=0.01)
        case "hang":
            await run.call_tool(endless)
        case "extras":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(extra, run, "first")
                nursery.start_soon(extra, run, "second")
        case "type":
            run.typing(active=True)
            await run.call_tool(endless)
        case "ask" | "ask in vain":
            await ask(run, timeout=None if word == "ask" else 0.01)
        case "ruin":
            raise RuntimeError("the curtain fell")
        case _:
            await run.output(word)


async def ask(run: Run, timeout: float | None) -> None:  # noqa: ASYNC109 - the question's
    """Ask the user a question. If the question times out, call a tool that never ends."""
    try:
        answer = await run.ask_user("Which colour?", schema={"enum": ["red", "green"]}, timeout=timeout)
        await run.output(f"You said {answer}.")
    except TimeoutError:
        await run.call_tool(endless)


async def swallow(run: Run, tool: Callable[..., object], timeout: float | None = None) -> None:  # noqa: ASYNC109 - the tool's
    """Call a tool, and continue if the tool raises an exception."""
    try:
        await run.call_tool(tool, timeout=timeout)
    except Exception as error:  # noqa: BLE001 - any exception of the tool: the page shows it, and the script goes on
        await run.thinking(f"went on after {type(error).__name__}")


async def extra(run: Run, name: str) -> None:
    """Run a sub-agent that calls two tools: a quick tool, and a tool that never ends."""
    async with run.subrun("extra", name) as child:
        await child.call_tool(quick, number=1)
        await child.call_tool(endless)
