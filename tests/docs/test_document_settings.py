"""The settings in the documents are those of the code."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from typing import TYPE_CHECKING

import pytest
from docs.documents import Block, blocks, document

from actors import SessionSettings
from actors.spi import ClusterSettings
from transport import Settings
from transport.settings import NAMES

if TYPE_CHECKING:
    from pathlib import Path

GUIDE = document("transport/cli/GUIDE.md")


def settings_table() -> list[str]:
    """Return the table of settings as the chapter must show it, from the fields and their docstrings."""
    rows = ["| name | default | |", "| --- | --- | --- |"]
    for cls in (SessionSettings, ClusterSettings, Settings):
        body = ast.parse(inspect.getsource(cls)).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, doc in zip(body.body, body.body[1:], strict=False):
            match field, doc:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    rows.append(f"| `{name}` | {shown(name, getattr(Settings(), name))} | {' '.join(text.split())} |")
                case _:
                    pass
    return rows


def shown(name: str, value: float | str | tuple[str, ...] | None) -> str:
    """Return a default as the table shows it."""
    if value is None or isinstance(value, str):
        return value or "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value)
    if name.endswith("port"):  # it is a name more than a number
        return str(value)
    return f"{value:,g}" if value < 1_000 else f"{value:,.0f}"


def test_settings_table() -> None:
    """The chapter transport/cli/GUIDE.md has exactly the table of settings that is generated from the code."""
    table = settings_table()
    assert len(table) == len(NAMES) + 2
    assert [line for line in GUIDE.section("Settings").splitlines() if line.startswith("|")] == table


def test_limits_are_settings() -> None:
    """Each limit in the table "At the limits" of transport/cli/GUIDE.md is a setting."""
    named = [name for row in GUIDE.table("At the limits") for name in re.findall(r"`(\w+)`", row[0])]
    assert len(named) > 10
    assert set(named) <= set(NAMES)


@pytest.mark.parametrize("block", blocks("toml"), ids=lambda block: block.place)
def test_toml_files_are_read(block: Block, tmp_path: Path) -> None:
    """Each settings file in the documents can be loaded, and the settings then have the values of the file."""
    assert block.name == "greenroom.toml"
    file = tmp_path / block.name
    file.write_text(block.text)
    loaded = Settings.load(toml=file)
    for name, value in tomllib.loads(block.text).items():
        assert getattr(loaded, name) == (tuple(value) if isinstance(value, list) else value)
