"""The sources of settings: ``greenroom.toml``, the environment, and ``NAME=VALUE`` on the command line."""

from __future__ import annotations

import difflib
import logging
import tomllib
from typing import TYPE_CHECKING, TypeAlias

import attrs

from actors import ConfigError
from actors.failures import log_line, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

logger = logging.getLogger("greenroom.settings")

PREFIX = "GREENROOM_"
"""The beginning of the names of environment variables."""
DEFAULT, KEYWORD, ASSIGNMENT = "default", "keyword", "--set"
"""Names of three sources of a value: the default, the application's own code, the option of the command line."""

_SIMILAR = 0.75
"""Minimum similarity, from 0 to 1, of a name that is suggested.

With 0.6, the default of ``difflib``, the wrong name ``nonsense`` would get the suggestion ``pong_seconds``.
"""

_BOOLS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}

Defaults: TypeAlias = "Mapping[str, object]"
"""The names of all settings, with their defaults. The type of a default decides how a text is read."""


@attrs.frozen
class Given:
    """A value for one setting, and the source that gave it."""

    name: str
    value: object
    source: str
    """The source, as errors and ``greenroom settings`` name it: ``greenroom.toml``, ``GREENROOM_PORT``, ``--set`` …"""


def from_keywords(values: Mapping[str, object], defaults: Defaults) -> list[Given]:
    """Return the settings that the application's own code gives. Raise ConfigError for an unknown name."""
    for name in values:
        _refuse_unknown(name, defaults, "settings")
    return [Given(name, value, KEYWORD) for name, value in values.items()]


def from_toml(path: Path, defaults: Defaults) -> list[Given]:
    """Return the settings in a TOML file. If the file does not exist, return an empty list.

    Raises:
        ConfigError: The file cannot be read, has an unknown name or a table, or a number in quotes.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    for name, value in values.items():
        if isinstance(value, dict):
            raise ConfigError(f"{path}: [{name}] is a table, and tables are not used: write each name at the top level")
        _refuse_unknown(name, defaults, str(path))
        if isinstance(value, str) and not isinstance(read := read_text(value, defaults[name]), str):
            kind, form = ("true or false", str(read).lower()) if isinstance(read, bool) else ("a number", value)
            raise ConfigError(f"{path}: {name} is {kind}: write it without quotes, {name} = {form}")
    return [Given(name, value, str(path)) for name, value in values.items()]


def from_environment(environment: Mapping[str, str], defaults: Defaults) -> list[Given]:
    """Return the settings in environment variables: ``GREENROOM_`` and the name in capitals.

    An unknown name is only a warning, because other programs can use the same prefix.
    """
    given: list[Given] = []
    for variable in sorted(environment):
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX):
            continue
        if name in defaults:
            given.append(Given(name, read_text(environment[variable], defaults[name]), variable))
        else:
            hint = _hint(name, defaults, lambda close: f"{PREFIX}{close.upper()}")
            log_line(logger, logging.WARNING, "%s is set, and there is no setting of that name%s", variable, hint)
    return given


def from_assignments(assignments: Iterable[str], defaults: Defaults) -> list[Given]:
    """Return the settings that texts of the form ``NAME=VALUE`` give.

    Raises:
        ConfigError: A text has no ``=``, or an unknown name.
    """
    given: list[Given] = []
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals:
            raise ConfigError(f"{ASSIGNMENT} needs NAME=VALUE, not {shown(assignment)}")
        _refuse_unknown(name, defaults, ASSIGNMENT)
        given.append(Given(name, read_text(text, defaults[name]), ASSIGNMENT))
    return given


def read_text(text: str, default: object) -> object:
    """Return the value that ``text`` stands for: a number or a bool, if the setting's default is one.

    A text that is neither is returned as it is. The check of the setting then refuses the text with a clear message.
    """
    if isinstance(default, bool):
        return _BOOLS.get(text.strip().lower(), text)
    for kind in (int, float) if isinstance(default, (int, float)) else ():
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _refuse_unknown(name: str, defaults: Defaults, where: str) -> None:
    if name not in defaults:
        raise ConfigError(f"unknown name in {where}: {name}{_hint(name, defaults, str)}")


def _hint(name: str, defaults: Defaults, written: Callable[[str], str]) -> str:
    """Return a text that suggests the known setting with the most similar name; "" if none is similar.

    ``written`` turns the name of a setting into the form that the user must write.
    """
    close = difflib.get_close_matches(name, defaults, n=1, cutoff=_SIMILAR)
    return f"; did you mean {written(close[0])}?" if close else ""
