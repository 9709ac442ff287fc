"""Introspection: statistics, the tree, ``find``, dead letters and logged failures."""

from __future__ import annotations

import json

import attrs
import pytest
import trio
import trio.testing
from _probes import Member, World, child, crash, supervise_below_another

from actors import (
    Backoff,
    ChildFailed,
    ChildSpec,
    EventStreamStatistics,
    Strategy,
    SupervisorSpec,
    Undelivered,
    open_system,
)


async def test_actor_statistics() -> None:
    """An actor's statistics count its tasks, children, timers, leases and watchers.

    The statistics object is read-only.
    """
    async with open_system() as system:
        world = World()
        ref = await system.spawn(Member, "a", world, name="a")
        watcher = await system.spawn(Member, "w", World())
        leave = trio.Event()

        async def take_all(member: Member) -> None:
            member.nursery.start_soon(trio.sleep_forever)
            member.context.timers.once("t", "t", 1000)
            await member.context.spawn(Member, "c", world)

            async def busy() -> None:
                with member.context.lease():
                    await leave.wait()

            member.nursery.start_soon(busy)

        async def watch(member: Member) -> None:
            member.context.watch(ref)

        await ref.ask(take_all)
        await watcher.ask(watch)
        await trio.testing.wait_all_tasks_blocked()
        seen = ref.statistics()
        assert (seen.path, seen.state, seen.handled, seen.failed, seen.restarts) == ("/a", "running", 1, 0, 0)
        assert (seen.tasks, seen.children, seen.timers, seen.leases, seen.watchers) == (3, 1, 1, 1, 1)
        leave.set()
        await trio.testing.wait_all_tasks_blocked()
        assert ref.statistics().leases == 0
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            seen.tasks = 0  # type: ignore[misc]  # the test passes a wrong value
        await ref.stop()
        over = ref.statistics()
        assert (over.state, over.tasks, over.children, over.timers, over.watchers) == ("terminated", 0, 0, 0, 0)


async def test_supervisor_statistics(autojump_clock: trio.testing.MockClock) -> None:
    """A supervisor's statistics and counts show how many children are active and how many are restarting."""
    async with open_system() as system:
        world = World()
        spec = SupervisorSpec(children=[world.member("a"), world.member("b")], backoff=Backoff(10, 10))
        supervisor = await system.supervise(spec)
        await crash(child(supervisor, "a"))
        seen = supervisor.statistics()
        assert (seen.strategy, seen.children, seen.restarting, seen.children_restarted) == ("one_for_one", 2, 1, 1)
        assert child(supervisor, "a").statistics().failed == 1
        counts = supervisor.counts()
        assert (counts.specs, counts.active, counts.restarting, counts.workers) == (2, 1, 1, 2)
        assert autojump_clock.autojump_threshold == 0


async def test_tree_lines() -> None:
    """The text of the tree has a line for every actor, with its state, its restarts and its mailbox depth."""
    async with open_system() as system:
        world = World()
        inner = SupervisorSpec(strategy=Strategy.ONE_FOR_ALL, children=[world.member("x"), world.member("y")])
        top = await system.supervise(SupervisorSpec(children=[ChildSpec("inner", inner)]), "top")
        ref = await system.spawn(Member, "a", world, name="a")
        x = system.find("/top/inner/x")
        assert x is not None
        await crash(x)
        gate = trio.Event()

        async def wait(_: Member) -> None:
            await gate.wait()

        await ref.tell(wait)
        await trio.testing.wait_all_tasks_blocked()
        await ref.tell(1)
        assert system.tree().lines() == [
            "/ running",
            "  top running",
            "    inner running",
            "      x running restarts=1",
            "      y running restarts=1",
            "  a running depth=1",
        ]
        gate.set()
        await top.stop()
        assert system.tree().lines() == ["/ running", "  a running"]


async def test_tree_for_programs() -> None:
    """The tree as JSON has an object for each actor, and as DOT a box for each actor and an arrow to each child."""
    async with open_system() as system:
        world = World()
        spec = SupervisorSpec(children=[world.member('a "quoted\\ name')])
        await system.supervise(spec, "top")
        name = '/top/a "quoted\\ name'
        shown = {"strategy": "", "state": "running", "restarts": 0, "depth": 0}
        assert json.loads(system.tree().to_json()) == [
            {"path": "/", **shown, "strategy": "one_for_one", "children": ["/top"]},
            {"path": "/top", **shown, "strategy": "one_for_one", "children": [name]},
            {"path": name, **shown, "children": []},
        ]
        assert system.tree().to_dot().splitlines() == [
            "digraph actors {",
            "  node [shape=box];",
            '  "/" [label="/ running"];',
            '  "/" -> "/top";',
            '  "/top" [label="top running"];',
            r'  "/top" -> "/top/a \"quoted\\ name";',
            r'  "/top/a \"quoted\\ name" [label="a \"quoted\\ name running"];',
            "}",
        ]


async def test_find() -> None:
    """``find`` returns the ref of the living actor with the given path. For any other path it returns None."""
    async with open_system() as system:
        ref = await system.spawn(Member, "a", World(), name="a")
        assert system.find("/a") is ref
        assert system.find("a") is ref
        assert [system.find(path) for path in ("/b", "/a/b", "/", "")] == [None] * 4
        await ref.stop()
        assert system.find("/a") is None


async def test_slow_reader_of_dead_letters() -> None:
    """If the stream of dead letters is full, it drops the oldest letters and counts them in ``missed``."""
    async with open_system() as system:
        ref = await system.spawn(Member, "a", World())
        with system.dead_letters(size=2) as letters:
            for _ in range(3):
                await ref.tell("unknown")
            await ref.tell("known")
            await ref.stop(drain=True)
            assert letters.statistics() == EventStreamStatistics(size=2, depth=2, missed=1)
            assert letters.missed == 1
            assert [(await anext(letters)).why for _ in range(2)] == [Undelivered.UNHANDLED] * 2
        assert system.statistics().dead_letters == 3


async def test_dead_letters_size_is_checked() -> None:
    """A stream of dead letters with a size below 1 is refused."""
    async with open_system() as system:
        with pytest.raises(ValueError, match="1 or more"):
            system.dead_letters(size=0)


async def test_reader_of_dead_letters_waits() -> None:
    """A reader of dead letters waits for the next one. After its stream is left, the reader gets no more."""
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Member, "a", World())
        seen: list[object] = []
        letters = system.dead_letters()

        async def read() -> None:
            async for letter in letters:
                seen.append(letter.message)
                if len(seen) == 2:
                    break

        with letters:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(2):
                await ref.ask("known")
                await ref.tell("unknown")
                await trio.testing.wait_all_tasks_blocked()
        await ref.tell("unknown")
        await ref.ask("known")
        assert seen == ["unknown", "unknown"]
        assert system.statistics().dead_letters == 3


async def test_failure_is_logged_with_its_path(caplog: pytest.LogCaptureFixture) -> None:
    """A failure is logged with the actor's path and the exception. A supervisor that gives up is logged too."""
    async with open_system() as system:
        world = World()
        spec = SupervisorSpec(children=[world.member("a")], max_restarts=0)
        top = await supervise_below_another(system, spec, "top")
        error = await crash(child(top, "a"), ValueError("the cause"))
        messages = [record.getMessage() for record in caplog.records]
        assert messages[0].startswith("/above/top/a failed: ValueError('the cause'), reference ")
        assert messages[1].startswith(
            "/above/top failed: RestartLimit('/above/top gave up: /above/top/a ended once more"
        )
        assert caplog.records[0].exc_info is not None
        assert caplog.records[0].exc_info[1] is error


async def test_crashes_are_counted_and_published(caplog: pytest.LogCaptureFixture) -> None:
    """Each exception that ends an actor is counted, and is an event with the reference of its log line."""
    async with open_system() as system:
        with system.events.subscribe(ChildFailed) as events:
            top = await system.supervise(SupervisorSpec(children=[World().member("a")]), "top")
            errors = [await crash(child(top, "a"), ValueError(str(number))) for number in range(2)]
            assert (system.statistics().crashes, system.statistics().restarts) == (2, 2)
            failed = [await anext(events) for _ in errors]
    assert [(each.path, each.incarnation, each.exception) for each in failed] == [
        ("/top/a", 1, errors[0]),
        ("/top/a", 2, errors[1]),
    ]
    for each, record in zip(failed, caplog.records, strict=True):
        assert each.reference
        assert record.getMessage().endswith(f"reference {each.reference}")


async def test_entries_of_the_tree() -> None:
    """``entry`` and ``below`` show one actor, and its children in the order of their start, one level alone."""
    async with open_system() as system:
        world = World()
        inner = SupervisorSpec(strategy=Strategy.ONE_FOR_ALL, children=[world.member("y"), world.member("x")])
        await system.supervise(SupervisorSpec(children=[ChildSpec("inner", inner)]), "top")
        await system.spawn(Member, "a", world, name="a")
        x = system.find("/top/inner/x")
        assert x is not None
        await crash(x)
        root, found = system.entry(), system.entry("/top/inner/")
        assert root is not None
        assert found is not None
        assert (root.path, root.kind, root.state, root.children) == ("/", "system", "running", 2)
        assert (found.path, found.kind, found.strategy, found.children) == (
            "/top/inner",
            "supervisor",
            "one_for_all",
            2,
        )
        assert [(each.path, each.kind) for each in system.below()] == [("/top", "supervisor"), ("/a", "actor")]
        assert [(each.path, each.restarts) for each in system.below("/top/inner")] == [
            ("/top/inner/y", 1),
            ("/top/inner/x", 1),
        ]
        assert [system.entry(path) for path in ("/b", "/a/b", "/top/inner/z")] == [None] * 3
        assert [*system.below("/a"), *system.below("/nobody")] == []
        assert system.statistics().restarts == 2


async def test_child_ends_while_the_tree_is_looked_at() -> None:
    """Other tasks may run between two steps of ``below``: a child that has ended by then is shown as terminated."""
    async with open_system() as system:
        world = World()
        supervisor = await system.supervise(SupervisorSpec(children=[world.member(name) for name in "abc"]), "top")
        steps = system.below("/top")
        seen = [next(steps)]
        await supervisor.terminate_child("b")
        await supervisor.terminate_child("c")
        supervisor.delete_child("c")
        seen += steps
        assert [(each.path, each.state) for each in seen] == [
            ("/top/a", "running"),
            ("/top/b", "terminated"),
            ("/top/c", "terminated"),
        ]
        ended = system.entry("/top/b")
        assert ended is not None
        assert (ended.state, ended.children, system.entry("/top/c")) == ("terminated", 0, None)
