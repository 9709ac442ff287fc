"""The arithmetic of bench/compression.py, and the messages that it deflates."""

from __future__ import annotations

import zlib

import compression
import pytest

LINES = [b'{"seq":%d,"type":"agent_output","data":{"text":"%s"}}' % (seq, b"word " * (seq % 7)) for seq in range(200)]


@pytest.mark.parametrize("way", compression.WAYS, ids=lambda way: f"{way.title}, {way.level}")
def test_messages_can_be_inflated(way: compression.Way) -> None:
    """What each way deflates is the same message again, inflated as RFC 7692 says."""
    messages = compression.frames(LINES, 1024)
    inflater = zlib.decompressobj(-way.window)
    for message, payload in zip(messages, way.deflated(messages), strict=True):
        if not way.kept:
            inflater = zlib.decompressobj(-way.window)
        assert inflater.decompress(payload + b"\x00\x00\xff\xff") == message


def test_frames_are_full() -> None:
    """Each message has at least the bytes that were asked for, and not one event more than it needs."""
    messages = compression.frames(LINES, 1024)
    assert len(messages) > 5
    assert all(1024 <= len(message) < 1024 + 200 for message in messages)


def test_cost_beside_a_server() -> None:
    """In a burst each event costs the same; frame by frame the first of a frame costs what a lone event does."""
    base = compression.Base(alone=40, more=4)
    assert base.times(1, 10) == pytest.approx((1.25, 86 / 76))
    assert base.times(1, 1) == pytest.approx((1.25, 41 / 40))
