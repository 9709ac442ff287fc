"""Example sessions for a name, written by hand or from its docstring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from transport.demo.answer import shows_something
from transport.demo.entry import Entry
from transport.demo.examples import SESSIONS, examples, from_docstring
from transport.demo.sandbox import run

if TYPE_CHECKING:
    from transport.demo.library import Library

TOGETHER = 16
"""Number of sessions that run in one process: a process for each would take most of their time."""

DOC = """Make tea.

>>> brew(2)  # doctest: +SKIP
4
>>> def pour(n):
...     return Cup(n)
>>> brew(x)
Traceback (most recent call last):
NameError: x
"""


def brew(doc: str) -> Entry:
    """Return the entry of the function ``shop.brew`` with this docstring."""
    return Entry("shop", "brew", "function", doc=doc)


def test_docstring_examples_import_their_names() -> None:
    """Examples of a docstring become a session, which first imports the names that it uses."""
    expected = ">>> from shop import Cup, brew\n>>> brew(2)\n>>> def pour(n):\n...     return Cup(n)\n"
    assert from_docstring(brew(DOC), ["brew", "Cup", "Cup.wash", "Till"]) == expected


def test_docstring_examples_import_their_module() -> None:
    """A session that uses the name of its module imports the module."""
    session = from_docstring(brew(">>> shop.brew(2)\n4\n"), ["brew"])
    assert session == ">>> from shop import brew\n>>> import shop\n>>> shop.brew(2)\n"


@pytest.mark.parametrize("doc", ["", "Make tea.", ">>> pour(2)\n2\n", ">>>brew(2)\n"])
def test_docstring_without_examples(doc: str) -> None:
    """A docstring without an example that uses the name gives no session."""
    assert from_docstring(brew(doc), ["brew"]) == ""


def test_order_of_examples() -> None:
    """The hand-written session of a name comes first, then that of its docstring, then that of its class."""
    doc = ">>> with ZipFile('box.zip') as box: box.extractall()\n"
    found = examples(Entry("zipfile", "ZipFile.extractall", "method", doc=doc), ["ZipFile", "ZipFile.extractall"])
    assert [session.count("extractall") for session in found] == [1, 1, 1]
    assert found[0] == SESSIONS["zipfile.ZipFile.extractall"]
    assert found[2] == SESSIONS["zipfile.ZipFile"]


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


@pytest.mark.parametrize("start", range(0, len(SESSIONS), TOGETHER))
async def test_sessions_run(start: int) -> None:
    """Each hand-written example runs, in a folder of its own, and shows something."""
    symbols = [*SESSIONS][start : start + TOGETHER]
    heading = ">>> import os, tempfile; os.chdir(tempfile.mkdtemp(dir=os.environ['HOME'])); print('=== {}')\n"
    outcome = await run("".join(heading.format(symbol) + SESSIONS[symbol] for symbol in symbols))
    assert outcome.status == "ok", outcome.output
    shown = [part.partition("\n") for part in outcome.output.split("\n=== ")[1:]]
    assert [symbol for symbol, _, output in shown if shows_something(output)] == symbols


async def test_docstring_example_runs(library: Library) -> None:
    """A name without a hand-written session has the examples of its docstring, and they run."""
    assert "statistics.harmonic_mean" not in SESSIONS
    (session,) = await library.examples("statistics", "harmonic_mean")
    outcome = await run(session)
    assert (outcome.status, shows_something(outcome.output)) == ("ok", True), outcome.output
