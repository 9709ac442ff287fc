"""An app for the browser tests. Its one agent follows a script. Some steps of a script never end."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from transport import Greenroom

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actors import Run

app = Greenroom()

HOSTILE = (
    '<img src=x onerror="window.pwned=1">',
    "<script>window.pwned=1</script>",
    '"><svg onload=window.pwned=1>',
    "javascript:window.pwned=1",
    "__proto__",
)
"""Texts that do harm if a page takes them for HTML, for a link or for the name of a field."""


async def quick(number: int = 1) -> int:
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


async def play(run: Run, word: str) -> None:  # noqa: C901 - one case for each word
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
        case "extra" | "extras":
            await extras(run, (quick, endless) if word == "extras" else (quick,))
        case "type":
            run.typing(active=True)
            await run.call_tool(endless)
        case "ask" | "ask in vain":
            await ask(run, timeout=None if word == "ask" else 0.01)
        case "hostile":
            for text in HOSTILE:
                await be_hostile(run, text)
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


async def be_hostile(run: Run, text: str) -> None:
    """Put ``text`` into every field that a run can emit."""
    await run.thinking(text)
    await run.custom(text, {text: text})
    async with run.tool(text, {text: text}) as call:
        call.result = {text: [text]}
    async with run.subrun(text, text) as child:
        await child.output(text)
    with suppress(TimeoutError):
        await run.ask_user(text, schema={"enum": [text]}, timeout=0.01)
    blocks = (
        f"\n\n{text}",
        f"# {text}",
        f"- {text}",
        f"> {text}",
        f"| {text} | {text} |\n| --- | --- |\n| {text} | `{text}` |",
        f"```{text}\n{text}\n```",
        f'**{text}** [{text}]({text}) [a](https://example.org/"onclick="window.pwned=1)',
        "",
    )
    await run.output("\n\n".join(blocks))


async def swallow(run: Run, tool: Callable[..., object], timeout: float | None = None) -> None:  # noqa: ASYNC109 - the tool's
    """Call a tool, and continue if the tool raises an exception."""
    try:
        await run.call_tool(tool, timeout=timeout)
    except Exception as error:  # noqa: BLE001 - any exception of the tool: the page shows it, and the script goes on
        await run.thinking(f"went on after {type(error).__name__}")


async def extras(run: Run, tools: Sequence[Callable[..., object]]) -> None:
    """Run two sub-agents at once. Each calls all ``tools``, one after the other."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(extra, run, "first", tools)
        nursery.start_soon(extra, run, "second", tools)


async def extra(run: Run, name: str, tools: Sequence[Callable[..., object]]) -> None:
    """Run a sub-agent that calls ``tools``, one after the other."""
    async with run.subrun("extra", name) as child:
        for tool in tools:
            await child.call_tool(tool)
