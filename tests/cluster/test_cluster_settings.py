"""The settings of a node: defaults, and both sides of each bound."""

from __future__ import annotations

from typing import Any

import pytest

from actors.cluster._settings import ClusterSettings, default_node_name
from actors.cluster.interfaces import MAX_NODE_NAME, check_node_name
from actors.errors import ConfigError


def test_defaults() -> None:
    """The defaults are those of the documentation."""
    settings = ClusterSettings()
    assert (settings.node_name, settings.lease_seconds, settings.forward_seconds) == ("", 8, 5)
    assert (settings.patience_seconds, settings.failover_per_second) == (30, 500)
    assert settings.times.lease == 8


GOOD: list[dict[str, Any]] = [
    {"node_name": "web-1"},
    {"lease_seconds": 0.5},
    {"lease_seconds": 3600},
    {"forward_seconds": 0.1},
    {"patience_seconds": 0},
    {"failover_per_second": 1},
]
BAD: list[dict[str, Any]] = [
    {"node_name": "web 1"},
    {"node_name": "x" * (MAX_NODE_NAME + 1)},
    {"lease_seconds": 0.49},
    {"lease_seconds": 3601},
    {"forward_seconds": 0.09},
    {"patience_seconds": -1},
    {"failover_per_second": 0},
    {"failover_per_second": 1.5},
]


@pytest.mark.parametrize("values", GOOD, ids=str)
def test_values_within_bounds(values: dict[str, Any]) -> None:
    """A value at its bound is accepted."""
    ClusterSettings(**values)


@pytest.mark.parametrize("values", BAD, ids=str)
def test_values_out_of_bounds(values: dict[str, Any]) -> None:
    """A value beyond its bound is refused, with the name of the setting."""
    with pytest.raises(ConfigError, match=next(iter(values))):
        ClusterSettings(**values)


def test_default_names_differ() -> None:
    """Without a name, each process gets a valid one of its own, whatever the host is called."""
    names = {default_node_name() for _ in range(10)}
    assert len(names) == 10
    for name in names:
        check_node_name(name)


def test_long_host_names_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with a long or strange name still gives a valid name."""
    monkeypatch.setattr("socket.gethostname", lambda: "ö!" + "h" * 300)
    check_node_name(default_node_name())
    assert len(default_node_name()) == MAX_NODE_NAME
