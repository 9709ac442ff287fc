"""The client's state machine against a model of the server's log: in any sequence, the application sees the log."""

from __future__ import annotations

from random import Random
from typing import Any

import hypothesis.strategies as st
import orjson
import pytest
from _scripted_server import event, welcome
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors import CommandRefused, Event, Position
from transport.client._buffer import EventBuffer, GapError, Reset
from transport.client._commands import Commands
from transport.client._core import Answer, ClientCore, Retry
from transport.client._reconnect_delays import ReconnectDelays
from transport.errors import ConnectionClosedForGood, PositionLost, ServerBrokeProtocol
from transport.protocol.client_frames import CommandFrame, Hello


def make_core(
    *, max_events: int = 1000, resume: Position | None = None, from_: str = "oldest", renewable: bool = False
) -> ClientCore:
    """Return a client's core with a small buffer, and with at most 5 waiting commands."""
    return ClientCore(
        hello=Hello("s1", from_latest=from_ == "latest", client="test"),
        buffer=EventBuffer(max_events, 10**6, received=resume, applied=resume),
        commands=Commands(5),
        delays=ReconnectDelays(Random(1)),
        renewable=renewable,
    )


def text(kind: str, **fields: Any) -> str:
    """Return a server's frame as JSON text."""
    return orjson.dumps({"type": kind, **fields}).decode()


def sent(core: ClientCore) -> list[dict[str, Any]]:
    """Take and return all frames that the core wants to send now."""
    frames: list[dict[str, Any]] = []
    while (frame := core.next_frame()) is not None:
        frames.append(orjson.loads(frame))
    return frames


class Model(RuleBasedStateMachine):
    """A model of three parts: a server with a log, a network that loses and repeats events, and a slow application."""

    def __init__(self) -> None:
        super().__init__()
        self.core = make_core(max_events=6)
        self.epoch = 1
        self.log = 0
        self.oldest = 1
        self.cursor = 0
        self.connected = False
        self.seen: list[tuple[int, int]] = []
        """Events that the application has taken since the newest reset, as pairs of epoch and seq."""
        self.resets = 0
        self.expected_resets = 0
        self.done: dict[str, int] = {}
        self.asked: dict[str, bool] = {}
        self.replies: list[str] = []

    @initialize(length=st.integers(0, 5))
    def begin(self, length: int) -> None:
        self.log = length

    @rule(count=st.integers(1, 4))
    def log_grows(self, count: int) -> None:
        self.log += count

    @rule(count=st.integers(1, 3))
    @precondition(lambda self: not self.connected and self.log)
    def log_is_trimmed(self, count: int) -> None:
        self.oldest = min(self.oldest + count, self.log + 1)

    @rule(length=st.integers(0, 3))
    @precondition(lambda self: not self.connected)
    def log_is_rebuilt(self, length: int) -> None:
        self.epoch, self.log, self.oldest = self.epoch + 1, length, 1

    @rule()
    @precondition(lambda self: not self.connected)
    def connect(self) -> None:
        self.core.on_opened("t")
        (hello,) = sent(self.core)
        resume = hello.get("resume")
        fields: dict[str, Any] = {"recovered": False}
        self.cursor = self.oldest - 1
        if resume is not None and resume["epoch"] != f"e{self.epoch}":
            fields["reset"] = "epoch_changed"
        elif resume is not None and resume["seq"] < self.oldest - 1:
            fields["reset"] = "trimmed"
        elif resume is not None:
            assert resume["seq"] <= self.log
            fields["recovered"] = True
            self.cursor = resume["seq"]
        self.expected_resets += "reset" in fields
        frame = welcome(epoch=f"e{self.epoch}", oldest=self.oldest, latest=self.log, **fields)
        self.core.on_message(text("welcome", **frame))
        self.connected = True
        self.commands_arrive()

    def deliver(self, first: int, last: int) -> None:
        """Deliver the events from ``first`` to ``last`` to the core. Disconnect if the core reports a gap."""
        buffer = self.core.buffer
        buffer.skipping = buffer.skipping or buffer.full  # the reader's patience is over
        try:
            self.core.on_message(text("events", events=[event(seq) for seq in range(first, last + 1)]))
        except GapError:
            self.disconnect()

    @rule(count=st.integers(1, 5))
    @precondition(lambda self: self.connected and self.cursor < self.log)
    def events_arrive(self, count: int) -> None:
        first, self.cursor = self.cursor + 1, min(self.cursor + count, self.log)
        self.deliver(first, self.cursor)

    @rule(back=st.integers(1, 4))
    @precondition(lambda self: self.connected and self.cursor >= self.oldest)
    def events_arrive_again(self, back: int) -> None:
        self.deliver(max(self.oldest, self.cursor - back + 1), self.cursor)

    @rule(missing=st.integers(1, 3))
    @precondition(lambda self: self.connected and self.cursor < self.log)
    def events_go_missing(self, missing: int) -> None:
        self.cursor = min(self.cursor + missing, self.log)

    @rule(count=st.integers(1, 10))
    def the_application_takes(self, count: int) -> None:
        for _ in range(count):
            item = self.core.buffer.take()
            if isinstance(item, Reset):
                self.resets += 1
                self.seen.clear()
            elif item is not None:
                assert isinstance(item, Event)
                assert self.core.buffer.applied is not None
                self.seen.append((int(self.core.buffer.applied.epoch[1:]), item.seq))
        if self.connected and self.core.buffer.missed and self.core.buffer.roomy:
            self.disconnect()  # to catch up

    @rule()
    @precondition(lambda self: self.connected)
    def disconnect(self) -> None:
        self.core.on_closed(1006, "", 0)
        self.connected = False

    @rule()
    def the_application_asks(self) -> None:
        id_ = f"c{len(self.asked)}"
        frame = CommandFrame(id_, "message.send", {"text": "x"})
        if len(self.core.commands) == 5:
            with pytest.raises(CommandRefused, match="5 commands wait"):
                self.core.commands.submit(frame)
            return
        self.core.commands.submit(frame)
        self.asked[id_] = False
        self.commands_arrive()

    def commands_arrive(self) -> None:
        """Note the commands that reach the server, which does each id once.

        The replies may be lost with the connection.
        """
        for frame in sent(self.core):
            self.done.setdefault(frame["id"], 0)
            self.replies.append(frame["id"])

    @rule()
    @precondition(lambda self: self.connected and self.replies)
    def replies_arrive(self) -> None:
        for id_ in self.replies:
            for output in self.core.on_message(text("reply", id=id_, ok=True, result={})):
                assert isinstance(output, Answer)
                assert not self.asked[output.id], "answered twice"
                self.asked[output.id] = True
        self.replies.clear()

    @invariant()
    def what_was_seen_is_the_log_in_its_order_without_a_gap(self) -> None:
        epochs = {epoch for epoch, _ in self.seen}
        seqs = [seq for _, seq in self.seen]
        assert len(epochs) <= 1
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs))) if seqs else True

    @invariant()
    def the_buffer_is_bounded(self) -> None:
        assert len(self.core.buffer) <= 6 + 5 + self.expected_resets

    def teardown(self) -> None:
        """Let all events and replies arrive.

        Check that the application got each reset, and that each command was done.
        """
        for _ in range(2 + self.log):
            if self.connected:
                self.disconnect()
            self.connect()
            while self.connected and self.cursor < self.log:
                self.the_application_takes(100)
                self.events_arrive(3)
            self.the_application_takes(100)
        assert [seq for _, seq in self.seen][-1:] == [self.log][: len(self.seen)]
        applied = self.core.buffer.applied
        assert applied == Position(f"e{self.epoch}", self.log)
        assert self.resets == self.expected_resets
        self.replies_arrive()
        assert all(self.asked.values())
        assert self.done.keys() == self.asked.keys()


TestModel = Model.TestCase


def test_order_of_frames() -> None:
    """After its hello, the client sends only pongs until the welcome arrives.

    After the welcome, it first sends the waiting commands, and then its state of typing.
    """
    core = make_core()
    core.commands.submit(CommandFrame("c1", "message.send", {"text": "x"}))
    core.on_opened(None)
    assert [frame["type"] for frame in sent(core)] == ["hello"]
    core.on_message(text("ping"))
    assert [frame["type"] for frame in sent(core)] == ["pong"]
    core.on_message(text("welcome", **welcome()))
    core.typing(active=True)
    assert [frame["type"] for frame in sent(core)] == ["command", "typing"]


@pytest.mark.parametrize("kind", ["events", "signal", "reply", "history", "error"])
def test_frame_before_the_welcome_is_refused(kind: str) -> None:
    """If events, a signal, a reply, history or an error come before the welcome, the server has broken the protocol."""
    core = make_core()
    core.on_opened(None)
    with pytest.raises(ServerBrokeProtocol, match="before a welcome"):
        core.on_message(text(kind))


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"epoch": 5}, "welcome.epoch"),
        ({"latest": "3"}, "welcome.latest"),
        ({"latest": True}, "welcome.latest"),
        ({"oldest": 0}, "cannot be"),
        ({"oldest": 3, "latest": 1}, "cannot be"),
        ({"ping_ms": 0}, "cannot be"),
        ({"recovered": True}, "not asked for"),
        ({"runs": [{"run_id": 1, "agent": "a", "started": 1}]}, "run_id"),
    ],
)
def test_invalid_welcome_is_refused(fields: dict[str, Any], fault: str) -> None:
    """If a welcome has a wrong field, the server has broken the protocol, and the error names the fault."""
    core = make_core()
    core.on_opened(None)
    with pytest.raises(ServerBrokeProtocol, match=fault):
        core.on_message(text("welcome", **welcome(**fields)))


def test_second_welcome_is_refused() -> None:
    """If a second welcome comes on one connection, the server has broken the protocol."""
    core = make_core()
    core.on_opened(None)
    core.on_message(text("welcome", **welcome()))
    with pytest.raises(ServerBrokeProtocol, match="second welcome"):
        core.on_message(text("welcome", **welcome()))


def test_unexpected_replies_are_ignored() -> None:
    """The client ignores a reply or an error frame if none of its requests waits for one."""
    core = make_core()
    core.on_opened(None)
    core.on_message(text("welcome", **welcome()))
    assert core.on_message(text("reply", id="who", ok=True, result={})) == []
    assert core.on_message(text("error", code="rate_limited", message="")) == []


def test_end_decides_the_next_step() -> None:
    """The close code or HTTP status decides whether the client reconnects, gets a new token first, or ends."""
    core = make_core()
    assert isinstance(core.on_closed(1001, "", 0), Retry)
    assert isinstance(core.on_closed(4410, "", 0), PositionLost)
    assert type(core.on_closed(4004, "", 0)) is ConnectionClosedForGood
    renewing = make_core(renewable=True).on_closed(4004, "", 0)
    assert isinstance(renewing, Retry)
    assert renewing.renew
    statuses = (400, 401, 403, 404, 408, 425, 429, 500, 503)
    assert [type(core.on_rejected(status, "")) is Retry for status in statuses] == [
        *[False] * 4,
        *[True] * 5,
    ]


@pytest.mark.parametrize("retry_ms", [-1, "5", None, True, 10**9])
def test_invalid_retry_ms_is_ignored(retry_ms: object) -> None:
    """If the ``retry_ms`` of a goodbye is invalid, the client ignores it and uses its own random delay."""
    core = make_core()
    core.on_opened(None)
    core.on_message(text("goodbye", code=1001, reason="", retry_ms=retry_ms))
    decision = core.on_closed(1001, "", 0)
    assert isinstance(decision, Retry)
    assert decision.delay <= 0.2


def test_reset_of_a_client_from_latest() -> None:
    """After a reset, a client that began at the latest event continues with the oldest event that the log has."""
    core = make_core(resume=Position("e0", 5), from_="latest")
    core.on_opened(None)
    core.on_message(text("welcome", **welcome(oldest=3, latest=9, reset="epoch_changed")))
    core.on_message(text("events", events=[event(3)]))
    assert core.buffer.take() == Reset("epoch_changed")
    assert core.buffer.applied == Position("e1", 2)


def test_unreachable_owner_gets_the_command_again() -> None:
    """If the server cannot reach the session, the command is sent again with its id, until another reply comes."""
    core = make_core()
    core.on_opened(None)
    sent(core)
    core.on_message(text("welcome", **welcome()))
    core.commands.submit(CommandFrame("k1", "message.send", {"text": "x"}))
    (first,) = sent(core)
    refusal = text("reply", id="k1", ok=False, error={"code": "owner_unreachable", "message": "m"}, duplicate=False)
    assert core.on_message(refusal) == []
    assert sent(core) == [first]
    assert core.on_message(text("reply", id="k1", ok=True, result={"seq": 1})) == [Answer("k1", {"seq": 1})]
    assert (core.on_message(refusal), sent(core), core.commands.resent) == ([], [], 1)
