"""Sessions for an entry: from its docstring, from its signature, and none where nothing is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from transport.demo.answer import shows_something
from transport.demo.examples import from_docstring, from_signature, session
from transport.demo.samples import USAGES
from transport.demo.sandbox import run

if TYPE_CHECKING:
    from transport.demo.library import Library

DOC = """Make tea.

>>> brew(2)  # doctest: +SKIP
4
>>> def pour(n):
...     return Cup(n)
>>> brew(x)
Traceback (most recent call last):
NameError: x
"""


def test_the_examples_of_a_docstring_import_what_they_use() -> None:
    expected = ">>> from shop import Cup, brew\n>>> brew(2)\n>>> def pour(n):\n...     return Cup(n)"
    assert from_docstring("shop", "brew", DOC, ["brew", "Cup", "Cup.wash", "Till"]) == expected


@pytest.mark.parametrize("doc", ["", "Make tea.", ">>> pour(2)\n2\n", ">>>brew(2)\n"])
def test_no_example_is_taken_from_a_docstring_without_one_that_names_it(doc: str) -> None:
    assert from_docstring("shop", "brew", doc, ["brew"]) == ""


def test_a_signature_is_called_with_samples() -> None:
    first, *_ = from_signature("heapq", "nlargest", "function", "(n, iterable, key=None)")
    assert first == ">>> import heapq\n>>> heapq.nlargest(2, [3, 1, 2, 3])"


def test_an_operator_is_used_as_one() -> None:
    first, *_ = from_signature("datetime", "date.__sub__", "method", "(other)", "(year, month=None, day=None)")
    assert first == ">>> import datetime\n>>> datetime.date(2024, 2, 29) - datetime.date(2024, 1, 1)"


def test_a_method_is_called_on_a_value() -> None:
    first, *_ = from_signature("builtins", "str.upper", "method", "()")
    assert first == ">>> 'tea, milk, sugar'.upper()"


def test_a_call_that_changes_its_argument_shows_it() -> None:
    sessions = list(from_signature("bisect", "insort", "function", "(a, x, lo=0, hi=None, *, key=None)"))
    assert session(["import bisect", "values = [1, 3, 5]", "bisect.insort(values, 4)", "values"]) in sessions


@pytest.mark.parametrize("signature", ["(unheard_of)", "(*, needed)", "(not python"])
def test_nothing_is_made_up_for_what_is_not_known(signature: str) -> None:
    assert list(from_signature("shop", "brew", "function", signature)) == []


@pytest.mark.parametrize(
    ("output", "shows"),
    [
        (">>> f()", False),
        (">>> f()\n<f object at 0x7f00>", False),
        (">>> f()\n3", True),
        (">>> if x:\n...     y\n...", False),
        ("", False),
    ],
)
def test_only_what_says_something_is_shown(output: str, *, shows: bool) -> None:
    assert shows_something(output) is shows


@pytest.mark.parametrize("symbol", sorted(USAGES))
async def test_every_usage_runs_and_belongs_to_a_name_of_the_library(symbol: str, library: Library) -> None:
    index = await library.index()
    assert any(entry.symbol == symbol for entry in [hit.entry for hit in index.search(symbol, 30)])
    outcome = await run(USAGES[symbol])
    assert (outcome.status, shows_something(outcome.output)) == ("ok", True), outcome.output
