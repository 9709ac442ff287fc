"""Scripts for hostile clients: what several connections send, step by step. Hypothesis draws them."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any, TypeAlias

import attrs
from fuzz.tabs import HEAD, frame
from hypothesis import strategies as st

from transport.protocol.names import CommandName

TABS = 4
"""Number of connections that a script uses at a time."""
USERS = ("alice", "bob")


@attrs.frozen
class Ask:
    """Open a connection, and send a request for a WebSocket in pieces."""

    tab: int
    head: bytes
    piece: int


@attrs.frozen
class Say:
    """Send a text message in fragments, perhaps with a control frame between them. The bytes come in pieces."""

    tab: int
    text: str
    cuts: tuple[int, ...] = ()
    between: bytes = b""
    piece: int = 1 << 16

    def data(self, text: str) -> bytes:
        """Return the message with this text as frames."""
        payload = text.encode(errors="surrogatepass")
        borders = [0, *sorted(cut for cut in self.cuts if cut < len(payload)), len(payload)]
        parts = [payload[start:end] for start, end in pairwise(borders)]
        last = len(parts) - 1
        frames = [frame(0 if number else 1, part, final=number == last) for number, part in enumerate(parts)]
        return self.between.join(frames)


@attrs.frozen
class Raw:
    """Send bytes as they are."""

    tab: int
    data: bytes
    piece: int = 1 << 16


@attrs.frozen
class Cut:
    """Send the first bytes of a text message, and close the stream."""

    tab: int
    text: str
    size: int


@attrs.frozen
class Read:
    """Stop reading, or go on."""

    tab: int
    reads: bool


@attrs.frozen
class Wait:
    """Let time pass, in seconds."""

    seconds: float


Step: TypeAlias = Ask | Say | Raw | Cut | Read | Wait


# Frames: valid, almost valid, hostile


def _text(type_: str, **fields: Any) -> str:
    return json.dumps({"type": type_, **fields})


_SESSIONS = st.sampled_from(["s1", "s1", "s1", "s2"])
_IDS = st.sampled_from([f"c{number}" for number in range(8)])
_RESUMES = st.sampled_from(
    [None, None, None, {"epoch": "$epoch", "seq": "$seq"}, {"epoch": "$epoch", "seq": 0}, {"epoch": "other", "seq": 1},
     {"epoch": "$epoch", "seq": 9_000}]
)  # fmt: skip
_HELLOS = st.builds(
    lambda session, token, resume, start, strict: _text(
        "hello", session=session, token=token, resume=resume, strict=strict, **{"from": start}
    ),
    _SESSIONS,
    st.sampled_from([*USERS, *USERS, *USERS, "wrong", "expired", "forbidden"]),
    _RESUMES,
    st.sampled_from(["oldest", "oldest", "latest"]),
    st.sampled_from([False, False, True]),
)
_ARGS = st.sampled_from(
    [{"agent": "echo", "input": "x"}, {"agent": "wait"}, {"agent": "ask"}, {"agent": "family"}, {"agent": "order"},
     {"agent": "order", "input": {"item": 1}}, {"agent": "nobody"}, {"run_id": "$run"}, {"command_id": "c1"},
     {"run_id": "$run", "call_id": "$call", "value": "yes"}, {"text": "hi"}, {"text": "\ud800"}, {"text": "ä" * 300},
     {"text": 1 << 70}, {"agent": "echo", "input": [[[[]]]]}, {}]
)  # fmt: skip
_COMMANDS = st.builds(
    lambda id_, name, args: _text("command", id=id_, name=name, args=args),
    _IDS,
    st.sampled_from([*CommandName, CommandName.RUN_START, CommandName.MESSAGE_SEND, "run.stop"]),
    _ARGS,
)
# A command with the arguments that it needs.
_GOOD = st.builds(
    lambda id_, pair: _text("command", id=id_, name=pair[0], args=pair[1]),
    _IDS,
    st.sampled_from(
        [("run.start", {"agent": "echo", "input": "x"}), ("run.start", {"agent": "wait"}),
         ("run.start", {"agent": "ask"}), ("run.start", {"agent": "family"}), ("run.cancel", {"run_id": "$run"}),
         ("run.cancel", {"command_id": "c1"}), ("message.send", {"text": "hi"}), ("session.close", {}),
         ("input.answer", {"run_id": "$run", "call_id": "$call", "value": "yes"})]
    ),
)  # fmt: skip
_OTHERS = st.sampled_from(
    [_text("typing", active=True), _text("typing", active=False), _text("ack", seq="$seq"), _text("ack", seq=2**53 - 1),
     _text("history", id="h", after=0, limit=500), _text("history", id="h", after=0, limit=501),
     _text("history", id="h", after=2**60, limit=1), _text("pong"), _text("token", token="alice"),
     _text("token", token="bob"), _text("token", token="expired")]
)  # fmt: skip
VALID = _GOOD | _COMMANDS | _OTHERS | _GOOD

_HOSTILE = st.sampled_from(
    ["", "{", "null", "[]", '"hello"', "{}", '{"type":1}', '{"type":"nothing"}', '{"type":"ack","seq":-1}',
     '{"type":"ack","seq":1e3}', '{"type":"ack","seq":true}', '{"type":"typing","active":1}', '{"type":"command"}',
     '{"type":"command","id":"","name":"a"}', '{"type":"command","id":"c1","id":"c2","name":"message.send"}',
     '{"type":"command","id":"c9","name":"message.send","args":{"text":' + "[" * 70 + "]" * 70 + "}}",
     '{"type":"command","id":"c9","name":"message.send","args":{"text":NaN}}', '{"type":"pong"}{"type":"pong"}',
     '{"type":"hello","session":"../s1"}', '{"type":"hello","session":""}', '{"type":"hello","session":"s1"}',
     '{"type":"history","id":"h","after":"0","limit":1}', '\ufeff{"type":"pong"}',
     '{"type":"pong","x":' + "9" * 3000 + "}",
     '{"type":"pong","x":"' + "x" * 4100 + '"}', '{"type":"pong"' + " " * 5000 + "}"]
)  # fmt: skip
_VALUES = st.sampled_from(["null", "0", "-1", "1.5", "true", '""', '"x"', "[]", "{}", '"\\ud800"', "9007199254740992"])


@st.composite
def _almost(draw: st.DrawFn) -> str:
    """Return a valid frame of which one field is missing, or has another value."""
    fields: dict[str, Any] = json.loads(draw(VALID | _HELLOS))
    name = draw(st.sampled_from(sorted(fields)))
    value = draw(st.none() | _VALUES)
    if value is None:
        del fields[name]
    else:
        fields[name] = json.loads(value)
    return json.dumps(fields)


TEXTS = st.one_of(VALID, VALID, VALID, _almost(), _HOSTILE, _HELLOS)
_BYTES = st.sampled_from(
    [frame(9, b"p"), frame(10), frame(9, bytes(125)), frame(8), frame(8, b"\x03\xe8bye"), frame(8, b"\x0f\xa0"),
     frame(8, b"\x03\xed"), frame(8, b"x"), frame(2, b"{}"), frame(1, b"\xff"), frame(1, b"\xe2", final=False),
     frame(0),
     frame(0, b"x", final=False), frame(1, b"{", final=False), frame(3), frame(9, final=False), b"\x81\x02{}",
     b"\xc1\x80\0\0\0\0", b"\x81\xff\x7f" + bytes(11), b"\x81\xff\x80" + bytes(11), b"\x81\xfe\0\x01\0\0\0\0x", b"\x81",
     b"GET",
     frame(9) * 130, frame(1, final=False) + frame(0, final=False) * 30 + frame(0, b"{}")]
)  # fmt: skip
_HEADS = st.sampled_from(
    [*[HEAD] * 12, HEAD.replace(b"1.1", b"1.0", 1), HEAD.replace(b"GET /", b"GET /x", 1),
     HEAD.replace(b"Key", b"Kay"),
     HEAD.replace(b": 13", b": 12"), HEAD.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: greenroom.v0\r\n\r\n"),
     HEAD.replace(b"\r\n\r\n", b"\r\nOrigin: https://evil.example\r\n\r\n"), HEAD[:60],
     HEAD.replace(b"a\r", b"\xff\r", 1),
     b"\x16\x03\x01\x02\x00\x01", HEAD + frame(1, b"{}"), b""]
)  # fmt: skip
_TAB = st.integers(0, TABS - 1)
_PIECES = st.sampled_from([1 << 16, 1 << 16, 1 << 16, 100, 7, 1])
_SAYS = st.builds(
    Say,
    _TAB,
    TEXTS,
    st.lists(st.integers(0, 120), max_size=3).map(tuple),
    st.sampled_from([b"", b"", frame(9, b"?"), frame(10)]),
    _PIECES,
)
_STEPS = st.one_of(
    st.builds(Say, _TAB, VALID),
    _SAYS,
    st.builds(Say, _TAB, _HELLOS),
    st.builds(Ask, _TAB, _HEADS, _PIECES),
    st.builds(Raw, _TAB, _BYTES, _PIECES),
    st.builds(Cut, _TAB, TEXTS | _HELLOS, st.integers(0, 200)),
    st.builds(Read, _TAB, st.booleans()),
    st.builds(Wait, st.sampled_from([0.1, 3.0, 11.0, 26.0, 40.0, 60.0])),
)


def _greeting(tab: int) -> st.SearchStrategy[list[Step]]:
    """Return the usual beginning of a connection, or nothing."""
    own = st.just(tab)
    asking, hello = st.builds(Ask, own, st.just(HEAD), _PIECES), st.builds(Say, own, _HELLOS)
    greeting: st.SearchStrategy[list[Step]] = st.tuples(asking, hello).map(list)
    return greeting | greeting | st.just([])


def scripts(longest: int) -> st.SearchStrategy[list[Step]]:
    """Return scripts with at most ``longest`` steps after the usual beginnings of the connections."""
    beginnings = st.tuples(*map(_greeting, range(TABS))).map(lambda parts: [step for part in parts for step in part])
    return st.tuples(beginnings, st.lists(_STEPS, max_size=longest)).map(lambda parts: [*parts[0], *parts[1]])
