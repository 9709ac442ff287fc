"""The ASGI call in the library of the web server, as the host of a server names it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transport._running import Host
    from transport.asgi.asyncio_call import AsyncioCall
    from transport.asgi.trio_call import TrioCall


def call_in(host: Host) -> AsyncioCall | TrioCall:
    """Return the tasks of a new ASGI call. Only the library of ``host`` is imported."""
    if host.asyncio is not None:
        from transport.asgi.asyncio_call import AsyncioCall  # noqa: PLC0415 - as said

        return AsyncioCall(host.asyncio)
    from transport.asgi.trio_call import TrioCall  # noqa: PLC0415 - as said

    return TrioCall(host.nursery)
