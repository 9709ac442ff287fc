"""Ports: the one way in which the WebSocket endpoint and the pages take theirs."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest
import trio
from protocol.agents import greenroom

from transport import connect
from transport.server.listening import listen


class Lost(socket.socket):
    """Was lost before it was served: some systems take no option for it then."""

    def setsockopt(self, *_: Any) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")


def close(listeners: list[socket.socket]) -> None:
    for listener in listeners:
        listener.close()


def test_port_0_takes_a_free_one_the_same_for_every_address_of_the_host() -> None:
    listeners = listen("localhost", 0)
    try:
        assert len({listener.getsockname()[1] for listener in listeners}) == 1
        assert listeners[0].getsockname()[1] > 0
    finally:
        close(listeners)


def test_a_taken_port_is_one_line_that_names_host_and_port_and_leaves_nothing_open(own_port: int) -> None:
    (listener,) = listen("127.0.0.1", own_port)
    with listener:
        with pytest.raises(
            OSError, match=f"cannot listen on 127.0.0.1 port {own_port}: Address already in use$"
        ) as caught:
            listen("127.0.0.1", own_port)
    assert caught.value.errno == errno.EADDRINUSE
    close(listen("127.0.0.1", own_port))


def test_a_host_that_is_not_known_is_one_line_that_names_it() -> None:
    with pytest.raises(OSError, match=r"cannot listen on no\.such\.host\.invalid port 0: "):
        listen("no.such.host.invalid", 0)


async def test_a_server_whose_port_is_taken_says_so_and_can_be_run_elsewhere(own_port: int) -> None:
    app = greenroom()
    (listener,) = listen("127.0.0.1", own_port)
    with listener:
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1 port {own_port}"):
            async with app.running(port=own_port):
                pass
        async with app.running(port=0) as server:
            assert server.url != f"ws://127.0.0.1:{own_port}/"
    async with app.running(port=own_port) as server:
        assert server.url == f"ws://127.0.0.1:{own_port}/"


async def test_a_connection_that_is_lost_before_it_is_served_is_closed_and_ends_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accept, losses = socket.socket.accept, iter([True])

    def accepting(listener: socket.socket) -> tuple[socket.socket, Any]:
        sock, address = accept(listener)
        return (Lost(fileno=sock.detach()) if next(losses, False) else sock), address

    monkeypatch.setattr(socket.socket, "accept", accepting)
    async with greenroom().running(port=0) as server:
        lost = await trio.open_tcp_stream("127.0.0.1", int(server.url.rstrip("/").rpartition(":")[2]))
        async with lost:
            assert not await lost.receive_some()
        async with connect(server.url, session="s1") as client:
            await client.start("echo", "hello")
        assert server.endpoint.statistics().accepted == 1


async def test_a_server_that_drains_refuses_who_comes_and_serves_again_when_it_is_run_again(own_port: int) -> None:
    app = greenroom()
    async with app.running(port=own_port) as server:
        await server.drain(0)
        with pytest.raises(OSError, match="connect"):
            await trio.open_tcp_stream("127.0.0.1", own_port)
    async with app.running(port=own_port):
        await (await trio.open_tcp_stream("127.0.0.1", own_port)).aclose()
