"""The arguments of an append to Valkey, and the errors in its answer. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from actors.errors import AppendRefused, Fenced, LogCorrupt, LogError
from actors.events.line import check_numbers, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actors.eventlog.base import Batch, StreamKey
    from actors.valkey.keys import StreamKeys


class _CorruptRefused(AppendRefused, LogCorrupt):
    pass


class _FencedRefused(AppendRefused, Fenced):
    pass


class _UnknownRefused(AppendRefused, KeyError):
    pass


@attrs.define
class Call:
    """One call of the function that appends, ready to be sent, and to be sent again."""

    keys: list[str] = attrs.Factory(list[str])
    watchers: list[bytes | str] = attrs.Factory(list["bytes | str"])
    """For each watcher its channel and the header of its message."""
    batches: list[bytes | str | float] = attrs.Factory(list["bytes | str | float"])
    """The arguments of all batches."""

    def arguments(self, generation: str, *, again: bool) -> list[bytes | str | float]:
        """Return the arguments of the function. ``again``: the call was sent before, and its outcome is not known."""
        return [int(again), generation, len(self.watchers) // 2, *self.watchers, *self.batches]


@attrs.define
class Watchers:
    """The nodes that watch streams of this process, and the messages that were sent to each."""

    sender: str = "-"
    """The incarnation of this node. It begins each message, and has no space."""
    channels: dict[StreamKey, tuple[str, ...]] = attrs.Factory(dict["StreamKey", "tuple[str, ...]"])
    """The channels that get the events of a stream. A stream without watchers has no entry."""
    counters: dict[str, int] = attrs.Factory(dict[str, int])
    """Number of messages to each channel so far. A receiver finds lost messages by it."""

    def header(self, channel: str) -> bytes:
        """Return the header of the next message to a channel: ``push SENDER COUNTER``."""
        count = self.counters[channel] = self.counters.get(channel, 0) + 1
        return f"push {self.sender} {count}".encode()


def build_call(
    batches: Sequence[Batch],
    streams: Sequence[StreamKeys],
    token_of: Callable[[str], str],
    watchers: Watchers,
    opens: Callable[[bytes], bool] | None,
) -> Call:
    """Return the call that appends the batches.

    Args:
        batches: The batches.
        streams: The keys of each batch's stream.
        token_of: A function that returns the token with which this process writes for a user.
        watchers: The nodes that get the events.
        opens: A function that returns whether a state has open runs; None if nothing needs to know.

    Raises:
        LogCorrupt: A line has a wrong ``seq``.
        ValueError: A batch is empty.
    """
    call = Call()
    numbers: dict[str, int] = {}
    for batch, keys in zip(batches, streams, strict=True):
        count = len(batch.lines)
        if not count:
            raise ValueError(f"an empty batch for {batch.key}")
        check_numbers(batch.key, batch.first, batch.lines, count)
        for channel in watchers.channels.get(batch.key, ()):
            if channel not in numbers:
                numbers[channel] = len(numbers) + 1
                call.watchers += (channel, watchers.header(channel))
        call.keys += (keys.user.token, keys.meta, keys.lines, keys.user.opened)
        call.batches += (
            token_of(batch.key.user),
            batch.first,
            count,
            batch.size,
            b"\n".join(batch.lines),
            batch.state,
            timestamp(batch.lines[0]),
            timestamp(batch.lines[-1]),
            open_mark(batch.state, opens),
            keys.name,
            " ".join(str(numbers[channel]) for channel in watchers.channels.get(batch.key, ())),
        )
    return call


def open_mark(state: bytes, opens: Callable[[bytes], bool] | None) -> str:
    """Return how an append changes the set of streams with open runs: ``+`` adds, ``-`` removes, nothing keeps."""
    if opens is None:
        return ""
    return "+" if opens(state) else "-"


def refusal(text: str, keys: Sequence[StreamKey]) -> LogError | KeyError:
    """Return the error for an answer that begins with ``REFUSED``. ``keys`` are the streams of the call's batches.

    If the call had several batches, the result is an ``AppendRefused`` that is also an instance of its first error.
    """
    errors: dict[int, LogError | KeyError] = {}
    for fault in text.removeprefix("REFUSED ").split(";"):
        kind, number, *more = fault.split(" ", 2)
        key = keys[int(number)]
        match kind:
            case "FENCED":
                errors[int(number)] = Fenced(f"{key}: another node owns this user now ({''.join(more) or 'no token'})")
            case "NONE":
                errors[int(number)] = KeyError(key)
            case _:
                errors[int(number)] = LogCorrupt(f"{key} is at {''.join(more)}: the events cannot follow")
    first = next(iter(errors.values()))
    if len(keys) == 1:
        return first
    if isinstance(first, Fenced):
        return _FencedRefused(errors)
    return _CorruptRefused(errors) if isinstance(first, LogCorrupt) else _UnknownRefused(errors)
