"""The queue of signals for a slow client: the signals that are dropped when there are too many."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from actors.streams._signal_queue import MAX_SIGNALS, SignalQueue

SIGNALS = st.lists(
    st.tuples(st.sampled_from(["typing", "queued", "progress"]), st.integers(0, 9), st.booleans()), max_size=300
)


@given(SIGNALS)
def test_newest_states_are_kept(signals: list[tuple[str, int, bool]]) -> None:
    """Even if many signals are dropped, a slow client gets the newest state of each typing user and each queued
    start.
    """
    waiting, dropped = SignalQueue(), 0
    newest: dict[tuple[str, int], bool] = {}
    for name, number, value in signals:
        field, flag = ("id", "active") if name == "typing" else ("command_id", "waiting")
        data = orjson.dumps({field: str(number), flag: value})
        dropped += waiting.put(name, data, orjson.dumps([name, number, value]))
        newest.pop((name, number), None)
        if name != "progress":
            newest[name, number] = value
    kept: list[tuple[str, int, bool]] = []
    while waiting:
        kept.append(orjson.loads(waiting.take()))
    assert len(kept) + dropped == len(signals)
    assert len(kept) <= MAX_SIGNALS
    assert {(name, number): value for name, number, value in kept if name != "progress"} == newest
    assert waiting.size == 0
