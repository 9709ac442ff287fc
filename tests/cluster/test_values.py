"""The text forms of tokens, incarnations and registered nodes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.cluster.interfaces import MAX_NODE_NAME, Incarnation, NodeInfo, Token, check_node_name
from actors.errors import ConfigError, LogCorrupt

NAMES = st.from_regex(rf"[A-Za-z0-9._-]{{1,{MAX_NODE_NAME}}}", fullmatch=True)
INCARNATIONS = st.builds(Incarnation, NAMES, st.integers(0, 2**53), st.integers(0, 2**64 - 1))
TOKENS = st.builds(Token, st.integers(1, 2**53), st.none() | INCARNATIONS)
A = Incarnation("a", 1, 2)


@given(TOKENS)
def test_tokens_survive_their_text(token: Token) -> None:
    """A token is the same after it was written as text and read again."""
    assert Token.parse(str(token)) == token


@given(INCARNATIONS, st.integers(0, 2**53), st.text())
def test_nodes_survive_their_text(incarnation: Incarnation, beat: int, info: str) -> None:
    """A registered node is the same after it was written as text and read again."""
    node = NodeInfo(incarnation, beat, info)
    assert NodeInfo.parse(f"{node.seen} {info}") == node


def test_texts_of_tokens() -> None:
    """The text of a token is its term and its owner, and a hyphen after a release."""
    assert str(Token(7, A)) == "7 a/1/0000000000000002"
    assert str(Token(7, A).released()) == "7 -"


@pytest.mark.parametrize(
    "text", ["", "7", "7 ", "0 -", "-1 -", "7 a", "7 a/1/2", "7  -", "7 - ", "7 a/x/0000000000000002"]
)
def test_bad_tokens_are_refused(text: str) -> None:
    """A text that is no token is damaged data."""
    with pytest.raises(LogCorrupt, match="not a"):
        Token.parse(text)


@pytest.mark.parametrize("text", ["", "a", f"{A}", f"{A} ", f"{A} x", f"{A} ² y", "a/b 1 "])
def test_bad_nodes_are_refused(text: str) -> None:
    """A text that is no registered node is damaged data."""
    with pytest.raises(LogCorrupt, match="not a"):
        NodeInfo.parse(text)


def test_incarnations_of_one_moment_differ() -> None:
    """Two incarnations of one node at one time are different."""
    assert Incarnation.new("a", 1) != Incarnation.new("a", 1)


@pytest.mark.parametrize("name", ["a", "host-1.example_2", "x" * MAX_NODE_NAME])
def test_node_names_are_accepted(name: str) -> None:
    """A node's name has letters, digits, dots, underscores and hyphens."""
    check_node_name(name)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "é", "a\n", "x" * (MAX_NODE_NAME + 1)])
def test_bad_node_names_are_refused(name: str) -> None:
    """A name that would not survive in a token is refused, with the name of its setting."""
    with pytest.raises(ConfigError, match="node_name"):
        Incarnation.new(name, 0)
