"""If a command is sent again while it is remembered, its sender gets the first reply."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.sessions._command_memory import CommandMemory
from actors.sessions._commands import Command, CommandReply

SECONDS = 10


def command(id_: str, replies: list[CommandReply], *, internal: bool = False) -> Command:
    return Command(id_, "name", {}, "c1", replies.append, internal=internal)


def note(heard: list[tuple[int, CommandReply]], caller: int, reply: CommandReply) -> None:
    heard.append((caller, reply))


class Known:
    """An entry of the model for one command id: the senders that wait, or the reply and its time."""

    def __init__(self, caller: int) -> None:
        self.waiting = [caller]
        self.reply: CommandReply | None = None
        self.since = 0


@given(
    st.lists(
        st.tuples(st.sampled_from(["admit", "admit", "answer"]), st.sampled_from("abc"), st.integers(0, SECONDS + 1)),
        max_size=40,
    )
)
def test_memory_against_a_model(steps: list[tuple[str, str, int]]) -> None:
    """In any order of commands and replies, each sender gets one reply, and only new commands are carried out."""
    memory, known, now = CommandMemory(SECONDS), dict[str, Known](), 0
    heard: list[tuple[int, CommandReply]] = []
    expected: list[tuple[int, CommandReply]] = []
    for caller, (step, id_, later) in enumerate(steps):
        now += later
        if step == "answer":
            reply = CommandReply(id_, caller)
            memory.answer(reply, now)
            if id_ in known and known[id_].reply is None:
                one = known[id_]
                expected += [(who, CommandReply(id_, caller, duplicate=n > 0)) for n, who in enumerate(one.waiting)]
                one.reply, one.since = reply, now
            assert heard == expected
            continue
        known = {key: one for key, one in known.items() if one.reply is None or one.since > now - SECONDS}
        new = memory.admit(Command(id_, "name", {}, "c1", partial(note, heard, caller)), now)
        assert new is (id_ not in known)
        if new:
            known[id_] = Known(caller)
        elif (first := known[id_].reply) is None:
            known[id_].waiting.append(caller)
        else:
            expected.append((caller, CommandReply(id_, first.result, duplicate=True)))
        assert heard == expected
        assert len(memory) == len(known)
        assert set(memory.pending()) == {key for key, one in known.items() if one.reply is None}


@pytest.mark.parametrize(("later", "new"), [(SECONDS - 0.001, False), (SECONDS, True)])
def test_reply_is_remembered_for_its_time(later: float, new: bool) -> None:
    """A reply is remembered for the given time. The time begins with the reply, not with the command."""
    memory, replies = CommandMemory(SECONDS), list[CommandReply]()
    memory.admit(command("a", replies), 0)
    memory.answer(CommandReply("a", "r"), 500)
    assert memory.admit(command("a", replies), 500 + later) is new
    assert [reply.duplicate for reply in replies] == ([False] if new else [False, True])


def test_pending_command_is_kept() -> None:
    """A command that has no reply yet is never forgotten, however long the reply takes."""
    memory, replies = CommandMemory(SECONDS), list[CommandReply]()
    assert memory.admit(command("a", replies), 0)
    assert not memory.admit(command("a", replies), 1000 * SECONDS)
    assert memory.pending() == ("a",)
    memory.answer(CommandReply("a", "r"), 1000 * SECONDS)
    assert replies == [CommandReply("a", "r"), CommandReply("a", "r", duplicate=True)]


def test_surplus_replies_are_ignored() -> None:
    """If a command gets a second reply, or a reply belongs to no known command, the reply is ignored."""
    memory, replies = CommandMemory(SECONDS), list[CommandReply]()
    memory.admit(command("a", replies), 0)
    for id_, result in (("b", 1), ("a", 2), ("a", 3)):
        memory.answer(CommandReply(id_, result), 0)
    assert replies == [CommandReply("a", 2)]
    assert len(memory) == 1


def test_recalled_reply() -> None:
    """If a command is sent again after a restart of the session, it gets its reply from before the restart.

    After the time for remembering replies, it is carried out again.
    """
    memory, replies = CommandMemory(SECONDS), list[CommandReply]()
    memory.recall(CommandReply("a", "r"), -5)
    assert not memory.admit(command("a", replies), 4)
    assert replies == [CommandReply("a", "r", duplicate=True)]
    assert memory.admit(command("a", replies), 5)


def test_internal_command_is_forgotten() -> None:
    """A command from the server's own code is forgotten as soon as it has its reply.

    Such code never sends a command twice, so the reply is not needed again.
    """
    memory, replies = CommandMemory(SECONDS), list[CommandReply]()
    memory.admit(command("a", replies, internal=True), 0)
    assert len(memory) == 1
    memory.answer(CommandReply("a"), 0)
    assert (len(memory), replies) == (0, [CommandReply("a")])


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=40)), max_size=30), st.integers(0, 400))
def test_memory_stays_within_its_bytes(replies: list[tuple[str, str]], room: int) -> None:
    """If the remembered replies exceed their limit of bytes, the oldest are forgotten first.

    A command that has no reply yet is kept.
    """
    memory, heard = CommandMemory(SECONDS, room), list[CommandReply]()
    memory.admit(command("pending", heard), 0)
    answered: list[str] = []
    for id_, result in replies:
        if memory.admit(command(id_, heard), 0):
            memory.answer(CommandReply(id_, result), 0)
            answered.append(id_)
        assert memory.size <= room
    known = [id_ for id_ in dict.fromkeys(reversed(answered)) if not memory.admit(command(id_, heard), 0)]
    assert known == answered[::-1][: len(known)]
    assert "pending" in memory.pending()


@pytest.mark.parametrize("expires", [False, True])
def test_forgotten_reply_frees_its_bytes(*, expires: bool) -> None:
    """If a reply is forgotten or replaced, its bytes no longer count towards the limit."""
    memory, heard = CommandMemory(SECONDS), list[CommandReply]()
    memory.recall(CommandReply("a", "r"), 0)
    size = memory.size
    memory.recall(CommandReply("a", "r"), 0)
    assert memory.size == size > 0
    if expires:
        memory.admit(command("b", heard), SECONDS)
        assert memory.size == 0
