"""The server that each node of a chaos test runs. It notes its claims and appends in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.histories import Record, fingerprint
from delivery.agents import auth_by_name, server_on

from actors.cluster._claims import Claims
from actors.eventlog._valkey_options import ValkeyOptions
from actors.eventlog.valkey import ValkeyLog
from actors.valkey.address import parse_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors import Batch, StreamKey
    from actors.cluster.interfaces import Token
    from actors.eventlog.base import Head
    from transport import Greenroom

UNLIMITED = {
    "retain_events": 1_000_000,
    "retain_bytes": 1 << 34,
    "starts_per_minute": 0,
    "max_connections_per_address": 10_000,
    "hello_seconds": 120,
}
"""The settings with which a log keeps every event, and users are not refused because they are many.

A client whose hello comes late is closed for good (4503). Here links keep bytes for longer than the default time.
"""


def app_for(url: str, name: str, lease: float) -> Greenroom:
    """Return the server of the node ``name``. Its record is in the present folder."""
    record = Record(Path(f"{name}.record"))
    _note_claims(record)
    log = RecordedLog(url, record, max(1.0, lease / 2))
    return server_on(log, auth=auth_by_name, node_name=name, lease_seconds=lease, **UNLIMITED)


def _note_claims(record: Record) -> None:
    """Note each claim of the node of this process."""
    keep: Any = Claims._keep  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # also the claims of a failover

    def noted(self: Claims, user: str, token: Token, found: Token | None) -> Token | None:
        kept: Token | None = keep(self, user, token, found)
        if kept is not None:
            record.note("claim", user, str(token))
        return kept

    Claims._keep = noted  # type: ignore[method-assign]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as above


class RecordedLog(ValkeyLog):
    """A log in Valkey that notes each session that it opens, and each append before and after it is done."""

    def __init__(self, url: str, record: Record, seconds: float) -> None:
        super().__init__(parse_address(url), ValkeyOptions(timeout_seconds=seconds))
        self._record = record

    async def make(self, key: StreamKey) -> Head:
        """Open a stream, and note its newest event."""
        token = self.tokens.get(key.user)
        head = await super().make(key)
        if token is not None:
            self._record.note("open", key.user, token, first=head.latest)
        return head

    async def append(self, batches: Sequence[Batch]) -> None:
        """Append, and note it."""
        notes = [
            (each.key.user, self.tokens[each.key.user], each.first, [fingerprint(line) for line in each.lines])
            for each in batches
            if each.key.user in self.tokens
        ]
        self._note("append", notes)
        await super().append(batches)
        self._note("stored", notes)

    def _note(self, kind: str, notes: list[tuple[str, str, int, list[str]]]) -> None:
        for user, token, first, lines in notes:
            self._record.note(kind, user, token, first=first, lines=lines)
