"""*Ask the standard library*: an agent that answers from the Python it runs on.

It searches, sends one sub-agent into each of the modules that look best, all at once, reads the source, runs an
example and answers with what really came out. It is written as any user of Greenroom would write it, with public
names only, and needs neither a model nor a network.
"""

from collections.abc import Callable
from typing import Any

import attrs
import trio

from actors import JSON, Run
from transport import Greenroom
from transport.demo.answer import Source, compose, coverage, nothing_found, pieces, shows_something
from transport.demo.library import Library
from transport.demo.model import Model
from transport.demo.model import answer as answer_with_model
from transport.demo.sandbox import run_example

PACE = 0.03
MODULES = 3
READ_PER_MODULE = 2
EXAMPLES_TRIED = 4
OTHERS = 4
WORTH_A_LOOK = 0.45
TOOL_SECONDS = 15.0
RUN_SECONDS = 120.0
SEARCH_FAILED = "I am sorry: I could not search the standard library just now. Please ask again.\n"


@attrs.frozen
class Lead:
    """What a sub-agent is to look into."""

    module: str
    question: str


@attrs.frozen
class Demo:
    """The agents' common ground.

    ``pace`` is the pause after each streamed piece, in seconds; 0 for none. ``model`` answers where there is one.
    """

    library: Library
    pace: float = PACE
    model: Model | None = None

    async def answer(self, run: Run, question: str) -> dict[str, JSON]:
        """Answer ``question``: the model does if there is one and its client is installed, else the index."""
        await self._await_index(run)
        if self.model is not None:
            client = await self.model.client()
            if client is not None:
                async with client:
                    return await answer_with_model(run, question, self.library, self.model, client)
            await run.thinking("A model is configured, but the extra openai is not installed: I answer by myself.")
        return await self.search_and_tell(run, question)

    async def search_and_tell(self, run: Run, question: str) -> dict[str, JSON]:
        """Answer ``question`` in Markdown, streamed; returns it with the symbol, the modules and the places it is from.

        A tool or sub-agent that fails is told of and done without.
        """
        await self._think(run, f"What in the standard library has to do with: {question}")
        found: dict[str, Any] | None = await self._try(run, self.library.search, query=question, limit=10)
        if found is None:
            return await self._stream(run, SEARCH_FAILED, None, [])
        modules: list[str] = found["modules"][:MODULES]
        findings = await self._investigations(run, modules, question) if modules else []
        if not findings:
            return await self._stream(run, nothing_found(question), None, [])
        best, *others = [finding for finding in findings if finding.relevance >= WORTH_A_LOOK * findings[0].relevance]
        await self._think(run, f"{best.symbol} fits best. Let me see whether I can show it.")
        example = await self._example(run, best)
        return await self._stream(run, compose(best, example, tuple(others[:OTHERS])), best, findings)

    async def investigate(self, run: Run, lead: Lead) -> list[JSON]:
        """Return what ``lead.module`` has for the question, best first, as the tools describe it."""
        await self._think(run, f"Looking into {lead.module}")
        found: dict[str, Any] | None = await self._try(
            run, self.library.search, query=lead.question, limit=4, module=lead.module
        )
        hits: list[dict[str, Any]] = found["hits"] if found else []
        for hit in hits[:READ_PER_MODULE]:
            source = await self._try(run, self.library.read_source, module=lead.module, name=hit["name"])
            hit["source"] = source["source"] if source else ""
        judged: list[JSON] = [_judged(lead.question, hit) for hit in hits]
        judged.sort(key=lambda hit: -hit["relevance"])  # type: ignore[call-overload,index,operator]  # dicts, made above
        await self._think(run, _verdict(lead.module, judged))
        return judged

    async def _await_index(self, run: Run) -> None:
        if not self.library.ready:
            await run.thinking("I am still reading the standard library: the first question has to wait for that, once")
        await self.library.index()

    async def _investigations(self, run: Run, modules: list[str], question: str) -> list[Source]:
        """One sub-agent for each module, all at once; their findings together, best first."""
        await self._think(run, f"The likeliest places: {', '.join(modules)}. I send somebody into each.")
        findings: list[dict[str, Any]] = []

        async def send(module: str) -> None:
            findings.extend(await self._try_agent(run, Lead(module, question)))

        async with trio.open_nursery() as nursery:
            for module in modules:
                nursery.start_soon(send, module)
        findings.sort(key=lambda finding: (-finding["relevance"], finding["symbol"]))
        return [_source(finding) for finding in findings]

    async def _example(self, run: Run, best: Source) -> str:
        """Return the first session that runs and shows something, with its output; nothing when there is none."""
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
        """Return what the tool returns; None when it fails, which its own event and a thought tell."""
        try:
            return await run.call_tool(tool, timeout=TOOL_SECONDS, **arguments)
        except Exception as error:  # noqa: BLE001 - whatever a tool raises: the agent goes on without it
            await run.thinking(f"That did not work ({type(error).__name__}: {error}). I go on without it.")
            return None

    async def _try_agent(self, run: Run, lead: Lead) -> list[dict[str, Any]]:
        """Return what the sub-agent found; nothing when it failed."""
        try:
            found: list[dict[str, Any]] = await run.call_agent("investigate", attrs.asdict(lead))
        except Exception as error:  # noqa: BLE001 - as above
            await run.thinking(f"Nobody came back from {lead.module} ({type(error).__name__}: {error}).")
            return []
        return found


def register(app: Greenroom, demo: Demo) -> None:
    """Offer the agents ``librarian`` (a question) and ``investigate`` (its sub-agent) on ``app``."""

    @app.agent(timeout=RUN_SECONDS)
    async def librarian(run: Run, question: str) -> dict[str, JSON]:
        return await demo.answer(run, question)

    @app.agent(timeout=RUN_SECONDS)
    async def investigate(run: Run, lead: Lead) -> list[JSON]:
        return await demo.investigate(run, lead)


def _judged(question: str, hit: dict[str, Any]) -> dict[str, JSON]:
    """Return the hit with its relevance: the score of the search, weighed by the share of the question that it has."""
    share, matched = coverage(question, f"{hit['symbol']} {hit['signature']} {hit['summary']} {hit.get('source', '')}")
    covered: list[JSON] = list(matched)
    return {
        **hit,
        "relevance": round(hit["score"] * (0.7 + 0.3 * share), 2),
        "covered": round(share, 2),
        "matched": covered,
    }


def _verdict(module: str, judged: list[JSON]) -> str:
    match judged:
        case [{"symbol": symbol, "matched": matched}, *_]:
            return f"{symbol} has to do with {', '.join(map(str, matched)) or 'it'}"  # type: ignore[arg-type]  # a list
        case _:
            return f"Nothing in {module}"


def _source(finding: dict[str, Any]) -> Source:
    texts = {name: finding[name] for name in ("symbol", "module", "name", "kind", "signature", "summary", "at")}
    return Source(**texts, text=finding.get("source", ""), relevance=finding["relevance"], covered=finding["covered"])
