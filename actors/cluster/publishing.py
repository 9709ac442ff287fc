"""The log in Valkey as a :class:`~actors.cluster.interfaces.Publisher`: an append and its pushes are one command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.valkey.keys import stream_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.eventlog.base import StreamKey
    from actors.eventlog.valkey import ValkeyLog


class ValkeyPublisher:
    """The part of a log in Valkey that sends appends to the nodes that watch their streams."""

    def __init__(self, log: ValkeyLog) -> None:
        self._log = log

    def publish_to(self, key: StreamKey, nodes: Sequence[str]) -> None:
        """Send each later append to the stream to these nodes, and to no others."""
        channels, keys = self._log.watchers.channels, self._log.valkey.keys
        if nodes:
            channels[key] = tuple(keys.channel(node) for node in nodes)
        else:
            channels.pop(key, None)

    @staticmethod
    def name_of(key: StreamKey) -> bytes:
        """Return the name of a stream, as pushes have it."""
        return stream_name(key.user, key.session).encode()
