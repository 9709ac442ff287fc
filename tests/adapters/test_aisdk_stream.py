"""The response of a run: its bytes, whatever the batches, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest
from adapters._told import Told
from adapters.test_agui_sequences import STEPS, told_of
from adapters.test_aisdk_encoder import wire
from hypothesis import given
from hypothesis import strategies as st

from transport.adapters.aisdk.stream import MessageStream

if TYPE_CHECKING:
    from actors import Event


@pytest.fixture
def told() -> Told:
    """A session with a run that has started."""
    told = Told()
    told.start()
    return told


@given(STEPS, st.integers(1, 7))
def test_batches_do_not_matter(steps: list[tuple[str, int, int]], size: int) -> None:
    """The bytes of a response do not depend on the batches in which the events come, nor on events before the run."""
    told = told_of(steps, roots=3)
    lines = [line_of(event) for event in told.events]
    for root in [
        str(event.run_id) for event in told.events if event.type == "agent_started" and not event.parent_run_id
    ]:
        whole, pieces = stream_of(root, len(lines)), stream_of(root, len(lines))
        expected = whole.events(lines)
        made = b""
        for place in range(0, len(lines), size):
            if not pieces.over:
                made += pieces.events(lines[place : place + size])
        assert made == expected
        assert pieces.over == whole.over


def line_of(event: Event) -> bytes:
    """Return an event as the log stores it."""
    return orjson.dumps(wire(event))


def stream_of(run: str, latest: int) -> MessageStream:
    """Return the format of a response, after its welcome."""
    stream = MessageStream(run)
    assert stream.welcome({"oldest": 1, "latest": latest}) == b""
    return stream


def test_end_of_the_response(told: Told) -> None:
    """The response is over with the run, and its last line says so."""
    stream = stream_of("r", 2)
    assert stream.events([line_of(told.events[0])]).endswith(b'{"type":"start-step"}\n\n')
    assert not stream.over
    assert stream.events([line_of(told.complete())]).endswith(b"}\n\ndata: [DONE]\n\n")
    assert stream.over


def test_run_that_is_no_longer_kept(told: Told) -> None:
    """If the run's events were removed, the response is an error, and does not wait for ever."""
    gone = MessageStream("other")
    assert b"no longer kept" in MessageStream("other").welcome({"oldest": 1, "latest": 0})
    assert gone.welcome({"oldest": 1, "latest": 1}) == b""
    assert b"no longer kept" in gone.events([line_of(told.events[0])])
    assert gone.over


def test_goodbye_is_an_error(told: Told) -> None:
    """If the server ends the stream in mid-run, the client gets an error: *else the half answer looked complete*."""
    stream = stream_of("r", 1)
    stream.events([line_of(told.events[0])])
    assert b'"error"' in stream.goodbye(1001, "the server is going away", 870)
    assert stream.over
