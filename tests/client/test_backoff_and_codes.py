"""The table of close codes, and the delays before a client reconnects."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.client._reconnect_delays import ReconnectDelays
from transport.protocol.close_codes import CLOSE_CODES, comes_back

PROTOCOL = {
    1001: True,
    1003: False,
    1008: False,
    1009: False,
    4001: True,
    4002: True,
    4003: True,
    4004: True,
    4005: True,
    4006: True,
    4410: True,
    4500: False,
    4501: False,
    4502: False,
    4503: False,
    4504: False,
    4505: False,
    4506: False,
}


def test_table_of_close_codes_is_complete() -> None:
    """The table of close codes has every close code of the protocol, and says correctly whether a client reconnects."""
    assert {code: CLOSE_CODES[code].come_back for code in PROTOCOL} == PROTOCOL
    assert all(code == line.code and line.name and line.description for code, line in CLOSE_CODES.items())


@given(st.integers(4000, 4999))
def test_range_of_an_own_code(code: int) -> None:
    """A client reconnects after the close codes from 4000 to 4499, and not after those from 4500 to 4999."""
    assert comes_back(code) is (code < 4500)


@pytest.mark.parametrize(("code", "back"), [(1000, False), (1002, False), (1006, True), (1010, False), (1011, True)])
def test_standard_code(code: int, *, back: bool) -> None:
    """After a standard close code for a fault of the connection or the server, a client reconnects.

    After a standard close code for a normal end or a wrong message, it does not.
    """
    assert comes_back(code) is back


@given(st.integers(), st.lists(st.floats(0, 30), max_size=40))
def test_delays_double(seed: int, lives: list[float]) -> None:
    """The upper bound of the delay doubles with each failure, up to a maximum.

    A healthy connection resets the bound.
    """
    backoff = ReconnectDelays(Random(seed))
    failures = 0
    for life in lives:
        backoff.lived(life)
        failures = 0 if life >= 10.1 else failures
        assert 0 <= backoff.next() <= min(20.0, 0.2 * 2**failures)
        failures += 1


def test_jitter_is_full() -> None:
    """The delay is random in the full range, from zero to its bound."""
    drawn = [ReconnectDelays(Random(seed)).next() for seed in range(500)]
    assert min(drawn) < 0.01
    assert max(drawn) > 0.19


def test_delays_do_not_overflow() -> None:
    """After thousands of failed attempts, the delay is still at most its maximum of 20 s."""
    backoff = ReconnectDelays(Random(1))
    assert all(backoff.next() <= 20 for _ in range(5000))
