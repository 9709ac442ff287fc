"""Modules become index entries: their public names, under the module from which users import them."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import pytest

from transport.demo import build
from transport.demo.build import extract

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from transport.demo.index import Entry

SHOP = '''"""Sells tea."""
import os, random
__all__ = ["brew", "Cup", "pour", "Spilled", "pick"]
def brew(leaves, *, minutes=3, kind=object()) -> str:
    """Make tea."""
    return leaves
if os.name:
    async def pour(cup): "Fill a cup."
class Cup:
    def __init__(self, size, /, handle=True): "A cup of a size."
    def __repr__(self): "Not looked for."
    def sip(self, n): "Drink."
    @classmethod
    def empty(cls, n): "No tea."
    @staticmethod
    def wash(n): "Clean."
    @property
    def full(self): "Whether."
    def _break(self): "Not for users."
class Spilled(Exception): "Tea on the floor."
pick = random.Random().choice
def helper(): "Not in __all__."
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return an empty folder that stands for the standard library. Modules in it can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(build, "STDLIB", tmp_path)
    before = set(sys.modules)
    importlib.invalidate_caches()
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def entries_of(*modules: str) -> dict[str, Entry]:
    """Return the entries of these modules, by their whole name."""
    return {entry["symbol"]: entry for entry in extract(modules)}


def test_entries_of_a_module(folder: Path) -> None:
    """Each public name of a module has its kind, its signature without ``self``, its docstring and its lines."""
    (folder / "teashop.py").write_text(SHOP)
    found = entries_of("teashop")
    assert {symbol: (entry["kind"], entry["signature"]) for symbol, entry in found.items()} == {
        "teashop": ("module", ""),
        "teashop.brew": ("function", "(leaves, *, minutes=3, kind=…) -> str"),
        "teashop.pour": ("function", "(cup)"),
        "teashop.pick": ("function", "(seq)"),
        "teashop.Cup": ("class", "(size, /, handle=True)"),
        "teashop.Cup.sip": ("method", "(n)"),
        "teashop.Cup.empty": ("class method", "(n)"),
        "teashop.Cup.wash": ("class method", "(n)"),
        "teashop.Cup.full": ("attribute", ""),
        "teashop.Spilled": ("exception", ""),
    }
    brew, cup = found["teashop.brew"], found["teashop.Cup"]
    assert (brew["file"], brew["line"], brew["end_line"], brew["at"]) == ("teashop.py", 4, 6, "teashop.py:4")
    assert (cup["doc"], cup["line"], cup["end_line"]) == ("A cup of a size.", 9, 19)


def test_shortest_path(folder: Path) -> None:
    """If a package exports a name of one of its modules, the index has the name once, under the package.

    This also holds if the package imports the name only at its first use.
    """
    (folder / "teahouse").mkdir()
    (folder / "teahouse" / "__init__.py").write_text(
        "from ._tea import Tea\nfrom .coins import *\n__all__ = ['Tea', 'Coin', 'Late']\n"
        "def __getattr__(name):\n    from .late import Late\n    return Late\n"
    )
    (folder / "teahouse" / "_tea.py").write_text("class Tea: 'Hot.'\n")
    (folder / "teahouse" / "coins.py").write_text("__all__ = ['Coin']\nclass Coin: 'Money.'\n")
    (folder / "teahouse" / "late.py").write_text("class Late: 'Imported at its first use.'\n")
    found = entries_of("teahouse")
    assert set(found) == {
        "teahouse",
        "teahouse.Tea",
        "teahouse.Coin",
        "teahouse.Late",
        "teahouse.coins",
        "teahouse.late",
    }
    assert found["teahouse.Tea"]["file"] == "teahouse/_tea.py"


def test_members_of_private_class(folder: Path) -> None:
    """A class has the members that it inherits from a class of a private module, but not those of a public class."""
    (folder / "_teabase.py").write_text("class Base:\n    def steep(self): 'Wait.'\n    def pour(self): 'Old.'\n")
    (folder / "teabag.py").write_text(
        "from _teabase import Base\n"
        "class Bag(Base, dict):\n    def pour(self): 'New.'\n    def dry(self): 'Later.'\n"
        "class Box(Bag): 'Many.'\n"
    )
    found = entries_of("teabag")
    assert {"teabag.Bag.pour", "teabag.Bag.steep", "teabag.Bag.dry", "teabag.Box.steep"} <= set(found)
    assert not {"teabag.Bag.update", "teabag.Box.dry"} & set(found)
    assert found["teabag.Bag.pour"]["doc"] == "New."


def test_modules_that_are_left_out(folder: Path) -> None:
    """Private modules, tests, and modules that cannot be imported have no entries."""
    for name in ("_private", "test", "broken", "fine"):
        (folder / f"{name}.py").write_text("1 / 0" if name == "broken" else "def f(): 'A function.'")
    assert set(entries_of("_private", "test", "broken", "fine")) == {"fine", "fine.f"}


def test_module_without_all(folder: Path) -> None:
    """A module without ``__all__`` has entries for its own public names, not for names that it imported."""
    (folder / "tealeaf.py").write_text("from textwrap import dedent\ndef dry(): 'Dry it.'\ndef _wet(): 'Wet it.'\n")
    assert set(entries_of("tealeaf")) == {"tealeaf", "tealeaf.dry"}


def test_names_in_c() -> None:
    """Names written in C have entries without a file, and the signature that their docstring begins with."""
    found = entries_of("builtins", "math", "time", "os")
    assert found["math.sqrt"]["at"] == "math (built in, written in C)"
    assert found["time.sleep"]["summary"].startswith("Delay execution")
    assert found["builtins.str.split"]["signature"] == "(sep=None, maxsplit=-1)"
    assert found["builtins.dict.fromkeys"]["kind"] == "class method"
    assert found["builtins.dict.pop"]["summary"].startswith("If the key is not found")
    assert found["os.path.join"]["file"] == "posixpath.py"
    assert "os.getcwd" in found


def test_bound_method_as_function() -> None:
    """``random.choice`` and similar functions are methods of a hidden object.

    The index gives the file and the signature of such a method.
    """
    choice = entries_of("random")["random.choice"]
    assert (choice["kind"], choice["file"], choice["signature"]) == ("function", "random.py", "(seq)")
