"""*Ask the standard library*: an agent that answers from the Python it runs on.

It searches, sends a sub-agent into each of the best modules at the same time, reads the source, runs an example and
answers with the real output. It is written as any user of Greenroom would write it, with public names only, and needs
neither a model nor a network.
"""

from collections.abc import Callable
from typing import Any

import attrs
import trio

from actors import JSON, Run
from transport import Greenroom
from transport.demo.answer import Source, compose, nothing_found, pieces, shows_something
from transport.demo.library import Library
from transport.demo.model import Model
from transport.demo.model import answer as answer_with_model
from transport.demo.sandbox import run_example
from transport.demo.terms import coverage

# The demo is to be watched: pauses of this many seconds make the stream look as if a model wrote it.
PACE = 0.03
MODULES = 3
READ_PER_MODULE = 2
EXAMPLES_TRIED = 4
OTHERS = 4
WORTH_A_LOOK = 0.45
"""Findings with a relevance below this share of the best finding's relevance are not mentioned."""
TOOL_SECONDS = 15.0
RUN_SECONDS = 120.0
SEARCH_FAILED = "I am sorry: I could not search the standard library just now. Please ask again.\n"


@attrs.frozen
class Lead:
    """The input of a sub-agent: a module, and the question to answer from it."""

    module: str
    question: str


@attrs.frozen
class Demo:
    """The agents' common state.

    ``pace`` is the pause after each streamed piece in seconds, 0 for none. ``model`` answers if it is not None.
    """

    library: Library
    pace: float = PACE
    model: Model | None = None

    async def answer(self, run: Run, question: str) -> dict[str, JSON]:
        """Answer ``question`` with the model if there is one and its client is installed, else from the index."""
        if not self.library.ready:
            await run.thinking("I am still reading the standard library: the first question has to wait for that, once")
        await self.library.index()
        if self.model is not None:
            client = await self.model.client()
            if client is not None:
                async with client:
                    return await answer_with_model(run, question, self.library, self.model, client)
            await run.thinking("A model is configured, but the extra openai is not installed: I answer by myself.")
        return await self.answer_from_index(run, question)

    async def answer_from_index(self, run: Run, question: str) -> dict[str, JSON]:
        """Stream an answer in Markdown. Return it with the symbol, the modules and the places that it is from.

        A tool or sub-agent that fails is reported in a thought, and the answer continues without its result.
        """
        await self._think(run, f"What in the standard library has to do with: {question}")
        found: dict[str, Any] | None = await self._try(run, self.library.search, query=question, limit=10)
        if found is None:
            return await self._stream(run, SEARCH_FAILED, None, [])
        findings = await self._investigate_all(run, found["modules"][:MODULES], question) if found["modules"] else []
        if not findings:
            return await self._stream(run, nothing_found(question), None, [])
        best, *others = [finding for finding in findings if finding.relevance >= WORTH_A_LOOK * findings[0].relevance]
        await self._think(run, f"{best.symbol} fits best. Let me see whether I can show it.")
        example = await self._example(run, best)
        return await self._stream(run, compose(best, example, tuple(others[:OTHERS])), best, findings)

    async def investigate(self, run: Run, lead: Lead) -> list[JSON]:
        """Return the functions and classes in ``lead.module`` that answer the question, best first."""
        await self._think(run, f"Looking into {lead.module}")
        found: dict[str, Any] | None = await self._try(
            run, self.library.search, query=lead.question, limit=4, module=lead.module
        )
        hits: list[dict[str, Any]] = found["hits"] if found else []
        for hit in hits[:READ_PER_MODULE]:
            source = await self._try(run, self.library.read_source, module=lead.module, name=hit["name"])
            hit["source"] = source["source"] if source else ""
        judged = sorted((_judged(lead.question, hit) for hit in hits), key=lambda hit: -hit["relevance"])
        verdict = f"Nothing in {lead.module}"
        if judged:
            verdict = f"{judged[0]['symbol']} has to do with {', '.join(judged[0]['matched']) or 'it'}"
        await self._think(run, verdict)
        return [*judged]

    async def _investigate_all(self, run: Run, modules: list[str], question: str) -> list[Source]:
        """Run one sub-agent for each module, all at once. Return their findings, best first."""
        await self._think(run, f"The likeliest places: {', '.join(modules)}. I send somebody into each.")
        findings: list[dict[str, Any]] = []

        async def investigate(module: str) -> None:
            try:
                findings.extend(await run.call_agent("investigate", attrs.asdict(Lead(module, question))))
            except Exception as error:  # noqa: BLE001 - any failure of a sub-agent: the answer goes on without it
                await run.thinking(f"Nobody came back from {module} ({type(error).__name__}: {error}).")

        async with trio.open_nursery() as nursery:
            for module in modules:
                nursery.start_soon(investigate, module)
        findings.sort(key=lambda finding: (-finding["relevance"], finding["symbol"]))
        return [Source.of(finding) for finding in findings]

    async def _example(self, run: Run, best: Source) -> str:
        """Return the first example that runs and prints something, with its output. Return "" if there is none."""
        for session in (await self.library.examples(best.module, best.name))[:EXAMPLES_TRIED]:
            done = await self._try(run, run_example, code=session)
            if done and done["status"] == "ok" and shows_something(done["output"]):
                return str(done["output"])
        return ""

    async def _stream(self, run: Run, text: str, best: Source | None, findings: list[Source]) -> dict[str, JSON]:
        for piece in pieces(text):
            await run.output(piece)
            await trio.sleep(self.pace)
        modules: list[JSON] = [*dict.fromkeys(finding.module for finding in findings)]
        sources: list[JSON] = [finding.at for finding in findings[: OTHERS + 1]]
        return {"answer": text, "symbol": best.symbol if best else None, "modules": modules, "sources": sources}

    async def _think(self, run: Run, text: str) -> None:
        await run.thinking(text)
        await trio.sleep(8 * self.pace)

    async def _try(self, run: Run, tool: Callable[..., Any], **arguments: object) -> Any:
        """Return the result of a tool. If the tool fails, report that in a thought and return None."""
        try:
            return await run.call_tool(tool, timeout=TOOL_SECONDS, **arguments)
        except Exception as error:  # noqa: BLE001 - any failure of a tool: the answer goes on without it
            await run.thinking(f"That did not work ({type(error).__name__}: {error}). I go on without it.")
            return None


def register(app: Greenroom, demo: Demo) -> None:
    """Add the agents ``librarian`` (its input is a question) and ``investigate`` (its sub-agent) to ``app``."""

    @app.agent(timeout=RUN_SECONDS)
    async def librarian(run: Run, question: str) -> dict[str, JSON]:
        return await demo.answer(run, question)

    @app.agent(timeout=RUN_SECONDS)
    async def investigate(run: Run, lead: Lead) -> list[JSON]:
        return await demo.investigate(run, lead)


def _judged(question: str, hit: dict[str, Any]) -> dict[str, Any]:
    """Return a search hit with its relevance added.

    The relevance is the score of the hit, multiplied by a factor for the words of the question that the hit contains.
    """
    share, matched = coverage(question, f"{hit['symbol']} {hit['signature']} {hit['summary']} {hit.get('source', '')}")
    relevance = round(hit["score"] * (0.7 + 0.3 * share), 2)
    return {**hit, "relevance": relevance, "covered": round(share, 2), "matched": list(matched)}
