"""Settings: every source of them, which one wins, and what each refuses."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import attrs
import pytest

from actors import ConfigError
from transport import Greenroom
from transport.settings import NAMES, Settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "greenroom.toml"


def load(toml: Path, keywords: dict[str, object] | None = None, **environment: str) -> Settings:
    return Settings.load(keywords, environment=environment, toml=toml)


def test_without_any_source_everything_is_as_documented(toml: Path) -> None:
    assert load(toml) == Settings()
    assert Settings().explicit() == {}


def test_keywords_win_over_the_environment_and_that_over_toml(toml: Path) -> None:
    toml.write_text("ping_seconds = 1.0\nslow_seconds = 1.0\nhello_seconds = 1.0\n")
    settings = load(toml, {"ping_seconds": 3.0}, GREENROOM_PING_SECONDS="2", GREENROOM_SLOW_SECONDS="2")
    assert (settings.ping_seconds, settings.slow_seconds, settings.hello_seconds) == (3.0, 2, 1.0)


@pytest.mark.parametrize("as_object", [True, False])
def test_a_keyword_that_equals_its_default_wins_over_the_environment_too(
    monkeypatch: pytest.MonkeyPatch, as_object: bool
) -> None:
    monkeypatch.setenv("GREENROOM_PING_SECONDS", "7")
    monkeypatch.setenv("GREENROOM_SLOW_SECONDS", "7")
    default = Settings().ping_seconds
    given = Settings(ping_seconds=default) if as_object else {"ping_seconds": default}
    settings = Greenroom(log="memory:", settings=given).settings
    assert (settings.ping_seconds, settings.slow_seconds) == (default, 7)


def test_an_object_says_what_it_was_made_with_and_so_does_its_copy() -> None:
    settings = Settings(ping_seconds=25.0, ring_events=7)
    assert settings.explicit() == {"ping_seconds": 25.0, "ring_events": 7}
    assert copy.copy(settings).explicit() == settings.explicit()
    assert settings == Settings(ring_events=7)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        settings.ring_events = 8  # type: ignore[misc]  # that it cannot be set is the rule


def test_an_evolved_object_says_what_differs_from_the_defaults() -> None:
    """*Else an object that was changed in one field would silence the environment in all of them.*"""
    evolved = attrs.evolve(Settings(ring_events=7), ping_seconds=3.0)
    assert evolved.explicit() == {"ring_events": 7, "ping_seconds": 3.0}
    assert attrs.evolve(evolved, ring_events=8).explicit() == {"ring_events": 8, "ping_seconds": 3.0}


@pytest.mark.parametrize("where", ["keywords", "toml"])
def test_an_unknown_name_is_an_error_that_names_it_and_the_nearest(toml: Path, where: str) -> None:
    if where == "toml":
        toml.write_text("ping_second = 1\n")
    with pytest.raises(ConfigError, match=r": ping_second; did you mean ping_seconds\?$"):
        load(toml, {"ping_second": 1} if where == "keywords" else None)


def test_an_unknown_variable_is_one_line_of_warning_and_others_are_not_ours(
    toml: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert load(toml, GREENROOM_NONSENSE="1", PING_SECONDS="3") == Settings()
    assert caplog.messages == ["GREENROOM_NONSENSE is set, and there is no setting of that name"]


@pytest.mark.parametrize("name", NAMES)
def test_a_value_of_no_use_is_an_error_that_names_its_field(toml: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name} must be "):
        load(toml, {name: object()})


@pytest.mark.parametrize("value", [float("nan"), -1, 0, True, "5", None])
def test_a_time_is_a_positive_number(toml: Path, value: object) -> None:
    with pytest.raises(ConfigError, match=r"^slow_seconds must be a number of at least 0\.001, not "):
        load(toml, {"slow_seconds": value})
    assert load(toml, {"slow_seconds": 0.001}).slow_seconds == 0.001


@pytest.mark.parametrize("value", [float("inf"), 1e300, 2_000_000.1, 0])
def test_a_ping_comes_as_soon_as_every_client_can_wait_for_it(toml: Path, value: float) -> None:
    """*A client that is told of a longer time has no timer for it, and takes the connection for dead at once.*"""
    with pytest.raises(ConfigError, match=r"^ping_seconds must be a number from 0\.001 to 2000000, not "):
        load(toml, {"ping_seconds": value})
    assert load(toml, {"ping_seconds": 2_000_000}).ping_seconds == 2_000_000


@pytest.mark.parametrize("value", [1023, 1024.0, True, "1024", None])
def test_a_size_is_a_whole_number_from_its_lowest_on(toml: Path, value: object) -> None:
    with pytest.raises(ConfigError, match=r"^max_frame_bytes must be a whole number of at least 1024, not "):
        load(toml, {"max_frame_bytes": value})
    assert load(toml, {"max_frame_bytes": 1024}).max_frame_bytes == 1024


@pytest.mark.parametrize("text", ["", "many", "nan", "0", "1e3"])
def test_a_variable_of_no_use_names_its_field(toml: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"^max_connections must be "):
        load(toml, GREENROOM_MAX_CONNECTIONS=text)


def test_a_list_is_written_with_commas_in_the_environment(toml: Path) -> None:
    settings = load(toml, GREENROOM_ALLOWED_ORIGINS="https://a.example, https://b.example,")
    assert settings.allowed_origins == ("https://a.example", "https://b.example")
    toml.write_text('allowed_origins = ["https://c.example"]')
    assert load(toml).allowed_origins == ("https://c.example",)
    toml.write_text("allowed_origins = [1]")
    with pytest.raises(ConfigError, match=r"^allowed_origins must be a list of strings"):
        load(toml)


@pytest.mark.parametrize("content", [b"ping_seconds = ", b'host = "\xff"', b"a = 1\na = 2"])
def test_a_toml_file_that_cannot_be_read_is_named(toml: Path, content: bytes) -> None:
    toml.write_bytes(content)
    with pytest.raises(ConfigError, match=r"greenroom\.toml cannot be read: "):
        load(toml)
