"""Messages between nodes: an encoded message is decoded to the same message, and unreadable bytes are an error."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from actors import LogCorrupt
from actors.cluster._messages import PUSH, Kind, Note, decode, decode_batches, decode_push, encode, encode_push

LINES = st.lists(st.binary(min_size=1).filter(lambda line: b"\n" not in line), min_size=1, max_size=4)
PARTS = st.lists(st.tuples(st.integers(0, 2**48), st.integers(1, 2**53), LINES), max_size=4)


@given(PARTS)
def test_a_push_is_read_as_it_was_written(parts: list[tuple[int, int, list[bytes]]]) -> None:
    """A push of any sessions and lines is decoded to the same sessions and lines."""
    assert list(decode_push(encode_push(parts))) == parts


@given(PARTS.filter(bool), st.data())
def test_a_cut_push_is_an_error(parts: list[tuple[int, int, list[bytes]]], data: st.DataObject) -> None:
    """A push that is cut gives its first parts, and then an error, or it was cut between two parts."""
    body = encode_push(parts)
    cut = body[: data.draw(st.integers(1, len(body) - 1))]
    read: list[tuple[int, int, list[bytes]]] = []
    try:
        read.extend(decode_push(cut))
    except LogCorrupt:
        pass
    else:
        assert encode_push(read) == cut
    assert read == parts[: len(read)]


@given(PARTS)
def test_published_batches_are_read(parts: list[tuple[int, int, list[bytes]]]) -> None:
    """Batches that an engine has published are decoded to the same streams and lines. Cut ones are an error."""
    texts = [(b"u/%d" % number, first, lines) for number, first, lines in parts]
    bodies = [(name, first, len(lines), b"\n".join(lines)) for name, first, lines in texts]
    body = b"\n".join(b"%b %d %d %d\n%b" % (name, first, n, len(text), text) for name, first, n, text in bodies)
    assert list(decode_batches(body)) == texts
    if body:
        with pytest.raises(LogCorrupt, match="published batch"):
            list(decode_batches(body[:-1]))


@pytest.mark.parametrize(
    "header", [b"u/1 1 1", b"u/1 1 1 +2", b"u/1 1 1 1_0", b"u/1 -1 1 2", b"u/1 1 1 2 ", b" u 1 1 2", b""]
)
def test_a_header_of_a_batch_is_exact(header: bytes) -> None:
    """A header of a published batch has a name and three numbers of digits alone. A part of a push has only numbers."""
    with pytest.raises(LogCorrupt, match="published batch"):
        list(decode_batches(header + b"\n{}"))
    with pytest.raises(LogCorrupt, match="push of another node"):
        list(decode_push(PUSH + header.replace(b"u/1", b"1", 1).replace(b" 1", b"", 1) + b"\n{}\n"))


def test_other_messages() -> None:
    """A message has a kind and data."""
    body = encode(Kind.UNWATCH, {"numbers": [1]})
    assert decode(body) == Note(Kind.UNWATCH, {"numbers": [1]})
    assert not body.startswith(PUSH)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'["nothing",{}]', b'["ask",[]]', b'["ask"]', b"3"])
def test_a_message_that_cannot_be_read(body: bytes) -> None:
    """A message without a known kind and data is an error."""
    with pytest.raises(LogCorrupt, match="message of another node"):
        decode(body)
