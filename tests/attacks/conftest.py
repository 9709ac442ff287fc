"""The clock of the attacks: virtual time, which waits for the kernel."""

from __future__ import annotations

import pytest
import trio.testing

pytest.register_assert_rewrite("attacks.arena")


@pytest.fixture
def patient_clock() -> trio.testing.MockClock:
    """A clock that stands still while anything happens. After 0.2 s without a turn it jumps to the next deadline.

    The bytes of an attacker go through the kernel, so a task that waits for them must get a moment of real time.
    """
    return trio.testing.MockClock(autojump_threshold=0.2)
