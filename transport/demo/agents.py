"""*Ask the standard library*: an agent that answers from the Python it runs on, without a model and without a network.

It is written as any user of Greenroom would write it, with public names only.
"""

from collections.abc import Callable
from typing import Any

import attrs
import trio

from actors import JSON, Run
from transport import Greenroom
from transport.demo.answer import compose, nothing_found, pieces, shows_something
from transport.demo.index import Entry
from transport.demo.library import Library
from transport.demo.model import Model
from transport.demo.sandbox import NOT_RUN, run_example

PACE = 0.03  # seconds: the demo is to be watched, and the stream looks as if a model wrote it
MODULES, READ_PER_MODULE, OTHERS = 3, 2, 4
WORTH_A_LOOK = 0.45  # findings with a score below this share of the best finding's score are not mentioned
TOOL_SECONDS, RUN_SECONDS = 15.0, 120.0
SEARCH_FAILED = "I am sorry: I could not search the standard library just now. Please ask again.\n"


@attrs.frozen
class Lead:
    """The input of a sub-agent: a module, and the question that the sub-agent answers from this module."""

    module: str
    question: str


@attrs.frozen
class Demo:
    """The state that all agents of the demo share.

    The state has the library to search, the pause in seconds after each streamed piece of text, and the model (or
    None).
    """

    library: Library
    pace: float = PACE
    model: Model | None = None

    async def answer(self, run: Run, question: str) -> dict[str, JSON]:
        """Answer ``question`` by the model if :attr:`model` is set, or else from the index of the standard library."""
        if not self.library.ready:
            await run.thinking("I am still reading the standard library: the first question has to wait for that, once")
        await self.library.index()
        if self.model is not None:
            return await self.model.answer(run, question, self.library)
        return await self.answer_from_index(run, question)

    async def answer_from_index(self, run: Run, question: str) -> dict[str, JSON]:
        """Stream an answer in Markdown. Return the answer with its best name, its modules and its places in the source.

        If a tool or sub-agent fails, the user sees a thought (an ``agent_thinking`` event) about the failure, and the
        answer continues without its result.
        """
        await self._think(run, f"What in the standard library has to do with: {question}")
        found = await self._try(run, self.library.search, query=question, limit=10)
        if found is None:
            return await self._stream(run, SEARCH_FAILED, [])
        findings = await self._investigate_all(run, found["modules"][:MODULES], question) if found["modules"] else []
        if not findings:
            return await self._stream(run, nothing_found(question), [])
        best, *others = [each for each in findings if each["score"] >= WORTH_A_LOOK * findings[0]["score"]]
        await self._think(run, f"{best['symbol']} fits best. Let me see whether I can show it.")
        example = await self._example(run, best)
        return await self._stream(run, compose(best, example, others[:OTHERS]), findings)

    async def investigate(self, run: Run, lead: Lead) -> list[JSON]:
        """Return the functions and classes in ``lead.module`` that answer the question, best first."""
        await self._think(run, f"Looking into {lead.module}")
        found = await self._try(run, self.library.search, query=lead.question, limit=4, module=lead.module)
        hits: list[Entry] = found["hits"] if found else []
        for hit in hits[:READ_PER_MODULE]:
            source = await self._try(run, self.library.read_source, module=lead.module, name=hit["name"])
            hit["source"] = source["source"] if source else ""
        verdicts = [f"{hit['symbol']} has to do with {', '.join(hit['matched'])}" for hit in hits]
        await self._think(run, verdicts[0] if verdicts else f"Nothing in {lead.module}")
        return [*hits]

    async def _investigate_all(self, run: Run, modules: list[str], question: str) -> list[Entry]:
        """Run one sub-agent for each module, all at once. Return their findings, best first."""
        await self._think(run, f"The likeliest places: {', '.join(modules)}. I send a sub-agent into each.")
        findings: list[Entry] = []

        async def investigate(module: str) -> None:
            try:
                findings.extend(await run.call_agent("investigate", attrs.asdict(Lead(module, question))))
            except Exception as error:  # noqa: BLE001 - any failure of a sub-agent: the answer continues without it
                await run.thinking(f"Nothing came back from {module} ({type(error).__name__}: {error}).")

        async with trio.open_nursery() as nursery:
            for module in modules:
                nursery.start_soon(investigate, module)
        return sorted(findings, key=lambda finding: (-finding["score"], finding["symbol"]))

    async def _example(self, run: Run, best: Entry) -> str:
        """Return the first example of ``best`` that prints a useful result, together with this result.

        If no example prints a useful result, return "". If examples cannot run on this machine, return the reason.
        """
        for session in self.library.examples(best["module"], best["name"]):
            done = await self._try(run, run_example, code=session)
            if done and (done["status"] == NOT_RUN or (done["status"] == "ok" and shows_something(done["output"]))):
                return str(done["output"])
        return ""

    async def _stream(self, run: Run, text: str, findings: list[Entry]) -> dict[str, JSON]:
        for piece in pieces(text):
            await run.output(piece)
            await trio.sleep(self.pace)
        modules: list[JSON] = [*dict.fromkeys(finding["module"] for finding in findings)]
        symbol, sources = findings[0]["symbol"] if findings else None, [each["at"] for each in findings[: OTHERS + 1]]
        return {"answer": text, "symbol": symbol, "modules": modules, "sources": sources}

    async def _think(self, run: Run, text: str) -> None:
        await run.thinking(text)
        await trio.sleep(8 * self.pace)

    async def _try(self, run: Run, tool: Callable[..., Any], **arguments: object) -> Any:
        """Return the result of a tool.

        If the tool fails, emit a thought (an ``agent_thinking`` event) about the failure, and return None.
        """
        try:
            return await run.call_tool(tool, timeout=TOOL_SECONDS, **arguments)
        except Exception as error:  # noqa: BLE001 - any failure of a tool: the answer continues without it
            await run.thinking(f"That did not work ({type(error).__name__}: {error}). I continue without it.")


def register(app: Greenroom, demo: Demo) -> None:
    """Add the agents ``librarian`` (its input is a question) and ``investigate`` (its sub-agent) to ``app``."""

    @app.agent(timeout=RUN_SECONDS)
    async def librarian(run: Run, question: str) -> dict[str, JSON]:
        return await demo.answer(run, question)

    @app.agent(timeout=RUN_SECONDS)
    async def investigate(run: Run, lead: Lead) -> list[JSON]:
        return await demo.investigate(run, lead)
