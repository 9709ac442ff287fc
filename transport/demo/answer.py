"""Entrys as an answer in Markdown, and the answer in the small pieces in which it is streamed."""

import platform
import re

from transport.demo.index import USES, Entry, words
from transport.demo.sandbox import NOT_RUN

MAX_SOURCE_LINES, MAX_MENTION = 16, 160
SURE = 0.6  # the share of the question that the best finding must cover, or else the answer says that it is not sure
NOT_SURE = "I am not sure: the standard library may have nothing for this. The closest that I found is"


def shows_something(output: str) -> bool:
    """Return whether the output of an example is useful: more than prompts, and not only the address of an object."""
    results = [line for line in output.splitlines() if not re.match(r"(>>>|\.\.\.)( |\Z)", line)]
    return any(results) and not re.search(r" at 0x[0-9a-f]+>", output)


def compose(best: Entry, example: str, others: list[Entry]) -> str:
    """Return the whole answer in Markdown.

    Args:
        best: The finding that fits best.
        example: An example with its real output. Or an empty string, or the reason why examples are not run.
        others: Further findings, for the section "See also".
    """
    parts = [f"{NOT_SURE} `{_name(best)}`."] if best["covered"] < SURE else []
    article = "An" if best["kind"][0] in "ae" else "A"
    about = f"{article} {best['kind']} of Python {platform.python_version()}, at `{best['at']}`."
    parts += [f"## `{_name(best)}`", about]
    if best["kind"] != "module":
        parts.append(_fenced("python", _name(best) + best["signature"]))
    uses = USES.get(best["symbol"])
    parts.append(best["summary"] or (f"It is used for: {uses}." if uses else "It has no docstring."))
    if example.startswith(NOT_RUN):
        parts.append(f"E{example[1:]}.")
    elif example:
        parts.append("### Example\n\nI ran this just now:\n\n" + _fenced("pycon", example))
    elif best["kind"] != "module":
        parts.append("I have no example that runs by itself for this one.")
    lines = best.get("source", "").splitlines()
    if lines and best["kind"] != "module":
        more = [f"    # … to be continued in {best['at']}"] if len(lines) > MAX_SOURCE_LINES else []
        parts.append("### Its source\n\n" + _fenced("python", "\n".join([*lines[:MAX_SOURCE_LINES], *more])))
    if others:
        parts.append("### See also\n\n" + "\n".join(map(_mention, others)))
    places = (f"- `{_name(finding)}`: `{finding['at']}`" for finding in (best, *others))
    return "\n\n".join([*parts, "### Sources\n\n" + "\n".join(places)]) + "\n"


def nothing_found(question: str) -> str:
    """Return the answer to a question for which nothing was found."""
    asked = ", ".join(f"*{word}*" for word in words(question)) or "nothing in particular"
    return (
        f"I am sorry: I found nothing in the standard library of Python {platform.python_version()} for this. I looked "
        f"for {asked}. I only know what this Python's own modules say about themselves; try other words, or ask for "
        "something like *walk a directory tree*.\n"
    )


def pieces(text: str) -> list[str]:
    """Split ``text`` into pieces of up to three words, as a model streams text. The pieces joined are ``text``."""
    return re.findall(r"\s*\S+(?:[^\S\n]+\S+){0,2}[^\S\n]*\n*|\s+", text)


def _name(finding: Entry) -> str:
    """Return the name of a finding as users write it: ``sorted``, ``csv.DictReader``."""
    return str(finding["symbol"]).removeprefix("builtins.")


def _mention(finding: Entry) -> str:
    """Return one line about a finding: its name, and the first sentence of its summary."""
    first = re.split(r"(?<=[.!?]) ", finding["summary"], maxsplit=1)[0]
    said = first if len(first) <= MAX_MENTION else f"{first[: MAX_MENTION - 1]}…"
    return f"- `{_name(finding)}`: {said}" if said else f"- `{_name(finding)}`"


def _fenced(language: str, text: str) -> str:
    """Return a code block. The row of backticks around it is longer than any row of backticks in the text."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"
