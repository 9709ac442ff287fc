"""Findings become an answer in Markdown, which is streamed in small pieces."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.demo.answer import MAX_SOURCE_LINES, NOT_SURE, SURE, compose, nothing_found, pieces
from transport.demo.index import USES


def finding(**changes: Any) -> dict[str, Any]:
    """Return a finding about a function, with changes."""
    usual = {"symbol": "shop.brew", "kind": "function", "signature": "(leaves)", "at": "shop.py:4", "covered": 1.0}
    return {**usual, "summary": "Make tea. Add milk.", "source": "def brew(leaves):\n    return leaves", **changes}


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_pieces_are_complete(text: str) -> None:
    """The pieces of any text, joined, are the text."""
    assert "".join(pieces(text)) == text


def test_pieces_are_short() -> None:
    """Each piece is shorter than 25 characters."""
    assert max(map(len, pieces("word " * 100))) < 25


def test_parts_of_an_answer() -> None:
    """An answer has the name, signature, summary, example and source of the finding, other findings, and all places."""
    answer = compose(finding(), ">>> brew(2)\n4", [finding(symbol="shop.pour", at="shop.py:9")])
    assert answer.startswith("## `shop.brew`\n\nA function of Python ")
    for part in (
        "```python\nshop.brew(leaves)\n```",
        "\n\nMake tea. Add milk.\n\n",
        "```pycon\n>>> brew(2)\n4\n```",
        "```python\ndef brew(leaves):\n    return leaves\n```",
        "### See also\n\n- `shop.pour`: Make tea.\n",
        "- `shop.brew`: `shop.py:4`\n- `shop.pour`: `shop.py:9`\n",
    ):
        assert part in answer


def test_name_as_users_write_it() -> None:
    """The name of a builtin stands in the answer without its module."""
    answer = compose(finding(symbol="builtins.sorted"), "", [finding(symbol="builtins.list.sort")])
    assert "## `sorted`" in answer
    assert "`list.sort`" in answer
    assert "builtins." not in answer


@pytest.mark.parametrize(("covered", "sure"), [(SURE, True), (SURE - 0.01, False)])
def test_not_sure(covered: float, *, sure: bool) -> None:
    """If the best finding covers less than ``SURE`` of the question, the answer begins with "I am not sure"."""
    assert compose(finding(covered=covered), "", []).startswith(f"{NOT_SURE} `shop.brew`.\n\n## ") is not sure


@pytest.mark.parametrize(("kind", "article"), [("class", "A class"), ("attribute", "An attribute")])
def test_article(kind: str, article: str) -> None:
    """In an answer, the kind of the name has the right article: "A function", "An exception"."""
    assert f"\n\n{article} of Python" in compose(finding(kind=kind), "", [])


def test_name_without_docstring() -> None:
    """If a name has no docstring, the answer says for which purposes it is used, or that it has no docstring."""
    assert f"It is used for: {USES['os.environ']}." in compose(finding(symbol="os.environ", summary=""), "", [])
    assert "It has no docstring." in compose(finding(summary=""), "", [])


def test_long_source_is_cut() -> None:
    """Source of more lines than ``MAX_SOURCE_LINES`` is cut, and the answer says where it continues."""
    whole = compose(finding(source="\n".join(f"line{n}" for n in range(MAX_SOURCE_LINES))), "", [])
    assert "to be continued" not in whole
    cut = compose(finding(source="\n".join(f"line{n}" for n in range(MAX_SOURCE_LINES + 1))), "", [])
    assert f"line{MAX_SOURCE_LINES - 1}\n    # … to be continued in shop.py:4\n```" in cut


def test_backticks_in_an_example() -> None:
    """The marks around a code block are longer than any row of backticks in the code."""
    assert "````pycon\n>>> '```'\n'```'\n````" in compose(finding(), ">>> '```'\n'```'", [])


def test_nothing_found() -> None:
    """The answer to a question without findings names the words that were searched."""
    assert "I looked for *weather*, *paris*." in nothing_found("What is the weather in Paris?")
    assert "nothing in particular" in nothing_found("how do I?")
