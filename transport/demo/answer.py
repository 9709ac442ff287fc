"""Findings as an answer in Markdown, and the answer in the small pieces in which it is streamed."""

from __future__ import annotations

import platform
import re
from typing import TYPE_CHECKING, Any

import attrs

from transport.demo.terms import terms

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Self

MAX_SOURCE_LINES = 16
MAX_MENTION = 160
SURE = 0.5
"""Share of the question below which the answer says that a finding is the closest one, but not a sure answer."""


@attrs.frozen(kw_only=True)
class Source:
    """A name of the standard library as the tools describe it, and the share of the question that it covers."""

    symbol: str
    module: str
    name: str
    kind: str
    signature: str
    summary: str
    at: str
    source: str = ""
    relevance: float = 0.0
    covered: float = 0.0

    @classmethod
    def of(cls, finding: Mapping[str, Any]) -> Self:
        """Return the source that a sub-agent's finding describes."""
        return cls(**{field.name: finding[field.name] for field in attrs.fields(cls) if field.name in finding})


def shows_something(output: str) -> bool:
    """Return whether the output of an example is useful: more than prompts, and not only the address of an object."""
    results = [
        line for line in output.splitlines() if not line.startswith((">>> ", "... ")) and line not in (">>>", "...")
    ]
    return any(results) and not re.search(r" at 0x[0-9a-f]+>", output)


def compose(best: Source, example: str, others: tuple[Source, ...]) -> str:
    """Return the whole answer.

    Args:
        best: The name that fits best.
        example: An example with its real output, or an empty string if no example runs.
        others: Further names, for "See also".
    """
    parts = [
        *_opening(best),
        *_example(example, best),
        *_source(best),
        *(["### See also\n\n" + "\n".join(_mention(source) for source in others)] if others else []),
        "### Sources\n\n" + "\n".join(f"- `{source.symbol}`: `{source.at}`" for source in (best, *others)),
    ]
    return "\n\n".join(parts) + "\n"


def nothing_found(question: str) -> str:
    """Return the answer to a question for which nothing was found."""
    asked = ", ".join(f"*{term.word}*" for term in terms(question)) or "nothing in particular"
    return (
        f"I am sorry: I found nothing in the standard library of Python {platform.python_version()} for this. I looked "
        f"for {asked}. I only know what this Python's own modules say about themselves; try other words, or ask for "
        "something like *walk a directory tree*.\n"
    )


def pieces(text: str) -> Iterator[str]:
    """Split ``text`` into pieces of up to three words, as a model streams it. Nothing is lost."""
    yield from re.findall(r"\s*\S+(?:[^\S\n]+\S+){0,2}[^\S\n]*\n*|\s+", text)


def _opening(best: Source) -> Iterator[str]:
    yield f"## `{best.symbol}`"
    closest = "" if best.covered >= SURE else "This is the closest that I found, not a sure answer. "
    yield f"{closest}A {best.kind} of Python {platform.python_version()}, at `{best.at}`."
    if best.kind != "module":
        yield _fenced("python", f"{best.symbol.removeprefix('builtins.')}{best.signature}")
    yield best.summary or "It has no docstring; its source says what it does."


def _example(example: str, best: Source) -> Iterator[str]:
    if example:
        yield "### Example\n\nI ran this just now:"
        yield _fenced("pycon", example)
    elif best.kind != "module":
        yield "I have no example that runs by itself for this one."


def _source(best: Source) -> Iterator[str]:
    lines = best.source.splitlines()
    if lines and best.kind != "module":
        rest = [f"    # … to be continued in {best.at}"] if len(lines) > MAX_SOURCE_LINES else []
        yield "### Its source"
        yield _fenced("python", "\n".join([*lines[:MAX_SOURCE_LINES], *rest]))


def _mention(source: Source) -> str:
    """Return one line: the name, and the first sentence of its summary."""
    first = re.split(r"(?<=[.!?]) ", source.summary, maxsplit=1)[0]
    said = first if len(first) <= MAX_MENTION else f"{first[: MAX_MENTION - 1]}…"
    return f"- `{source.symbol}`: {said}" if said else f"- `{source.symbol}`"


def _fenced(language: str, text: str) -> str:
    """Return a code block. Its fence is longer than any run of backticks in the text."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"
