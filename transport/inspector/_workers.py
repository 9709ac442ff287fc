"""The workers of a server with several processes, with their ports and the worker of this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transport.settings import Settings


def workers_of(settings: Settings, number: int) -> dict[str, object] | None:
    """Return the workers of a server. Return None if the server is one process alone.

    Args:
        settings: The settings of the worker that answers.
        number: The number of the worker that answers. 0 for a process alone.
    """
    if not number:
        return None
    first, name = settings.worker_http_port, settings.node_name.removesuffix(f"-{number}")
    return {
        "number": number,
        "count": settings.workers,
        # The host is the one under which the operator reaches this server: only the operator knows it.
        "scheme": "http" if settings.tls_cert is None else "https",
        "all": [
            {"worker": each, "node": f"{name}-{each}" if name else None, "port": first + each - 1 if first else None}
            for each in range(1, settings.workers + 1)
        ],
    }
