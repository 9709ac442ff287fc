"""A fuzz target: a function that gets any bytes, and fails if the code under test breaks its contract for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@attrs.frozen
class Target:
    """One function under test, with the inputs that a fuzzer begins with."""

    name: str
    check: Callable[[bytes], None]
    """Raises an exception, usually ``AssertionError``, if the code under test breaks its contract for these bytes."""
    seeds: tuple[bytes, ...]
    """Valid inputs. The fuzzer changes and combines them."""
    words: tuple[bytes, ...] = ()
    """Words of the input's language, which the fuzzer inserts."""
    longest: int = 4096
    """Maximum size of an input in bytes."""
    weight: float = 1.0
    """Share of the time that this target gets, in comparison with other targets."""


def in_pieces(data: bytes, size: int) -> Iterator[bytes]:
    """Yield ``data`` in pieces of ``size`` bytes."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


def first_byte(data: bytes) -> tuple[int, bytes]:
    """Return the first byte, which controls the check, and the rest. Without any byte, return 0 and no rest."""
    return (data[0], data[1:]) if data else (0, b"")
