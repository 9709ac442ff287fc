"""What the greeting of a connection is made of: the upgrade's headers, who the user is, and the welcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transport.auth import checked_user
from transport.protocol import frames

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors.spi import Attachment
    from transport.auth import Authenticate, Credentials, User
    from transport.protocol.frames import Hello
    from transport.settings import Settings


def decoded(headers: list[tuple[bytes, bytes]]) -> Iterator[tuple[str, str]]:
    """Yield header fields as text, names in lower case; the value of a repeated one is the last."""
    for name, value in headers:
        yield name.decode("latin-1").lower(), value.decode("latin-1")


async def identify(authenticate: Authenticate, credentials: Credentials) -> User:
    """Return the user, as the application's auth function says; raises whatever that does."""
    return checked_user(await authenticate(credentials))


def welcome(connection: str, hello: Hello, attachment: Attachment, settings: Settings) -> bytes:
    """Return the welcome frame for a connection that was attached."""
    return frames.welcome(
        {
            "session": hello.session,
            "connection": connection,
            "epoch": attachment.epoch,
            "oldest": attachment.oldest,
            "latest": attachment.latest,
            "recovered": attachment.recovered,
            "reset": attachment.reset,
            "ping_ms": round(settings.ping_seconds * 1000),
            "max_frame_bytes": settings.max_frame_bytes,
            "command_memory_ms": frames.milliseconds(settings.command_memory_seconds),
            "runs": [{"run_id": run.id, "agent": run.name, "started": run.started} for run in attachment.runs],
            "queued": [
                {"command_id": start.command_id, "agent": start.agent, "since": start.since}
                for start in attachment.queued
            ],
            "typing": [{"by": by, "id": who} for by, who in attachment.typing],
        }
    )
