"""The table of close codes, and the delays before coming back."""

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


def test_every_code_of_the_protocol_is_in_the_table_and_keyed_by_its_number() -> None:
    assert {code: CLOSE_CODES[code].come_back for code in PROTOCOL} == PROTOCOL
    assert all(code == line.code and line.name and line.description for code, line in CLOSE_CODES.items())


@given(st.integers(4000, 4999))
def test_the_range_decides_for_codes_of_our_own(code: int) -> None:
    assert comes_back(code) is (code < 4500)


@pytest.mark.parametrize(("code", "back"), [(1000, False), (1002, False), (1006, True), (1010, False), (1011, True)])
def test_standard_codes_are_come_back_from_where_the_connection_is_to_blame(code: int, *, back: bool) -> None:
    assert comes_back(code) is back


@given(st.integers(), st.lists(st.floats(0, 30), max_size=40))
def test_delays_stay_below_a_bound_that_doubles_until_a_connection_was_healthy(seed: int, lives: list[float]) -> None:
    backoff = ReconnectDelays(Random(seed))
    failures = 0
    for life in lives:
        backoff.lived(life)
        failures = 0 if life >= 10.1 else failures
        assert 0 <= backoff.next() <= min(20.0, 0.2 * 2**failures)
        failures += 1


def test_jitter_is_full() -> None:
    drawn = [ReconnectDelays(Random(seed)).next() for seed in range(500)]
    assert min(drawn) < 0.01
    assert max(drawn) > 0.19


def test_backing_off_for_years_does_not_overflow() -> None:
    backoff = ReconnectDelays(Random(1))
    assert all(backoff.next() <= 20 for _ in range(5000))
