"""Example sessions for a name, from its docstring or from its signature."""

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


def test_docstring_examples_import_their_names() -> None:
    """Examples of a docstring become a session, which first imports the names that it uses."""
    expected = ">>> from shop import Cup, brew\n>>> brew(2)\n>>> def pour(n):\n...     return Cup(n)"
    assert from_docstring("shop", "brew", DOC, ["brew", "Cup", "Cup.wash", "Till"]) == expected


@pytest.mark.parametrize("doc", ["", "Make tea.", ">>> pour(2)\n2\n", ">>>brew(2)\n"])
def test_docstring_without_examples(doc: str) -> None:
    """A docstring without an example that uses the name gives no session."""
    assert from_docstring("shop", "brew", doc, ["brew"]) == ""


def test_call_with_samples() -> None:
    """The example of a function calls it with a sample for each required parameter."""
    first, *_ = from_signature("heapq", "nlargest", "function", "(n, iterable, key=None)")
    assert first == ">>> import heapq\n>>> heapq.nlargest(2, [3, 1, 2, 3])"


def test_operator_method() -> None:
    """The example of an operator method is an operation on two values."""
    first, *_ = from_signature("datetime", "date.__sub__", "method", "(other)", "(year, month=None, day=None)")
    assert first == ">>> import datetime\n>>> datetime.date(2024, 2, 29) - datetime.date(2024, 1, 1)"


def test_method_call() -> None:
    """The example of a method calls it on a value of its class."""
    first, *_ = from_signature("builtins", "str.upper", "method", "()")
    assert first == ">>> 'tea, milk, sugar'.upper()"


def test_changed_argument_is_shown() -> None:
    """One example shows an argument after the call has changed it."""
    sessions = list(from_signature("bisect", "insort", "function", "(a, x, lo=0, hi=None, *, key=None)"))
    assert session(["import bisect", "values = [1, 3, 5]", "bisect.insort(values, 4)", "values"]) in sessions


@pytest.mark.parametrize("signature", ["(unheard_of)", "(*, needed)", "(not python"])
def test_unknown_parameter(signature: str) -> None:
    """There is no example if a parameter has no sample, or if the signature cannot be read."""
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
def test_shows_something(output: str, *, shows: bool) -> None:
    """Output is worth showing if it has more than prompts, echoed lines and addresses of objects."""
    assert shows_something(output) is shows


@pytest.mark.parametrize("symbol", sorted(USAGES))
async def test_usages_run(symbol: str, library: Library) -> None:
    """Each hand-written example runs and shows something, and the index has its name."""
    index = await library.index()
    assert any(entry.symbol == symbol for entry in [hit.entry for hit in index.search(symbol, 30)])
    outcome = await run(USAGES[symbol])
    assert (outcome.status, shows_something(outcome.output)) == ("ok", True), outcome.output
