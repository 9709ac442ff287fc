"""The demo's page without a browser: its sentences, its Markdown, its colours."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from web.colours import themes, too_close

import transport
from transport.protocol.close_codes import CLOSE_CODES, UNRECOVERABLE_POSITION, comes_back

if TYPE_CHECKING:
    from web.node import Node

PAGE = Path(transport.__file__).parent / "demo" / "page"


def call(page: Node, module: str, js: str) -> Any:
    """Return the value of an expression that uses the names of a module of the page."""
    return page.run(f"const page = await load({json.dumps(str(PAGE / module))});\nreturn {js}")


# --- sentences --------------------------------------------------------------------------------------------------------


def words(page: Node, **connection: object) -> dict[str, Any]:
    """Return how the page shows a connection."""
    whole = {"state": "live", "code": None, "reason": "", "wasLive": True, "retryAt": None, "attempt": 0} | connection
    found: dict[str, Any] = call(page, "words.js", f"page.connectionWords({json.dumps(whole)})")
    return found


OWN_WORDS = sorted(set(CLOSE_CODES) - {1005, 1006})


@pytest.mark.parametrize("code", OWN_WORDS)
def test_every_close_code_has_a_sentence(page: Node, code: int) -> None:
    """For each close code of the protocol the page shows a sentence of its own, which does not contain the number.

    It also shows the next step: try again, reload the page or begin a new conversation.
    """
    again = comes_back(code) and code != UNRECOVERABLE_POSITION  # this one ends a strict client
    state = "waiting" if again else "closed"
    shown = words(page, state=state, code=code)
    unknown = words(page, state=state, code=4399 if again else 4999)
    assert shown["text"] != unknown["text"]
    assert re.search(r"[a-z]\.$", shown["text"])
    assert not re.search(r"\d", shown["text"])
    assert shown["remedy"] in ({"retry"} if again else {"reload", "restart"})


@pytest.mark.parametrize(
    ("connection", "part"),
    [
        ({"code": 1006, "wasLive": False}, "allowed_origins"),
        ({"code": 1006, "wasLive": True}, "The connection was lost"),
        ({"code": 1006, "wasLive": False, "reason": "no token: token: 500"}, "token"),
        ({"code": 1006, "wasLive": False, "reason": "no token: token: 403"}, "allowed_origins"),
        ({"code": 4300, "wasLive": True}, "The connection was lost"),
    ],
)
def test_lost_connection(page: Node, connection: dict[str, object], part: str) -> None:
    """A page that could not connect shows another sentence than a page with a lost connection.

    In both cases the user can try again.
    """
    shown = words(page, state="waiting", **connection)
    assert part in shown["text"]
    assert shown["remedy"] == "retry"


def test_foreign_page_is_told_the_setting(page: Node) -> None:
    """A page that is refused because of its address names the setting. A refused user gets another sentence."""
    assert "allowed_origins" in words(page, state="closed", code=4502, reason="this origin is not allowed")["text"]
    assert "allowed_origins" not in words(page, state="closed", code=4502, reason="not your session")["text"]


def test_connection_that_is_well(page: Node) -> None:
    """A page that is connected shows only the word "Connected".

    While a page connects for the first time, it shows no sentence of explanation either.
    """
    assert words(page) == {"label": "Connected", "text": "", "remedy": None}
    assert words(page, state="connecting")["text"] == ""


@pytest.mark.parametrize(
    ("ms", "text"), [(4_200, "Next try in 5 s"), (1, "Next try in 1 s"), (0, "Trying now…"), (-9, "Trying now…")]
)
def test_countdown(page: Node, ms: int, text: str) -> None:
    """The countdown names the seconds until the next attempt, and never a time that has passed."""
    assert call(page, "words.js", f"page.countdown(1000 + {ms}, 1000)") == text


REFUSALS = ("rate_limited", "overloaded", "internal", "unknown_agent", "not_waiting", "too_large", "outcome_unknown")


@pytest.mark.parametrize("code", REFUSALS)
def test_refusals_are_sentences(page: Node, code: str) -> None:
    """The code of a refused command is shown as a sentence."""
    shown = call(page, "words.js", f"page.refusalWords({{ code: '{code}', message: 'raw' }})")
    assert shown.endswith(".")
    assert "raw" not in shown
    assert code not in shown


def test_endings(page: Node) -> None:
    """The line under an answer shows how the run ended (for example "Failed") and how long it took.

    If the run failed, the line also shows the error.
    """
    failed = "page.endingWords('error', { code: 'c', message: 'm' }, 1500)"
    assert call(page, "words.js", failed) == "Failed · 1.5 s: m"
    assert call(page, "words.js", "page.endingWords('cancelled', { code: 'c', message: 'm' }, 20)") == "Stopped · 20 ms"
    assert call(page, "words.js", "page.endingWords('of_a_newer_server', null, null)") == "of_a_newer_server"


# --- Markdown ---------------------------------------------------------------------------------------------------------


def parsed(page: Node, text: str) -> list[dict[str, Any]]:
    """Return the blocks of a text."""
    found: list[dict[str, Any]] = call(page, "markdown.js", f"page.parse({json.dumps(text)})")
    return found


def test_table(page: Node) -> None:
    """A line of dashes and pipes makes a table: the line above is the head, and the lines below are the rows.

    Colons in the line of dashes set the alignment of each column.
    """
    (table,) = parsed(page, "| a | b | c |\n| --- | :-: | --: |\n| 1 | 2 | 3 |\n| x \\| y | `z` |\n")
    assert table == {
        "kind": "table",
        "align": ["", "center", "right"],
        "head": ["a", "b", "c"],
        "rows": [["1", "2", "3"], ["x | y", "`z`", ""]],
    }


@pytest.mark.parametrize("text", ["a | b", "a | b\n---", "a | b\n--- | --- | ---", "a\n---|---", "| a |\n| b |"])
def test_no_table(page: Node, text: str) -> None:
    """If a text has pipes, but no line of dashes with the same number of columns, it is not a table."""
    assert "table" not in {block["kind"] for block in parsed(page, text)}


def test_table_after_text(page: Node) -> None:
    """A table ends the paragraph above it, and text without pipes ends the table."""
    kinds = [block["kind"] for block in parsed(page, "Look:\na | b\n--- | ---\n1 | 2\nafter")]
    assert kinds == ["paragraph", "table", "paragraph"]


def test_growing_text(page: Node) -> None:
    """While the text of an answer grows, each state of it can be parsed.

    Only the last two blocks may still change: the last line can turn the paragraph above it into a table.
    """
    text = "# T\n\nA *b* and\nc\n\n| x | y |\n| - | - |\n| 1 | 2 |\n\n- one\n- two\n\n```py\ncode\n```\n\nend"
    whole = parsed(page, text)
    for length in range(len(text)):
        blocks = parsed(page, text[:length])
        done = blocks[:-2]  # the last line may turn the paragraph above it into a table
        assert done == whole[: len(done)]


# --- colours ----------------------------------------------------------------------------------------------------------

CSS = (PAGE / "demo.css").read_text()
SURFACES = ("page", "raised", "sunken", "bubble")
TEXTS = ("ink", "soft", "accent", "ok", "error", "timeout", "cancelled", "interrupted", "string", "number")
EDGES = ("edge", "accent", "error", "timeout")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast(theme: str) -> None:
    """The contrast of text on each background is at least 4.5. The contrast of edges and focus marks is at least 3.

    WCAG AA demands these values. They hold for the light and the dark theme.
    """
    colours = themes(CSS)[theme]
    texts = [(text, surface, 4.5) for text, surface in itertools.product(TEXTS, SURFACES)]
    edges = [(edge, surface, 3.0) for edge, surface in itertools.product(EDGES, SURFACES)]
    pairs = [*texts, *edges, ("on-accent", "accent", 4.5), ("page", "ink", 4.5)]
    assert too_close(colours, pairs) == {}


def test_colours_are_the_checked_ones() -> None:
    """The page's CSS takes all colours from variables, and test_contrast checks the contrast of these variables."""
    rules = re.sub(r":root \{.*?\}|/\*.*?\*/", "", CSS, flags=re.DOTALL)
    assert re.findall(r"#[0-9a-f]{3,8}\b|\b(?:rgb|hsl|oklch)a?\(", rules) == []
    used = set(re.findall(r"(?<![\w-])color:\s*([^;]+);", rules))
    assert used - {f"var(--{name})" for name in (*TEXTS, "tone", "on-accent", "page")} == set()
    backgrounds = set(re.findall(r"background:\s*([^;]+);", rules))
    plain = {f"var(--{name})" for name in (*SURFACES, *EDGES, "ok", "ink", "line")}
    assert backgrounds - plain - {"transparent", "linear-gradient(transparent, var(--page) 1.2rem)"} == set()
    tones = set(re.findall(r"--tone:\s*var\(--(\w+)\)", rules))
    assert tones <= set(TEXTS)
    assert "opacity" not in re.sub(r"@keyframes.*?\}\s*\}|::placeholder \{[^}]*\}", "", rules)
