"""A repeated command gets the first one's reply and does nothing, for as long as it is remembered."""

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
    """What the model knows of one id: who waits for its reply, or the reply and since when."""

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
def test_each_caller_gets_one_reply_and_only_a_new_command_is_admitted(steps: list[tuple[str, str, int]]) -> None:
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
def test_a_reply_is_remembered_for_its_time_from_the_reply_on_and_no_longer(later: float, new: bool) -> None:
    memory, replies = CommandMemory(SECONDS), list[CommandReply]()
    memory.admit(command("a", replies), 0)
    memory.answer(CommandReply("a", "r"), 500)
    assert memory.admit(command("a", replies), 500 + later) is new
    assert [reply.duplicate for reply in replies] == ([False] if new else [False, True])


def test_a_command_without_a_reply_is_kept_however_long_it_takes() -> None:
    memory, replies = CommandMemory(SECONDS), list[CommandReply]()
    assert memory.admit(command("a", replies), 0)
    assert not memory.admit(command("a", replies), 1000 * SECONDS)
    assert memory.pending() == ("a",)
    memory.answer(CommandReply("a", "r"), 1000 * SECONDS)
    assert replies == [CommandReply("a", "r"), CommandReply("a", "r", duplicate=True)]


def test_a_second_answer_and_one_to_nobody_are_ignored() -> None:
    memory, replies = CommandMemory(SECONDS), list[CommandReply]()
    memory.admit(command("a", replies), 0)
    for id_, result in (("b", 1), ("a", 2), ("a", 3)):
        memory.answer(CommandReply(id_, result), 0)
    assert replies == [CommandReply("a", 2)]
    assert len(memory) == 1


def test_a_recalled_reply_answers_as_one_that_was_given_here() -> None:
    memory, replies = CommandMemory(SECONDS), list[CommandReply]()
    memory.recall(CommandReply("a", "r"), -5)
    assert not memory.admit(command("a", replies), 4)
    assert replies == [CommandReply("a", "r", duplicate=True)]
    assert memory.admit(command("a", replies), 5)


def test_of_an_internal_command_nothing_is_kept_once_it_is_answered() -> None:
    memory, replies = CommandMemory(SECONDS), list[CommandReply]()
    memory.admit(command("a", replies, internal=True), 0)
    assert len(memory) == 1
    memory.answer(CommandReply("a"), 0)
    assert (len(memory), replies) == (0, [CommandReply("a")])


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=40)), max_size=30), st.integers(0, 400))
def test_replies_have_no_more_bytes_than_their_room_and_the_oldest_go_first(
    replies: list[tuple[str, str]], room: int
) -> None:
    """A command that has no reply yet stays, whatever is remembered."""
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
def test_what_is_forgotten_frees_its_bytes(*, expires: bool) -> None:
    """However it goes, by its age or for a repeated recall."""
    memory, heard = CommandMemory(SECONDS), list[CommandReply]()
    memory.recall(CommandReply("a", "r"), 0)
    size = memory.size
    memory.recall(CommandReply("a", "r"), 0)
    assert memory.size == size > 0
    if expires:
        memory.admit(command("b", heard), SECONDS)
        assert memory.size == 0
