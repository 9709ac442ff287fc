"""Room for new connections: the limits at accept, and the silent connections that make room."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import attrs
import trio
from hypothesis import given
from hypothesis import strategies as st

from actors.loop.clock import LoopTime
from transport import Settings
from transport.server._connections import Connections
from transport.server._heartbeat import Heartbeat
from transport.server._refusals import RefusalLog
from transport.server.admission import MAX_WITHOUT_ROOM

if TYPE_CHECKING:
    from transport.server._connections import Counted


@attrs.define(eq=False)
class Fake:
    """A connection that only knows its address, and whether it was dropped."""

    address: str = "a"
    dropped: bool = False
    user: None = None

    def drop(self) -> None:
        """Note the drop."""
        self.dropped = True


class Room:
    """Connections with small limits, on which fake connections come, speak and leave."""

    def __init__(self, in_all: int, per_address: int) -> None:
        settings = Settings(
            max_connections=in_all, max_connections_per_address=per_address, forwarded_allow=("10.0.0.0/8",)
        )
        heartbeat = Heartbeat()
        self.connections = Connections(settings, heartbeat, LoopTime(lambda: 0.0), RefusalLog(settings, heartbeat))

    def come(self, address: str = "a") -> Fake:
        """Accept a connection."""
        fake = Fake(address)
        self.connections.add(cast("Counted", fake))
        return fake

    def speaks(self, fake: Fake) -> int:
        """Let the request of a connection arrive. Return the status of the answer."""
        refusal = self.connections.refuse(cast("Counted", fake))
        return 101 if refusal is None else refusal.status

    def move(self, fake: Fake, address: str) -> None:
        """Let a trusted proxy name the client of a connection."""
        self.connections.move(cast("Counted", fake), address)

    def leave(self, fake: Fake) -> None:
        """End a connection."""
        self.connections.remove(cast("Counted", fake))


async def test_oldest_silent_connection_makes_room() -> None:
    """If the server is at its limit for all connections, a new connection gets the room of an old silent one.

    The oldest connection that has not sent its request is dropped.
    """
    room = Room(3, 10)
    spoken, first, second = room.come("a"), room.come("b"), room.come("c")
    assert room.speaks(spoken) == 101
    new = room.come("d")
    assert [one.dropped for one in (spoken, first, second, new)] == [False, True, False, False]
    assert room.speaks(new) == 101
    assert (len(room.connections), room.connections.silent_dropped) == (3, 1)


async def test_address_at_its_limit_drops_its_own() -> None:
    """If an address is at its limit, a new connection of this address gets the room of an old silent one.

    Only a connection of the same address is dropped.
    """
    room = Room(10, 2)
    other, first, second = room.come("b"), room.come("a"), room.come("a")
    room.come("a")
    assert [one.dropped for one in (other, first, second)] == [False, True, False]


async def test_no_silent_connection_is_left() -> None:
    """If the limit is reached and all old connections have sent their requests, a new connection is refused with 503.

    No old connection is dropped.
    """
    for in_all, per_address in ((2, 10), (10, 2)):
        room = Room(in_all, per_address)
        old = [room.come(), room.come()]
        assert [room.speaks(one) for one in old] == [101, 101]
        new = room.come()
        assert room.speaks(new) == 503
        assert not any(one.dropped for one in (*old, new))
        room.leave(new)
        room.leave(old[0])
        assert room.speaks(room.come()) == 101


async def test_room_that_becomes_free_before_the_request() -> None:
    """If a connection comes without room, but there is room when its request arrives, the request is accepted."""
    room = Room(1, 10)
    old = room.come()
    assert room.speaks(old) == 101
    new = room.come()
    room.leave(old)
    assert room.speaks(new) == 101
    assert room.speaks(room.come()) == 503


async def test_connections_without_room_are_few() -> None:
    """Beyond the limit, only the newest ``MAX_WITHOUT_ROOM`` silent connections are kept. Older ones are dropped.

    A connection that is kept can send its request, and then gets 503 as the answer.
    """
    room = Room(1, 1000)
    assert room.speaks(room.come()) == 101
    beyond = [room.come() for _ in range(MAX_WITHOUT_ROOM + 3)]
    assert [one.dropped for one in beyond] == [True] * 3 + [False] * MAX_WITHOUT_ROOM
    assert len(room.connections) == 1 + MAX_WITHOUT_ROOM


async def test_ipv6_network_is_one_address() -> None:
    """The addresses of an IPv6 network of 64 bits share one limit, and its oldest silent connection makes room."""
    room = Room(20, 2)
    first, second = room.come("2001:db8::1"), room.come("2001:db8::2")
    assert room.speaks(second) == 101
    third = room.come("2001:db8::ffff:3")
    assert (first.dropped, room.speaks(third)) == (True, 101)
    assert room.speaks(room.come("2001:db8::4")) == 503
    assert [room.speaks(room.come("2001:db8:0:1::1")) for _ in range(3)] == [101, 101, 503]
    room.leave(third)
    assert room.speaks(room.come("2001:db8::5")) == 101
    assert room.speaks(room.come("::ffff:192.0.2.1")) == room.speaks(room.come("192.0.2.1")) == 101
    assert room.speaks(room.come("192.0.2.1")) == 503


async def test_proxy_that_names_no_client() -> None:
    """A connection of a trusted proxy for which it names no client counts for the proxy's own address."""
    room = Room(20, 2)
    connections = [room.come(PROXY) for _ in range(4)]
    for number, one in enumerate(connections):
        assert room.connections.awaits_client(cast("Counted", one))
        room.move(one, PROXY)
        assert not room.connections.awaits_client(cast("Counted", one))
        assert room.speaks(one) == (101 if number < 2 else 503)
    room.leave(connections[0])
    later = room.come(PROXY)
    room.move(later, PROXY)
    assert room.speaks(later) == 101


async def test_proxy_has_no_limit_of_its_own() -> None:
    """The limit per address does not count for a trusted proxy. It counts for each client that the proxy names."""
    room = Room(20, 2)
    connections = [room.come(PROXY) for _ in range(10)]
    for number, one in enumerate(connections):
        room.move(one, "ab"[number % 2])
        assert room.speaks(one) == (101 if number < 4 else 503)
    assert not any(one.dropped for one in connections)
    for one in connections:
        room.leave(one)
    assert room.speaks(room.come("a")) == 101


async def test_proxy_counts_in_all() -> None:
    """Silent connections of a trusted proxy count in all: the oldest makes room when the server is full."""
    room = Room(3, 1)
    connections = [room.come(PROXY) for _ in range(5)]
    assert [one.dropped for one in connections] == [True, True, False, False, False]


async def test_move_makes_room() -> None:
    """If a client is at its limit, a connection that is moved to the client gets the room of a silent one.

    A connection without room gets room when it is moved, if there is some.
    """
    room = Room(10, 1)
    first, second = room.come("a"), room.come(PROXY)
    room.move(second, "a")
    assert (first.dropped, second.dropped, room.speaks(second)) == (True, False, 101)
    third = room.come("a")
    room.move(third, "b")
    assert room.speaks(third) == 101
    room.leave(third)
    room.move(third, "c")
    assert third.address == "b"


PROXY = "10.0.0.1"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["come", "move", "speak", "leave"]), st.sampled_from(["a", "b", PROXY]), st.integers(0, 30)
        )
    )
)
def test_limits_always_hold(steps: list[tuple[str, str, int]]) -> None:
    """However clients come and leave, the limits in all and per address hold, and no accepted client is closed."""
    trio.run(check, steps)


async def check(steps: list[tuple[str, str, int]]) -> None:
    """Take the steps, and check the limits after each."""
    room, living, accepted = Room(4, 2), list[Fake](), set[Fake]()
    for step, address, number in steps:
        if step == "come":
            living.append(room.come(address))
        elif living:
            one = living[number % len(living)]
            if step == "move":
                if one.address == PROXY and one not in accepted:
                    room.move(one, address)
            elif step == "leave":
                room.leave(one)
                living.remove(one)
                accepted.discard(one)
            elif one not in accepted and room.speaks(one) == 101:
                accepted.add(one)
        assert not any(one.dropped for one in accepted)
        living = [one for one in living if not one.dropped]
        assert len(room.connections) == len(living)
        assert len(accepted) <= 4
        assert all(sum(one.address == each for one in accepted) <= 2 for each in "ab")
