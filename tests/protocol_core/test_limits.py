"""Rate limits and flood limits: just below and just above each limit. The caller gives the time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from transport.protocol.limits import FLOOD_REFUSALS, FLOOD_SECONDS, Refusals, TokenBucket


def test_burst() -> None:
    """Right at the start, a rate limiter gives as many tokens as its burst allows, and not one more."""
    bucket = TokenBucket(rate=2, burst=3, now=0)
    assert [bucket.take(0) for _ in range(4)] == [True, True, True, False]


def test_rate() -> None:
    """A token that was taken from a rate limiter is available again after its time, and not earlier."""
    bucket = TokenBucket(rate=2, burst=1, now=0)
    assert bucket.take(0)
    assert not bucket.take(0.25)
    assert bucket.take(0.5)
    assert not bucket.take(0.5)


def test_saved_tokens() -> None:
    """After a long pause, a rate limiter has saved at most as many tokens as its burst allows."""
    bucket = TokenBucket(rate=2, burst=3, now=0)
    assert [bucket.take(1_000) for _ in range(4)] == [True, True, True, False]


@given(st.lists(st.integers(0, 16), max_size=60), st.integers(1, 8), st.integers(1, 8))
def test_bound_of_taken_tokens(gaps: list[int], rate: int, burst: int) -> None:
    """At most ``burst + rate * now`` tokens can be taken from a rate limiter until the time ``now``.

    ``now`` counts from the making of the limiter, in seconds.
    """
    bucket, now, taken = TokenBucket(rate, burst, 0), 0.0, 0
    for gap in gaps:
        now += gap / 16  # exact in binary, and so are the tokens
        taken += bucket.take(now)
        assert taken <= burst + rate * now


def test_hundredth_refusal_is_flooding() -> None:
    """If a client is refused a hundred times within 10 s, this is flooding. Ninety-nine refusals are not."""
    refusals = Refusals()
    told = [refusals.flooding(0) for _ in range(FLOOD_REFUSALS)]
    assert told == [False] * (FLOOD_REFUSALS - 1) + [True]


def test_refusals_over_ten_seconds() -> None:
    """A hundred refusals that are spread over 10 s are not flooding."""
    refusals = Refusals()
    assert not any(refusals.flooding(0) for _ in range(FLOOD_REFUSALS - 1))
    assert not refusals.flooding(FLOOD_SECONDS)


def test_refusals_within_ten_seconds() -> None:
    """A hundred refusals within a little less than 10 s are flooding."""
    refusals = Refusals()
    assert not any(refusals.flooding(0) for _ in range(FLOOD_REFUSALS - 1))
    assert refusals.flooding(FLOOD_SECONDS - 0.001)
