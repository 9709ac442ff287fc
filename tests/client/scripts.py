"""Helpers that several test files of the client share: a script for the scripted server, and ways to wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors import Event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from _scripted_server import Peer

    from transport.client import Client, Reset


async def take_items(events: AsyncIterator[Event | Reset], count: int) -> list[Any]:
    """Return the next ``count`` items of the iterator: for an event its seq, for a reset the reset itself."""
    items = [await anext(events) for _ in range(count)]
    return [item.seq if isinstance(item, Event) else item for item in items]


async def stay_connected(peer: Peer) -> None:
    """Script of a server: welcome the client, send it a signal, and wait until it leaves."""
    await peer.welcome()
    await peer.send("signal", name="here", data={})
    await peer.closed_by_client()


async def until_back(client: Client) -> None:
    """Wait until the client is connected again: for the signal that :func:`stay_connected` sends."""
    assert (await anext(client.signals())).name == "here"
