"""The rules that hold whatever faults a cluster suffers, and the search for their breaches in a story. Pure.

=========  ===================================================================================================
rule       meaning
=========  ===================================================================================================
order      within an epoch a client gets each event once, without a gap, from the first one on (G1)
same       an epoch and a seq name one event for ever: for each client, and in the log
gone       an event that a client saw is in the log, unless the engine lost data and the epoch has changed
reset      a client loses its position only if the engine was restarted, and only with a new epoch
end        each client has all events of the log at the end
grammar    the log of each session follows G1 to G5, and nothing in it is open
times      the times of the events of a session do not go back
stranger   no client gets a text of another user (G6)
once       no command is done twice, no agent is called twice for a run, and an answered command is done
owner      no two claims have the same token, or the same term of a user
fence      after a session was opened with a token, the log gets no event from an earlier token
stored     an append that the engine acknowledged is in the log
=========  ===================================================================================================

After a loss of data ``gone`` holds only within the last epoch, commands can be done again, and the tokens of a user
begin anew.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import chain, pairwise
from typing import TYPE_CHECKING

import attrs
from chaos.histories import SESSION, Entry, Part, Story, fingerprint
from delivery.agents import check_grammar, count_starts
from delivery.tabs import check_owner

from actors import GrammarError, StreamKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actors import Event


@attrs.frozen
class Fault:
    """A breach of a rule."""

    rule: str
    user: str
    text: str


def judge(story: Story) -> list[Fault]:
    """Return all faults in a story. The list is empty if every rule holds."""
    rules: list[Callable[[Story], Iterator[Fault]]] = [
        _order, _same, _resets, _end, _grammar, _times, _strangers, _commands, _calls, _answers, _owners, _fences,
    ]  # fmt: skip
    return list(chain.from_iterable(rule(story) for rule in rules))


def _parts(story: Story) -> Iterator[tuple[str, str, Part]]:
    for client in story.clients:
        for part in client.parts:
            yield client.user, client.client, part


def _events(story: Story) -> Iterator[tuple[str, list[Event]]]:
    for key, stored in story.stored.items():
        yield key.user, stored.events


def _order(story: Story) -> Iterator[Fault]:
    for user, client, part in _parts(story):
        seqs = [event.seq for event in part.events]
        if seqs != list(range(1, len(seqs) + 1)):
            wrong = next(at for at, seq in enumerate(seqs, 1) if seq != at)
            yield Fault("order", user, f"{client} got {seqs[wrong - 1]} in the place of {wrong}")


def _same(story: Story) -> Iterator[Fault]:
    names: dict[tuple[str, str, int], Event] = {}
    latest: dict[str, tuple[str, int]] = {}
    for user, events in _events(story):
        epoch = story.stored[StreamKey(user, SESSION)].epoch
        latest[user] = epoch, len(events)
        names.update({(user, epoch, event.seq): event for event in events})
    for user, client, part in _parts(story):
        epoch, count = latest.get(user, ("", 0))
        for event in part.events:
            if event.seq > count and (part.epoch == epoch or not story.lost):
                yield Fault("gone", user, f"{client} saw {event.seq}, and the log ends at {count}")
                break
            # Without a loss, events stay the same also in a new epoch.
            name = user, part.epoch if story.lost else epoch, event.seq
            if names.setdefault(name, event) != event:
                yield Fault("same", user, f"{client} saw another event {event.seq} than the log or another client")
                break


def _resets(story: Story) -> Iterator[Fault]:
    for client in story.clients:
        for before, part in pairwise(client.parts):
            if not story.restarted or part.reset != "epoch_changed" or part.epoch == before.epoch:
                yield Fault("reset", client.user, f"{client.client} was reset: {part.reset}")


def _end(story: Story) -> Iterator[Fault]:
    for client in story.clients:
        stored, part = story.stored.get(StreamKey(client.user, SESSION)), client.parts[-1]
        if stored is None or (part.epoch, len(part.events)) != (stored.epoch, len(stored.lines)):
            yield Fault("end", client.user, f"{client.client} has {len(part.events)} events, the log has other ones")


def _grammar(story: Story) -> Iterator[Fault]:
    for user, events in _events(story):
        try:
            check_grammar(events)
        except (AssertionError, GrammarError) as error:
            yield Fault("grammar", user, str(error) or "an item is open, or was closed twice")


def _times(story: Story) -> Iterator[Fault]:
    for user, events in _events(story):
        for before, event in pairwise(events):
            if event.ts < before.ts:
                yield Fault("times", user, f"{event.seq} has an earlier time than the event before it")
                break


def _strangers(story: Story) -> Iterator[Fault]:
    histories = chain(_events(story), ((user, part.events) for user, _, part in _parts(story)))
    for user, events in histories:
        try:
            check_owner(events, user)
            assert {text.split()[0] for text in _texts(events)} <= {user}
        except AssertionError:
            yield Fault("stranger", user, "a text of another user")


def _texts(events: list[Event]) -> Counter[str]:
    return Counter(str(event.data["text"]) for event in events if event.type == "user_message")


def _commands(story: Story) -> Iterator[Fault]:
    for user, events in _events(story):
        for name, count in (count_starts(events) + _texts(events)).items():
            if count > 1:
                yield Fault("once", user, f"{name} was done {count} times")


def _calls(story: Story) -> Iterator[Fault]:
    calls = Counter((each.user, each.run_id) for each in chain(*story.records) if each.kind == "call")
    begun = {(user, event.run_id) for user, events in _events(story) for event in events}
    for (user, run_id), count in calls.items():
        if count > 1:
            yield Fault("once", user, f"the agent of {run_id} was called {count} times")
        if (user, run_id) not in begun and not story.lost:
            yield Fault("once", user, f"the agent of {run_id} was called, and the log has no start of it")


def _answers(story: Story) -> Iterator[Fault]:
    if story.lost:
        return
    done: defaultdict[str, set[object]] = defaultdict(set)
    for user, events in _events(story):
        done[user] = {*count_starts(events), *_texts(events)}
    for client in story.clients:
        for name, outcome in {**client.starts, **client.messages}.items():
            if outcome == "ok" and name not in done[client.user]:
                yield Fault("once", client.user, f"{name} was answered, and not done")


def _owners(story: Story) -> Iterator[Fault]:
    claims = [each for each in chain(*story.records) if each.kind == "claim"]
    tokens = Counter((each.user, each.token if story.lost else each.term) for each in claims)
    for (user, token), count in tokens.items():
        if count > 1:
            yield Fault("owner", user, f"{count} claims with the token or term {token}")


def _fences(story: Story) -> Iterator[Fault]:
    """Find events that an earlier token wrote after a later one had opened the session, and lost appends.

    After a loss of data tokens begin anew, and their order says nothing.
    """
    entries: defaultdict[str, list[Entry]] = defaultdict(list)
    for each in chain(*story.records) if not story.lost else ():
        entries[each.user].append(each)
    for key, stored in story.stored.items():
        prints = [fingerprint(line) for line in stored.lines]
        yield from _fences_of(key.user, prints, entries[key.user])


def _fences_of(user: str, prints: list[str], entries: list[Entry]) -> Iterator[Fault]:
    writers: dict[int, int] = {}
    for each in entries:
        if each.kind in {"append", "stored"}:
            same = tuple(prints[each.first - 1 : each.first - 1 + len(each.lines)]) == each.lines
            if same and each.token:
                writers.update({each.first + at: each.term for at in range(len(each.lines))})
            if each.kind == "stored" and not same:
                yield Fault("stored", user, f"{each.token} got an acknowledgement for {each.first}, which is not there")
    for each in entries:
        if each.kind == "open":
            late = [seq for seq, term in writers.items() if seq > each.first and term < each.term]
            if late:
                yield Fault(
                    "fence", user, f"{late} came from earlier tokens than {each.token}, which began at {each.first}"
                )
