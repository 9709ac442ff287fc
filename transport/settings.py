"""All settings: their sources, their defaults and their limits.

If several sources have a setting, the first source in this list counts:

1. the command line: ``--set NAME=VALUE``, or the setting's own option, such as ``--port``;
2. the keyword arguments of :class:`~transport.Greenroom`;
3. the environment: ``GREENROOM_`` and the name in capitals;
4. TOML: ``greenroom.toml`` in the current folder, with the names as they are.

An unknown name is an error. In the environment, which other programs use too, it only causes a warning. An error for a
wrong value names its source.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import attrs

from actors import DEFAULT_SECRET_KEYS, ConfigError, open_log
from actors.checks import is_whole
from actors.eventlog import ValkeyOptions
from actors.failures import shown
from actors.spi import ClusterSettings, number_from, whole_from
from transport._sources import DEFAULT, KEYWORD, Given, from_environment, from_keywords, from_toml
from transport.logs import FORMATS
from transport.protocol.deflate import LEAST_BYTES
from transport.protocol.forwarded import network_of
from transport.protocol.handshake import LARGEST_PORT, is_origin, origin_beside, origin_like

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TOML = Path("greenroom.toml")
"""The file with settings, in the current folder."""
DEFAULT_LOG = "sqlite:greenroom.db"
"""The event log of an app that was made without the argument ``log``: a SQLite file in the current folder."""
DEFAULT_HOST, DEFAULT_PORT, DEFAULT_HTTP_PORT = "127.0.0.1", 8765, 8766
"""The host on which a server listens by default, the port of the WebSocket endpoint, and the port of the pages."""


def _host(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{attribute.name} must be a name or an address of this machine, not {shown(value)}")


def _log_url(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str):
        forms = "memory:, sqlite:PATH or valkey://HOST:PORT"
        raise ConfigError(f"{attribute.name} must be a URL, {forms}, not {shown(value)}")
    open_log(value)


def _prefix(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", value):
        raise ConfigError(
            f"{attribute.name} must be 1 to 64 ASCII letters, digits and the characters . _ : -, not {shown(value)}"
        )


def _port(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if not is_whole(value, 0, LARGEST_PORT):
        raise ConfigError(f"{attribute.name} must be a whole number from 0 to {LARGEST_PORT}, not {shown(value)}")


def _strings(value: Any) -> Any:
    """Convert a list to a tuple. Also convert a string with commas, the form of a list in an environment variable."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return tuple(cast("Iterable[object]", value)) if isinstance(value, list) else value


def _all_strings(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    items = cast("Iterable[object]", value) if isinstance(value, tuple) else (value,)
    if not all(isinstance(item, str) for item in items) and not (value is None and attribute.default is None):
        raise ConfigError(f"{attribute.name} must be a list of strings, not {shown(cast('object', value))}")


def _origins(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    _all_strings(instance, attribute, value)
    for text in cast("tuple[str, ...]", value or ()):
        if not is_origin(text):
            raise ConfigError(f"{attribute.name}: {shown(text)} is no origin: write {origin_like(text)}")


def _public_url(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and (not isinstance(value, str) or origin_beside(value) is None):
        raise ConfigError(
            f"{attribute.name} must be the address at which clients reach the endpoint, such as "
            f"wss://app.example.com/ws, not {shown(value)}"
        )


def _networks(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    _all_strings(instance, attribute, value)
    for text in cast("tuple[str, ...]", value or ()):
        try:
            network_of(text)
        except ValueError as error:
            raise ConfigError(f"{attribute.name}: {shown(text)} cannot be used: {error}") from None


def _flag(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        raise ConfigError(f"{attribute.name} must be true or false, not {shown(value)}")


def _compressed(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if not is_whole(value, 0) or 0 < value < LEAST_BYTES:
        raise ConfigError(f"{attribute.name} must be 0 (off) or a whole number from {LEAST_BYTES}, not {shown(value)}")


MIN_OPERATOR_TOKEN = 16
"""Minimum length of ``operator_token``, in characters: a shorter one could be guessed from the cookie made with it."""
_TOKEN = re.compile(f"[!-~]{{{MIN_OPERATOR_TOKEN},}}")


def _operator_token(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    # The message does not show the value: it is a secret, also if it cannot be used.
    if value is not None and (not isinstance(value, str) or not _TOKEN.fullmatch(value)):
        raise ConfigError(
            f"{attribute.name} must be at least {MIN_OPERATOR_TOKEN} characters of ASCII, without spaces; make one "
            "with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )


def _log_format(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if value not in FORMATS:
        raise ConfigError(f"{attribute.name} must be {' or '.join(FORMATS)}, not {shown(value)}")


def _file(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise ConfigError(f"{attribute.name} must be the path of a file, not {shown(value)}")


@attrs.frozen(kw_only=True)
class Settings(ClusterSettings):
    """The settings of a whole server: its sessions, its part in a cluster, and its endpoint.

    Times are in seconds, sizes in bytes.
    """

    host: str = attrs.field(default=DEFAULT_HOST, validator=_host)
    """The name or address on which the server listens. Without ``auth`` it must be a loopback address."""
    port: int = attrs.field(default=DEFAULT_PORT, validator=_port)
    """The port of the WebSocket endpoint; 0 takes a free one."""
    http_port: int = attrs.field(default=DEFAULT_HTTP_PORT, validator=_port)
    """The port of the pages, which ``greenroom serve`` serves beside the endpoint; 0 takes a free one."""
    log: str = attrs.field(default=DEFAULT_LOG, validator=_log_url)
    """Where events are kept: ``memory:``, ``valkey://HOST:PORT``, or ``sqlite:PATH`` with its options."""
    valkey_timeout_seconds: float = attrs.field(default=2.0, validator=number_from(0.001))
    """With ``valkey://``: the time limit of one call to the server. After it the connection is made anew."""
    valkey_prefix: str = attrs.field(default="gr", validator=_prefix)
    """With ``valkey://``: the beginning of all names of keys. All nodes of a cluster use the same."""
    valkey_wait_replicas: int = attrs.field(default=0, validator=whole_from(0))
    """With ``valkey://``: the number of replicas that must have each commit before it counts."""
    valkey_keeps_acknowledged: bool = attrs.field(default=False, validator=_flag)
    """Whether the Valkey server has every acknowledged event after a restart. If not, sessions begin new epochs."""
    max_frame_bytes: int = attrs.field(default=64 * 1024, validator=whole_from(1024))
    """Maximum size of a message from a client (the sum of its fragments), also if a request by plain HTTP has it."""
    http_body_bytes: int = attrs.field(default=1024 * 1024, validator=whole_from(1024))
    """Maximum size of the body of a request: AG-UI clients and the AI SDK send the whole conversation each time."""
    max_fragments: int = attrs.field(default=1024, validator=whole_from(1))
    """Maximum number of fragments of a message. A connection may send this number per second, on average."""
    compress_bytes: int = attrs.field(default=0, validator=_compressed)
    """Smallest message to compress for clients that can (permessage-deflate): 0 is off, 4096 good, 1024 the least."""
    control_frames_per_second: float = attrs.field(default=100.0, validator=number_from(0.001))
    """Control frames (WebSocket pings and pongs, ``ack``, ``typing``, ``pong``) that a connection may send per second.

    A connection that sends more is closed.
    """
    hello_seconds: float = attrs.field(default=10.0, validator=number_from(0.001))
    """How long a client may take to send its first message, ``hello``. On the port of the pages: each whole request."""
    auth_seconds: float = attrs.field(default=10.0, validator=number_from(0.001))
    """How long the auth function may take for one connection, before it is cancelled and the client gets 4006."""
    ping_seconds: float = attrs.field(default=25.0, validator=number_from(0.001, 2_000_000))
    """The interval of pings to a client. At most 2,000,000, since a browser's timers hold no more."""
    pong_seconds: float = attrs.field(default=10.0, validator=number_from(0.001))
    """How long beyond ``ping_seconds`` a client may be silent."""
    slow_seconds: float = attrs.field(default=10.0, validator=number_from(0.001))
    """How long a client may read nothing, while data waits to be sent to it."""
    commands_per_second: float = attrs.field(default=20.0, validator=number_from(0.001))
    """Requests (commands, typing, history, fresh tokens) that one connection may make per second, on average."""
    commands_burst: int = attrs.field(default=40, validator=whole_from(1))
    """Requests that one connection may make at once."""
    max_requests_per_user: int = attrs.field(default=32, validator=whole_from(1))
    """Commands and requests for history of one user, by plain HTTP, that wait for their answers at the same time."""
    http_wait_seconds: float = attrs.field(default=25.0, validator=number_from(0.001))
    """How long an answer by plain HTTP waits at most: a long poll for events, a command for its reply."""
    comment_seconds: float = attrs.field(default=15.0, validator=number_from(0.001))
    """The longest silence of a stream by plain HTTP (server-sent events): then it gets a comment."""
    max_connections: int = attrs.field(default=10_000, validator=whole_from(1))
    """Maximum number of connections to the endpoint. The pages have the same limit for themselves."""
    max_connections_per_user: int = attrs.field(default=32, validator=whole_from(1))
    """Maximum number of connections of one user."""
    give_way_seconds: float = attrs.field(default=2.0, validator=number_from(0.001))
    """When a user at the limit opens a new connection: how long older ones may be silent before they are closed."""
    max_connections_per_address: int = attrs.field(default=256, validator=whole_from(1))
    """Connections from one address (of IPv6: from one /64 network) to the endpoint. The pages count for themselves."""
    handshakes_per_second: float = attrs.field(default=1000.0, validator=number_from(0.001))
    """New connections per second to each of the two ports. Any more are closed at once."""
    handshakes_per_address_per_second: float = attrs.field(default=50.0, validator=number_from(0.001))
    """New connections per second from one address (of IPv6: one /64 network) to each port. Any more are closed."""
    allowed_origins: tuple[str, ...] | None = attrs.field(default=None, converter=_strings, validator=_origins)
    """Origins of more pages that may connect, beside the server's own: ``https://a.example,https://b.example``."""
    public_url: str | None = attrs.field(default=None, validator=_public_url)
    """The endpoint's address behind a proxy, ``wss://app.example.com/ws``: pages get it, and its host's may connect."""
    forwarded_allow: tuple[str, ...] | None = attrs.field(default=None, converter=_strings, validator=_networks)
    """Addresses or networks of your proxies, ``10.0.0.5,10.1.0.0/16``. Only they may name the client's address."""
    proxy_protocol: bool = attrs.field(default=False, validator=_flag)
    """Whether each connection from ``forwarded_allow`` must begin with a header of the PROXY protocol (v1 or v2)."""
    tls_cert: str | None = attrs.field(default=None, validator=_file)
    """File (PEM) with the TLS certificate of both ports, and the intermediate certificates. Read again on SIGHUP."""
    tls_key: str | None = attrs.field(default=None, validator=_file)
    """File (PEM) with the private key of ``tls_cert``. Without it, the key is in ``tls_cert``, too."""
    redact_keys: tuple[str, ...] = attrs.field(default=DEFAULT_SECRET_KEYS, converter=_strings, validator=_all_strings)
    """Words in keys that mark a secret. The values of such keys are removed from tool arguments and failure texts."""
    loop_stall_seconds: float = attrs.field(default=1.0, validator=number_from(0.001))
    """How long code may hold the event loop before a warning names the code."""
    workers: int = attrs.field(default=1, validator=whole_from(1))
    """Number of processes that ``greenroom serve`` runs. More than one needs a log that processes can share."""
    worker_http_port: int = attrs.field(default=0, validator=_port)
    """Port of the first worker's own pages, metrics and inspector; the next worker has the next port. 0: none."""
    operator_token: str | None = attrs.field(default=None, validator=_operator_token, repr=False)
    """The secret of operators, for the inspector and the metrics. Without it, they serve only this machine."""
    inspect_content: bool = attrs.field(default=False, validator=_flag)
    """Whether the inspector shows the content of events (texts, arguments, results). Each look is logged."""
    metrics_open: bool = attrs.field(default=False, validator=_flag)
    """Whether everyone can read the metrics at ``/metrics``. If not, that needs ``operator_token``, or this machine."""
    log_format: str = attrs.field(default="text", validator=_log_format)
    """Format of the log lines of ``greenroom serve`` and ``demo``: ``text``, or ``json``, one object in each line."""
    traces: bool = attrs.field(default=False, validator=_flag)
    """Whether runs and tool calls are spans of OpenTelemetry. Needs the extra ``traces``."""
    trace_content: bool = attrs.field(default=False, validator=_flag)
    """Whether these spans have inputs, results, arguments and texts of errors, without the values of secret keys."""
    gc_threshold: int = attrs.field(default=20_000, validator=whole_from(0))
    """Python's first garbage collection threshold in a server process; 0 leaves Python's own."""

    _sources: Mapping[str, str] = attrs.field(init=False, eq=False, repr=False)

    def __new__(cls, **given: object) -> Self:
        """Record the fields that the caller gave. A given value has priority even if it equals the field's default.

        If the caller gives every field, as ``attrs.evolve`` does, only the fields that differ from their defaults count
        as given.
        """
        self = super().__new__(cls)
        if len(given) == len(NAMES):
            given = {name: value for name, value in given.items() if value != DEFAULTS[name]}
        self._note(dict.fromkeys(given, KEYWORD))
        return self

    @classmethod
    def load(
        cls,
        keywords: Mapping[str, object] | None = None,
        *,
        environment: Mapping[str, str] = os.environ,
        toml: Path = TOML,
    ) -> Self:
        """Return the settings from all sources but the command line. :meth:`overridden` adds the command line.

        Args:
            keywords: Settings that the application's own code gives, by name.
            environment: The environment variables.
            toml: The path of the TOML file, which need not exist.

        Raises:
            ConfigError: If a name is unknown or a value is not allowed. The message names the source and the setting.
        """
        in_file, in_environment = from_toml(toml, DEFAULTS), from_environment(environment, DEFAULTS)
        return cls._from([*in_file, *in_environment, *from_keywords(keywords or {}, DEFAULTS)])

    def overridden(self, given: Iterable[Given]) -> Self:
        """Return a copy in which ``given``, the values of the command line, replace the values of other sources.

        Raises:
            ConfigError: If a value is not allowed. The message names the source and the setting.
        """
        own = [Given(name, value, self.source(name)) for name, value in self.explicit().items()]
        return self._from([*own, *given])

    @classmethod
    def _from(cls, given: Iterable[Given]) -> Self:
        """Return the settings with the values ``given``. Of several values for one name, the last counts."""
        winners = {each.name: each for each in given}
        for each in winners.values():
            try:
                cls(**{each.name: cast("Any", each.value)})
            except ConfigError as error:
                raise ConfigError(f"{each.source}: {error}") from error
        self = cls(**{name: cast("Any", each.value) for name, each in winners.items()})
        self._note({name: each.source for name, each in winners.items()})
        return self

    def _note(self, sources: Mapping[str, str]) -> None:
        # The class is frozen, and no other code has the object yet.
        object.__setattr__(self, "_sources", sources)

    def valkey_options(self) -> ValkeyOptions:
        """Return the options of a log in Valkey."""
        return ValkeyOptions(
            timeout_seconds=self.valkey_timeout_seconds,
            prefix=self.valkey_prefix,
            wait_replicas=self.valkey_wait_replicas,
            keeps_acknowledged=self.valkey_keeps_acknowledged,
        )

    def explicit(self) -> dict[str, object]:
        """Return the fields that the caller gave, with their values, even if a value equals the field's default."""
        return {name: getattr(self, name) for name in NAMES if name in self._sources}

    def source(self, name: str) -> str:
        """Return the source of a setting.

        The source is ``default``, ``greenroom.toml``, an environment variable, ``keyword`` (the application's own
        code), or an option of the command line.
        """
        return self._sources.get(name, DEFAULT)


DEFAULTS: dict[str, object] = {field.name: field.default for field in attrs.fields(Settings) if field.init}
"""The default of each setting, by name."""
NAMES = tuple(DEFAULTS)
"""Names of all settings."""
