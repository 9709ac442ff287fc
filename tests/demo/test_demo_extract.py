"""Source text becomes index entries: the public names, under the module from which users import them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from transport.demo.collect import collect
from transport.demo.extract import extract, without_docstring

if TYPE_CHECKING:
    from pathlib import Path

SHOP = '''"""Sells tea."""
import os
from ._tea import Tea as Tea
__all__ = ["brew", "Cup"]
def brew(leaves, *, minutes=3) -> str:
    """Make tea."""
    return leaves
if os.name == "posix":
    async def pour(cup): "Fill a cup."
class Cup:
    def __init__(self, size, /, handle=True): "A cup of a size."
    def __add__(self, other): "Two cups."
    def __repr__(self): "Not looked for."
    @classmethod
    def empty(cls, n): "No tea."
    @staticmethod
    def wash(n): "Clean."
    @property
    def full(self): "Whether."
def _secret(): "Not for users."
'''


def test_entries_of_a_file() -> None:
    """Each public name of a file has its kind, signature, line in the file, docstring and code."""
    found = {entry.symbol: entry for entry in extract("shop", "shop.py", SHOP).entries}
    assert {symbol: (entry.kind, entry.signature) for symbol, entry in found.items()} == {
        "shop": ("module", ""),
        "shop.brew": ("function", "(leaves, *, minutes=3) -> str"),
        "shop.pour": ("function", "(cup)"),
        "shop.Cup": ("class", "(size, /, handle=True)"),
        "shop.Cup.__add__": ("method", "(other)"),
        "shop.Cup.empty": ("class method", "(n)"),
        "shop.Cup.wash": ("class method", "(n)"),
        "shop.Cup.full": ("method", "()"),
    }
    assert found["shop.brew"].place == "shop.py:5"
    assert found["shop.Cup"].doc == "A cup of a size."
    assert "return leaves" in found["shop.brew"].code


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ('    def f(x):\n        """Two\n        lines."""\n        return x', "    def f(x):\n        return x"),
        ("def f(x):\n    return x", "def f(x):\n    return x"),
        ("class E(Exception):\n    'Only this.'", "class E(Exception):\n    'Only this.'"),
    ],
)
def test_docstring_is_removed(source: str, shown: str) -> None:
    """The docstring is removed from source lines, unless nothing else would be left."""
    assert without_docstring(source.splitlines()) == shown.splitlines()


def test_exports_and_imports() -> None:
    """``__all__`` and the imports of a module are read."""
    source = extract("shop", "shop/__init__.py", SHOP)
    assert source.exported == frozenset({"brew", "Cup"})
    assert ("shop._tea", "Tea", "Tea") in source.imports


def test_relative_import() -> None:
    """A relative import in a module is resolved from the module's package."""
    assert extract("shop.till", "shop/till.py", "from .coins import Coin").imports == (("shop.coins", "Coin", "Coin"),)


def test_syntax_error() -> None:
    """Text that is not Python raises ``SyntaxError``."""
    with pytest.raises(SyntaxError):
        extract("shop", "shop.py", "def (")


def test_reexports(tmp_path: Path) -> None:
    """A name that a package exports has one entry, under the package. Broken files and tests have none."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text(
        "from ._tea import Tea\nfrom .coins import *\n__all__ = ['Tea', 'Late']\n"
    )
    (tmp_path / "shop" / "coins.py").write_text(
        "__all__ = ['Coin']\nclass Coin: 'Money.'\nclass Hidden: 'Not exported.'\n"
    )
    (tmp_path / "shop" / "late.py").write_text("class Late: 'Imported when asked for.'\n")
    (tmp_path / "shop" / "broken.py").write_text("def (")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "shopping.py").write_text("def no(): 'A test.'")
    symbols = {entry.symbol for entry in collect(tmp_path).entries}
    assert {"shop.Coin", "shop.Late"} <= symbols
    assert not {"shop.coins.Coin", "shop.coins.Hidden", "shop.broken", "test.shopping.no"} & symbols


def test_names_in_c(tmp_path: Path) -> None:
    """Names written in C have entries without a file. ``random.choice`` has the file of its source."""
    found = {entry.symbol: entry for entry in collect(tmp_path).entries}
    assert found["math.sqrt"].place == "math (built in, written in C)"
    assert found["time.sleep"].summary.startswith("Delay execution")
    assert found["random.choice"].file == "random.py"
    assert found["builtins.str.split"].kind == "method"
    assert found["builtins.dict.fromkeys"].kind == "class method"
