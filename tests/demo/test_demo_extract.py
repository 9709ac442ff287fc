"""Source text to entries: what users may know, under the name by which they import it."""

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


def test_public_names_are_found_with_kind_signature_and_place() -> None:
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
def test_source_is_shown_without_its_docstring(source: str, shown: str) -> None:
    assert without_docstring(source.splitlines()) == shown.splitlines()


def test_what_a_module_exports_and_imports_is_read() -> None:
    source = extract("shop", "shop/__init__.py", SHOP)
    assert source.exported == frozenset({"brew", "Cup"})
    assert ("shop._tea", "Tea", "Tea") in source.imports


def test_a_relative_import_in_a_module_is_of_its_package() -> None:
    assert extract("shop.till", "shop/till.py", "from .coins import Coin").imports == (("shop.coins", "Coin", "Coin"),)


def test_text_that_is_not_python_is_refused() -> None:
    with pytest.raises(SyntaxError):
        extract("shop", "shop.py", "def (")


def test_a_reexported_name_is_found_under_the_package_and_a_broken_file_is_left_out(tmp_path: Path) -> None:
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


def test_names_written_in_c_have_no_place_and_those_of_a_hidden_instance_do(tmp_path: Path) -> None:
    found = {entry.symbol: entry for entry in collect(tmp_path).entries}
    assert found["math.sqrt"].place == "math (built in, written in C)"
    assert found["time.sleep"].summary.startswith("Delay execution")
    assert found["random.choice"].file == "random.py"
    assert found["builtins.str.split"].kind == "method"
    assert found["builtins.dict.fromkeys"].kind == "class method"
