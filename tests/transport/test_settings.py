"""Settings: their sources, the priority of the sources, and the errors for wrong values."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import attrs
import pytest

from actors import ConfigError, MemoryLog
from transport import Greenroom
from transport._sources import Given, from_assignments
from transport.settings import DEFAULTS, NAMES, Settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    """Return the path of a TOML file that does not exist yet."""
    return tmp_path / "greenroom.toml"


def load(toml: Path, keywords: dict[str, object] | None = None, **environment: str) -> Settings:
    """Load settings from these three sources only: the TOML file, keywords and environment variables."""
    return Settings.load(keywords, environment=environment, toml=toml)


def test_defaults(toml: Path) -> None:
    """If no source sets anything, all settings have their defaults, and none counts as given."""
    assert load(toml) == Settings()
    assert Settings().explicit() == {}


def test_order_of_sources(toml: Path) -> None:
    """Keywords have priority over the environment, and the environment has priority over the TOML file."""
    toml.write_text("ping_seconds = 1.0\nslow_seconds = 1.0\nhello_seconds = 1.0\n")
    settings = load(toml, {"ping_seconds": 3.0}, GREENROOM_PING_SECONDS="2", GREENROOM_SLOW_SECONDS="2")
    assert (settings.ping_seconds, settings.slow_seconds, settings.hello_seconds) == (3.0, 2, 1.0)


@pytest.mark.parametrize("as_object", [True, False])
def test_explicit_default_wins(monkeypatch: pytest.MonkeyPatch, as_object: bool) -> None:
    """A keyword has priority over the environment, even if the keyword's value equals the default."""
    monkeypatch.setenv("GREENROOM_PING_SECONDS", "7")
    monkeypatch.setenv("GREENROOM_SLOW_SECONDS", "7")
    default = Settings().ping_seconds
    given = Settings(ping_seconds=default) if as_object else {"ping_seconds": default}
    settings = Greenroom(log="memory:", settings=given).settings
    assert (settings.ping_seconds, settings.slow_seconds) == (default, 7)


def test_explicit_fields_survive_a_copy() -> None:
    """``explicit()`` returns the fields that the caller gave, also for a copy of the settings.

    Settings cannot be changed.
    """
    settings = Settings(ping_seconds=25.0, ring_events=7)
    assert settings.explicit() == {"ping_seconds": 25.0, "ring_events": 7}
    assert copy.copy(settings).explicit() == settings.explicit()
    assert settings == Settings(ring_events=7)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        settings.ring_events = 8  # type: ignore[misc]  # that it cannot be set is the rule


def test_evolved_object_counts_changed_fields() -> None:
    """After ``attrs.evolve``, only the fields that were given before or that were changed count as given.

    *If all fields counted as given, one changed field would make the server ignore the whole environment.*
    """
    evolved = attrs.evolve(Settings(ring_events=7), ping_seconds=3.0)
    assert evolved.explicit() == {"ring_events": 7, "ping_seconds": 3.0}
    assert attrs.evolve(evolved, ring_events=8).explicit() == {"ring_events": 8, "ping_seconds": 3.0}


@pytest.mark.parametrize("where", ["keywords", "toml"])
def test_unknown_name_is_named(toml: Path, where: str) -> None:
    """An unknown name in keywords or TOML raises ConfigError with this name and the most similar known name."""
    if where == "toml":
        toml.write_text("ping_second = 1\n")
    with pytest.raises(ConfigError, match=r": ping_second; did you mean ping_seconds\?$"):
        load(toml, {"ping_second": 1} if where == "keywords" else None)


def test_misspelt_variable_is_a_warning(toml: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If the name of an environment variable is misspelt, a warning suggests the most similar setting."""
    assert load(toml, GREENROOM_PING_SECOND="1") == Settings()
    told = "GREENROOM_PING_SECOND is set, and there is no setting of that name; did you mean GREENROOM_PING_SECONDS?"
    assert caplog.messages == [told]


def test_unknown_variable_is_a_warning(toml: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An unknown environment variable that begins with ``GREENROOM_`` causes a warning. Other variables are ignored."""
    assert load(toml, GREENROOM_NONSENSE="1", PING_SECONDS="3") == Settings()
    assert caplog.messages == ["GREENROOM_NONSENSE is set, and there is no setting of that name"]


@pytest.mark.parametrize("name", NAMES)
def test_wrong_value_names_its_field(toml: Path, name: str) -> None:
    """For every setting, a value of a wrong type raises ConfigError with the name of the setting."""
    with pytest.raises(ConfigError, match=rf"^keyword: {name} must be "):
        load(toml, {name: object()})


@pytest.mark.parametrize("value", [float("nan"), -1, 0, True, "5", None])
def test_time_is_a_positive_number(toml: Path, value: object) -> None:
    """A setting that is a time must be a number of at least 0.001 seconds."""
    with pytest.raises(ConfigError, match=r"^keyword: slow_seconds must be a number of at least 0\.001, not "):
        load(toml, {"slow_seconds": value})
    assert load(toml, {"slow_seconds": 0.001}).slow_seconds == 0.001


@pytest.mark.parametrize("value", [float("inf"), 1e300, 2_000_000.1, 0])
def test_ping_interval_fits_a_timer(toml: Path, value: float) -> None:
    """``ping_seconds`` may be at most 2,000,000, which a browser's timer can hold.

    *A longer timer would fire at once.*
    """
    with pytest.raises(ConfigError, match=r"^keyword: ping_seconds must be a number from 0\.001 to 2000000, not "):
        load(toml, {"ping_seconds": value})
    assert load(toml, {"ping_seconds": 2_000_000}).ping_seconds == 2_000_000


@pytest.mark.parametrize("value", [1023, 1024.0, True, "1024", None])
def test_size_is_a_whole_number(toml: Path, value: object) -> None:
    """A setting that is a size must be a whole number, and at least the minimum of this setting."""
    with pytest.raises(ConfigError, match=r"^keyword: max_frame_bytes must be a whole number of at least 1024, not "):
        load(toml, {"max_frame_bytes": value})
    assert load(toml, {"max_frame_bytes": 1024}).max_frame_bytes == 1024


@pytest.mark.parametrize("value", [1, 1023, -1, 4096.0, True, "4096", None])
def test_compression_is_off_or_of_large_messages(toml: Path, value: object) -> None:
    """Messages are compressed from 1024 bytes at least, or not at all."""
    with pytest.raises(ConfigError, match=r"^keyword: compress_bytes must be 0 \(off\) or a whole number from 1024"):
        load(toml, {"compress_bytes": value})
    assert [load(toml, {"compress_bytes": each}).compress_bytes for each in (0, 1024)] == [0, 1024]


@pytest.mark.parametrize("text", ["", "many", "nan", "0", "1e3"])
def test_wrong_variable_names_its_field(toml: Path, text: str) -> None:
    """A wrong value in an environment variable raises ConfigError with the name of the setting."""
    with pytest.raises(ConfigError, match=r"^GREENROOM_MAX_CONNECTIONS: max_connections must be "):
        load(toml, GREENROOM_MAX_CONNECTIONS=text)


def test_list_in_the_environment(toml: Path) -> None:
    """A setting that is a list is separated by commas in the environment, and is a list of strings in TOML."""
    settings = load(toml, GREENROOM_ALLOWED_ORIGINS="https://a.example, https://b.example,")
    assert settings.allowed_origins == ("https://a.example", "https://b.example")
    toml.write_text('allowed_origins = ["https://c.example"]')
    assert load(toml).allowed_origins == ("https://c.example",)
    toml.write_text("allowed_origins = [1]")
    with pytest.raises(ConfigError, match=r"greenroom\.toml: allowed_origins must be a list of strings"):
        load(toml)


@pytest.mark.parametrize("content", [b"ping_seconds = ", b'host = "\xff"', b"a = 1\na = 2"])
def test_unreadable_toml_is_named(toml: Path, content: bytes) -> None:
    """A TOML file that is not valid raises ConfigError with the name of the file."""
    toml.write_bytes(content)
    with pytest.raises(ConfigError, match=r"greenroom\.toml cannot be read: "):
        load(toml)


def test_source_of_each_value(toml: Path) -> None:
    """Settings know the source of each value.

    The order of the sources is: command line, keywords, environment, TOML file, default. The first with a value counts.
    """
    toml.write_text("ping_seconds = 1\nslow_seconds = 1\nhello_seconds = 1\nring_events = 1\n")
    variables = {"GREENROOM_PING_SECONDS": "2", "GREENROOM_SLOW_SECONDS": "2", "GREENROOM_HELLO_SECONDS": "2"}
    loaded = load(toml, {"ping_seconds": 3, "slow_seconds": 3}, **variables)
    settings = loaded.overridden([Given("ping_seconds", 4, "--set")])
    found = {name: (getattr(settings, name), settings.source(name)) for name in settings.explicit()}
    assert found == {
        "ping_seconds": (4, "--set"),
        "slow_seconds": (3, "keyword"),
        "hello_seconds": (2, "GREENROOM_HELLO_SECONDS"),
        "ring_events": (1, str(toml)),
    }
    assert settings.source("pong_seconds") == "default"
    assert loaded.source("ping_seconds") == "keyword"


def test_text_is_read_as_its_setting_needs(toml: Path) -> None:
    """A text is read as a number only for a setting that is a number."""
    settings = load(toml, GREENROOM_HOST="127", GREENROOM_PORT="9000", GREENROOM_REDACT_KEYS="1,2")
    assert (settings.host, settings.port, settings.redact_keys) == ("127", 9000, ("1", "2"))
    given = from_assignments(["host=1", "port=2", "allowed_origins=a, b"], DEFAULTS)
    assert [each.value for each in given] == ["1", 2, "a, b"]


@pytest.mark.parametrize("name", ["port", "http_port"])
def test_port_is_from_0_to_65535(toml: Path, name: str) -> None:
    """A port is a whole number from 0 to 65535."""
    for port in (0, 65_535):
        assert getattr(load(toml, {name: port}), name) == port
    for wrong in (-1, 65_536, 8765.0, True):
        with pytest.raises(ConfigError, match=rf"^keyword: {name} must be a whole number from 0 to 65535, not "):
            load(toml, {name: wrong})


async def test_settings_decide_address_and_log(tmp_path: Path) -> None:
    """A server listens on the host and port of its settings, and writes to the log of its settings."""
    app = Greenroom(settings={"host": "127.0.0.2", "port": 0, "log": f"sqlite:{tmp_path / 'a.db'}"})
    async with app.running() as server:
        assert server.url.startswith("ws://127.0.0.2:")
    app.override([Given("log", f"sqlite:{tmp_path / 'b.db'}", "--log")])
    async with app.running(host="localhost") as server:
        assert server.url.startswith("ws://localhost:")
    assert (tmp_path / "a.db").exists()
    assert (tmp_path / "b.db").exists()


async def test_command_line_replaces_log_and_redaction(tmp_path: Path) -> None:
    """If the command line names a log, it replaces the log object of the app.

    The app's other settings keep their values.
    """
    app = Greenroom(log=MemoryLog(), settings={"ring_events": 7})
    app.override([Given("log", f"sqlite:{tmp_path / 'a.db'}", "--log")])
    async with app.running(port=0):
        assert (tmp_path / "a.db").exists()
    assert app.settings.ring_events == 7


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("localhost", "http://localhost"),
        ("App.example", "https://app.example"),
        ("https://a.example/page", "https://a.example"),
        ("https://a.example?", "https://app.example.com"),
        ("https://*.example", "https://app.example.com"),
        ("*", "https://app.example.com"),
        ("null", "https://app.example.com"),
        ("https://a.example https://b.example", "https://app.example.com"),
        ("https://a.example:65536", "https://app.example.com"),
        ("https://me@a.example", "https://app.example.com"),
        ("https://bücher.example", "https://app.example.com"),
        ("https://", "https://app.example.com"),
    ],
)
def test_wrong_origin_is_refused(wrong: str, right: str) -> None:
    """A text that is no origin, or an origin that cannot be allowed, is refused, and the message has the right form."""
    with pytest.raises(ConfigError) as caught:
        Settings(allowed_origins=("https://fine.example", wrong))
    assert str(caught.value) == f"allowed_origins: {wrong!r} is no origin: write {right}"


@pytest.mark.parametrize(
    "origin",
    [
        "http://127.0.0.1:9000",
        "https://a.example/",
        "HTTPS://A.Example",
        "http://[::1]:1",
        "https://x:65535",
        "app://a-b",
    ],
)
def test_origin_is_accepted(origin: str) -> None:
    """A scheme, a host and perhaps a port are an origin, in any case and with one slash at the end."""
    assert Settings(allowed_origins=(origin,)).allowed_origins == (origin,)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "https://app.example.com/",
        "app.example.com/ws",
        "wss:///ws",
        "wss://0.0.0.0/ws",
        "wss://[::]:8765/",
        "wss://me@app.example.com/ws",
        "wss://app.example.com/ws?key=1",
        "wss://app.example.com; script-src *",
        "wss://app.example.com:65536/",
        1,
    ],
)
def test_wrong_public_url_is_refused(wrong: object) -> None:
    """A text that no client can open as a WebSocket is refused, and the message has an example."""
    with pytest.raises(ConfigError, match=r"public_url must be .*, such as wss://app.example.com/ws, not ") as caught:
        Settings(public_url=wrong)  # type: ignore[arg-type]  # some are no strings
    assert str(caught.value).endswith(f"not {wrong!r}")


@pytest.mark.parametrize("url", ["wss://app.example.com/ws", "ws://10.0.0.5:8765", "wss://[2001:db8::1]:65535/a/b/"])
def test_public_url_is_accepted(url: str) -> None:
    """A WebSocket URL may have a port and a path."""
    assert Settings(public_url=url).public_url == url


def test_proxies_are_addresses_or_networks(toml: Path) -> None:
    """``forwarded_allow`` is a list of addresses and networks. A text that is neither is an error that names it."""
    assert load(toml, GREENROOM_FORWARDED_ALLOW="10.0.0.5, fd00::/8").forwarded_allow == ("10.0.0.5", "fd00::/8")
    with pytest.raises(ConfigError, match=r"^keyword: forwarded_allow: 'a\.example' cannot be used: write addresses"):
        load(toml, {"forwarded_allow": ["10.0.0.5", "a.example"]})


def test_switch_in_each_source(toml: Path) -> None:
    """A setting that is true or false can be given in each source. Any other value is an error."""
    for text, value in (("true", True), ("ON", True), ("1", True), ("no", False), ("0", False)):
        assert load(toml, GREENROOM_PROXY_PROTOCOL=text).proxy_protocol is value
    toml.write_text("proxy_protocol = true")
    assert load(toml).proxy_protocol is True
    toml.write_text('proxy_protocol = "true"')
    with pytest.raises(ConfigError, match=r"proxy_protocol is true or false: write it without quotes, .* = true$"):
        load(toml)
    toml.unlink()
    for wrong in ("v2", ""):
        with pytest.raises(ConfigError, match=r"^GREENROOM_PROXY_PROTOCOL: proxy_protocol must be true or false, not "):
            load(toml, GREENROOM_PROXY_PROTOCOL=wrong)
    with pytest.raises(ConfigError, match=r"^keyword: proxy_protocol must be true or false, not 1$"):
        load(toml, {"proxy_protocol": 1})


@pytest.mark.parametrize("name", ["tls_cert", "tls_key"])
def test_empty_path_is_refused(toml: Path, name: str) -> None:
    """The path of a certificate or key must not be empty."""
    with pytest.raises(ConfigError, match=rf"^keyword: {name} must be the path of a file, not ''$"):
        load(toml, {name: ""})
    assert getattr(load(toml, {name: "a.pem"}), name) == "a.pem"
