"""A function with a fault, to see that the fuzzer finds faults."""

from __future__ import annotations

from fuzz.target import Target


def faulty(data: bytes) -> None:
    """Fail for inputs that begin with three certain bytes."""
    # Nested, so that each byte is a branch of its own. The fuzzer finds one after the other.
    if data[:1] == b"b" and data[1:2] == b"a":
        assert data[2:3] != b"d"


PLANTED = Target("planted", faulty, (b"seed",))
