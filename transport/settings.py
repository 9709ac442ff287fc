"""All settings: their sources, their defaults and their limits.

If several sources have a setting, the first of these counts: the command line, the keywords, the environment
(``GREENROOM_`` and the name in capitals), TOML (``greenroom.toml`` in the current folder, the names as they are). An
unknown name is an error in a keyword and in TOML. In the environment, which other programs use too, it only causes a
warning.
"""

from __future__ import annotations

import difflib
import logging
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import attrs

from actors import DEFAULT_SECRET_KEYS, ConfigError, SessionSettings
from actors.failures import log_line, shown
from actors.spi import number_from, whole_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

logger = logging.getLogger("greenroom.settings")

PREFIX = "GREENROOM_"
"""The beginning of the names of environment variables that are settings."""
TOML = Path("greenroom.toml")
"""The file with settings, in the current folder."""


def _strings(value: Any) -> Any:
    """Convert a list to a tuple. Also convert a string with commas, the form of a list in an environment variable."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return tuple(cast("Iterable[object]", value)) if isinstance(value, list) else value


def _all_strings(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    items = cast("Iterable[object]", value) if isinstance(value, tuple) else (value,)
    if not all(isinstance(item, str) for item in items) and not (value is None and attribute.default is None):
        raise ConfigError(f"{attribute.name} must be a list of strings, not {shown(cast('object', value))}")


@attrs.frozen(kw_only=True)
class Settings(SessionSettings):
    """The settings of a whole server: its sessions and its endpoint. Times are in seconds, sizes in bytes."""

    max_frame_bytes: int = attrs.field(default=64 * 1024, validator=whole_from(1024))
    """Maximum size of a message from a client: the sum of its fragments."""
    hello_seconds: float = attrs.field(default=10.0, validator=number_from(0.001))
    """How long a client may take to send its first message, ``hello``."""
    auth_seconds: float = attrs.field(default=10.0, validator=number_from(0.001))
    """How long the auth function may take for one connection, before it is cancelled and the client gets 4006."""
    ping_seconds: float = attrs.field(default=25.0, validator=number_from(0.001, 2_000_000))
    """The interval of pings to a client. At most 2,000,000, since a browser's timers hold no more."""
    pong_seconds: float = attrs.field(default=10.0, validator=number_from(0.001))
    """How long beyond ``ping_seconds`` a client may be silent."""
    slow_seconds: float = attrs.field(default=10.0, validator=number_from(0.001))
    """How long a client may read nothing, while data waits to be sent to it."""
    commands_per_second: float = attrs.field(default=20.0, validator=number_from(0.001))
    """Requests (commands, typing, history) that one connection may make per second, on average."""
    commands_burst: int = attrs.field(default=40, validator=whole_from(1))
    """Requests that one connection may make at once."""
    max_connections: int = attrs.field(default=10_000, validator=whole_from(1))
    """Maximum number of connections to this server."""
    max_connections_per_user: int = attrs.field(default=32, validator=whole_from(1))
    """Maximum number of connections of one user."""
    give_way_seconds: float = attrs.field(default=2.0, validator=number_from(0.001))
    """When a user at the limit opens a new connection: how long older ones may be silent before they are closed."""
    max_connections_per_address: int = attrs.field(default=256, validator=whole_from(1))
    """Maximum number of connections from one address."""
    allowed_origins: tuple[str, ...] | None = attrs.field(default=None, converter=_strings, validator=_all_strings)
    """Origins of pages that may connect; None for the pages that this server serves itself."""
    redact_keys: tuple[str, ...] = attrs.field(default=DEFAULT_SECRET_KEYS, converter=_strings, validator=_all_strings)
    """Words in keys that mark a secret. The values of such keys are removed from tool arguments and failure texts."""
    loop_stall_seconds: float = attrs.field(default=1.0, validator=number_from(0.001))
    """How long code may hold the event loop before a warning names the code."""
    gc_threshold: int = attrs.field(default=20_000, validator=whole_from(0))
    """Python's first garbage collection threshold in a server process; 0 leaves Python's own."""

    _given: frozenset[str] = attrs.field(init=False, eq=False, repr=False)

    def __new__(cls, **given: object) -> Self:
        """Record the fields that the caller gave. A given value has priority even if it equals the field's default.

        If the caller gives every field, as ``attrs.evolve`` does, only the fields that differ from their defaults count
        as given.
        """
        self = super().__new__(cls)
        if len(given) == len(NAMES):
            given = {name: value for name, value in given.items() if value != attrs.fields_dict(cls)[name].default}
        object.__setattr__(
            self, "_given", frozenset(given)
        )  # the class is frozen, and no other code has the object yet
        return self

    @classmethod
    def load(
        cls,
        keywords: Mapping[str, object] | None = None,
        *,
        environment: Mapping[str, str] = os.environ,
        toml: Path = TOML,
    ) -> Self:
        """Return the settings from all sources.

        Args:
            keywords: Settings that the caller chose.
            environment: The environment variables.
            toml: The path of the TOML file, which need not exist.

        Raises:
            ConfigError: If a name is unknown or a value is not allowed. The message names it.
        """
        values: dict[str, Any] = {**_from_toml(toml), **_from_environment(environment), **(keywords or {})}
        _refuse_unknown(values, "settings")
        return cls(**values)

    def explicit(self) -> dict[str, object]:
        """Return the fields that the caller gave, with their values, even if a value equals its default."""
        return {name: getattr(self, name) for name in NAMES if name in self._given}


NAMES = tuple(field.name for field in attrs.fields(Settings) if field.init)
"""Names of all settings."""


def _refuse_unknown(values: Mapping[str, object], where: str) -> None:
    for name in values:
        if name not in NAMES:
            close = difflib.get_close_matches(name, NAMES, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ConfigError(f"unknown name in {where}: {name}{hint}")


def _from_toml(path: Path) -> dict[str, object]:
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    _refuse_unknown(values, str(path))
    return values


def _from_environment(environment: Mapping[str, str]) -> dict[str, object]:
    values: dict[str, object] = {}
    for variable in sorted(environment):
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX):
            continue
        if name in NAMES:
            values[name] = _number_or_text(environment[variable])
        else:
            log_line(logger, logging.WARNING, "%s is set, and there is no setting of that name", variable)
    return values


def _number_or_text(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
