"""The clients behind trusted proxies: the connections that the proxies open count for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from transport.server.admission import Admitted

if TYPE_CHECKING:
    from transport.server.accepting import AcceptStage
    from transport.server.admission import Admission

C = TypeVar("C", bound=Admitted)


def learn_client(
    stage: AcceptStage, admission: Admission[C], connection: C, client: str, *, is_final: bool = True
) -> bool:
    """Count a connection from a trusted proxy for its client. Return False if connections of the client come too fast.

    A connection that counts for a client already is not changed.

    Args:
        stage: The rate limits.
        admission: The limits on the number of connections.
        connection: The connection.
        client: The address of the client. If the proxy names no client, the address of the proxy.
        is_final: Whether no more headers come. Until then, a trusted proxy is not taken for a client. After that it is:
            *a proxy without the header would otherwise lift the limits for all its clients*.
    """
    if not admission.awaits_client(connection):
        return True
    if not is_final and stage.proxies.trusts(client):
        connection.address = client
        return True
    if not stage.allow_client(client):
        return False
    admission.move(connection, client)
    return True
