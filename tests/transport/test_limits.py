"""Limits, on both sides of each; time is what the caller says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from transport.protocol.limits import FLOOD_REFUSALS, FLOOD_SECONDS, Refusals, TokenBucket


def test_a_burst_is_taken_at_once_and_not_one_more() -> None:
    bucket = TokenBucket(rate=2, burst=3, now=0)
    assert [bucket.take(0) for _ in range(4)] == [True, True, True, False]


def test_a_token_comes_back_after_its_time_and_not_before() -> None:
    bucket = TokenBucket(rate=2, burst=1, now=0)
    assert bucket.take(0)
    assert not bucket.take(0.25)
    assert bucket.take(0.5)
    assert not bucket.take(0.5)


def test_no_more_than_a_burst_is_saved_up() -> None:
    bucket = TokenBucket(rate=2, burst=3, now=0)
    assert [bucket.take(1_000) for _ in range(4)] == [True, True, True, False]


@given(st.lists(st.integers(0, 16), max_size=60), st.integers(1, 8), st.integers(1, 8))
def test_what_is_taken_never_exceeds_burst_and_rate(gaps: list[int], rate: int, burst: int) -> None:
    bucket, now, taken = TokenBucket(rate, burst, 0), 0.0, 0
    for gap in gaps:
        now += gap / 16  # exact in binary, and so are the tokens
        taken += bucket.take(now)
        assert taken <= burst + rate * now


def test_the_hundredth_refusal_in_ten_seconds_is_flooding_and_the_one_before_is_not() -> None:
    refusals = Refusals()
    told = [refusals.flooding(0) for _ in range(FLOOD_REFUSALS)]
    assert told == [False] * (FLOOD_REFUSALS - 1) + [True]


def test_refusals_that_are_ten_seconds_apart_are_not_flooding() -> None:
    refusals = Refusals()
    assert not any(refusals.flooding(0) for _ in range(FLOOD_REFUSALS - 1))
    assert not refusals.flooding(FLOOD_SECONDS)


def test_refusals_that_are_just_within_ten_seconds_are_flooding() -> None:
    refusals = Refusals()
    assert not any(refusals.flooding(0) for _ in range(FLOOD_REFUSALS - 1))
    assert refusals.flooding(FLOOD_SECONDS - 0.001)
