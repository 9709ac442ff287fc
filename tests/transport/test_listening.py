"""Listening sockets: ports of the WebSocket endpoint and of the pages."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest
import trio
from protocol.agents import make_app

from transport import connect
from transport.server.listening import listen


class Lost(socket.socket):
    """A socket that lost its connection before it was served, so that ``setsockopt`` fails as on some systems."""

    def setsockopt(self, *_: Any) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")


def close(listeners: list[socket.socket]) -> None:
    """Close all listeners."""
    for listener in listeners:
        listener.close()


def test_port_0_takes_a_free_port() -> None:
    """With port 0, ``listen`` takes a free port, and the same port for every address of the host."""
    listeners = listen("localhost", 0)
    try:
        assert len({listener.getsockname()[1] for listener in listeners}) == 1
        assert listeners[0].getsockname()[1] > 0
    finally:
        close(listeners)


def test_taken_port_is_named(own_port: int) -> None:
    """If a port is in use, ``listen`` raises an error of one line with host and port, and leaves no socket open."""
    (listener,) = listen("127.0.0.1", own_port)
    with listener:
        with pytest.raises(
            OSError, match=f"cannot listen on 127.0.0.1 port {own_port}: Address already in use; "
        ) as caught:
            listen("127.0.0.1", own_port)
    assert caught.value.errno == errno.EADDRINUSE
    close(listen("127.0.0.1", own_port))


def test_unknown_host_is_named() -> None:
    """For an unknown host, ``listen`` raises an error of one line with the name of the host."""
    with pytest.raises(OSError, match=r"cannot listen on no\.such\.host\.invalid port 0: "):
        listen("no.such.host.invalid", 0)


async def test_server_can_run_on_another_port(own_port: int) -> None:
    """If its port is in use, a server raises OSError. The same app can then run on another port."""
    app = make_app()
    (listener,) = listen("127.0.0.1", own_port)
    with listener:
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1 port {own_port}"):
            async with app.running(port=own_port):
                pass
        async with app.running(port=0) as server:
            assert server.url != f"ws://127.0.0.1:{own_port}/"
    async with app.running(port=own_port) as server:
        assert server.url == f"ws://127.0.0.1:{own_port}/"


async def test_lost_connection_ends_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If a connection is lost before it is served, the server closes it and accepts the next connection as usual."""
    accept, losses = socket.socket.accept, iter([True])

    def accepting(listener: socket.socket) -> tuple[socket.socket, Any]:
        sock, address = accept(listener)
        return (Lost(fileno=sock.detach()) if next(losses, False) else sock), address

    monkeypatch.setattr(socket.socket, "accept", accepting)
    async with make_app().running(port=0) as server:
        lost = await trio.open_tcp_stream("127.0.0.1", int(server.url.rstrip("/").rpartition(":")[2]))
        async with lost:
            assert not await lost.receive_some()
        async with connect(server.url, session="s1") as client:
            await client.start("echo", "hello")
        assert server.endpoint.statistics().accepted == 1


async def test_port_serves_again_after_a_drain(own_port: int) -> None:
    """A server that is draining refuses new clients.

    When the app runs again on the same port, it serves clients again.
    """
    app = make_app()
    async with app.running(port=own_port) as server:
        await server.drain(0)
        with pytest.raises(OSError, match="connect"):
            await trio.open_tcp_stream("127.0.0.1", own_port)
    async with app.running(port=own_port):
        await (await trio.open_tcp_stream("127.0.0.1", own_port)).aclose()
