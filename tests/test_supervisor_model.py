"""Random supervision trees, whose members end in random ways, against a model of OTP's rules in plain Python."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import trio
import trio.testing
from _probes import World
from hypothesis import given
from hypothesis import strategies as st

from actors import ChildSpec, Restart, Strategy, SupervisorRef, SupervisorSpec, open_system

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors import ActorSystem

STRATEGIES = [Strategy.ONE_FOR_ONE, Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE]
ENDINGS = ["normal", "shutdown", "crash", "kill", "terminate", "restart"]


@attrs.define(eq=False)
class Node:
    """The model of one actor: a leaf, or a supervisor with the children of its spec."""

    name: str
    restart: Restart
    strategy: Strategy | None = None
    max_restarts: int = 0
    specs: list[Node] = attrs.field(factory=list)
    children: list[Node] = attrs.field(factory=list)
    parent: Node | None = None
    alive: bool = False
    used: int = 0

    @property
    def path(self) -> str:
        return f"{self.parent.path if self.parent else ''}/{self.name}"

    def start(self, starts: Counter[str]) -> None:
        self.alive, self.used = True, 0
        if self.strategy is None:
            starts[self.path] += 1
        self.children = list(self.specs)
        for child in self.children:
            child.parent = self
            child.start(starts)

    def stop(self) -> None:
        self.alive = False
        for child in self.children:
            child.stop()
        self.children = []

    def end(self, starts: Counter[str], *, abnormal: bool) -> None:
        """This one ended by itself: do what its parent does then."""
        self.stop()
        parent = self.parent
        if parent is None:
            return
        if self.restart is Restart.TEMPORARY:
            parent.children.remove(self)
        elif self.restart is Restart.PERMANENT or abnormal:
            parent.used += 1
            if parent.used > parent.max_restarts:
                parent.end(starts, abnormal=True)
            else:
                parent.restart_group(self, starts)

    def restart_group(self, failed: Node, starts: Counter[str]) -> None:
        first = {Strategy.ONE_FOR_ALL: 0}.get(self.strategy or Strategy.ONE_FOR_ONE, self.children.index(failed))
        group = [failed] if self.strategy is Strategy.ONE_FOR_ONE else self.children[first:]
        for child in group:
            child.stop()
            if child.restart is Restart.TEMPORARY:
                self.children.remove(child)
        for child in group:
            if child in self.children:
                child.start(starts)

    def leaves(self) -> Iterator[Node]:
        if self.strategy is None:
            yield self
        for child in self.children:
            yield from child.leaves()

    def lines(self) -> list[tuple[str, bool]]:
        return [(self.path, self.alive), *(line for child in self.children for line in child.lines())]


LEAVES = st.builds(Node, st.just("x"), st.sampled_from(Restart))


def supervisors(below: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    return st.builds(
        Node,
        st.just("x"),
        st.sampled_from(Restart),
        st.sampled_from(STRATEGIES),
        st.integers(0, 3),
        st.lists(below, max_size=4),
    )


TREES = supervisors(LEAVES | supervisors(LEAVES | supervisors(LEAVES)))


def spec_of(node: Node, world: World, above: str) -> SupervisorSpec:
    """The real spec of a model's supervisor; the names are given here, in the model too."""
    children: list[ChildSpec] = []
    for number, child in enumerate(node.specs):
        child.name = f"n{number}"
        path = f"{above}/{child.name}"
        if child.strategy is None:
            children.append(attrs.evolve(world.member(path.replace("/", "."), child.restart), id=child.name))
        else:
            children.append(ChildSpec(child.name, spec_of(child, world, path), child.restart))
    return SupervisorSpec(strategy=node.strategy, children=children, max_restarts=node.max_restarts)  # type: ignore[arg-type]  # a supervisor has one


async def act(system: ActorSystem, leaf: Node, ending: str) -> None:
    ref = system.find(leaf.path)
    parent = system.find(leaf.path.rpartition("/")[0])
    assert isinstance(parent, SupervisorRef)
    if ending == "terminate":
        await parent.terminate_child(leaf.name)
    elif ending == "restart":
        await parent.restart_child(leaf.name)
    else:
        assert ref is not None
        if ending == "kill":
            ref.kill()
        else:
            await ref.tell(ValueError("crash") if ending == "crash" else ending)
    await trio.testing.wait_all_tasks_blocked()


def expect(leaf: Node, ending: str, starts: Counter[str]) -> bool:
    """Do the same to the model; False when it cannot be done."""
    if (ending == "restart") == leaf.alive:
        return False
    if ending == "restart":
        leaf.start(starts)
    elif ending == "terminate":
        leaf.stop()
        if leaf.restart is Restart.TEMPORARY and leaf.parent is not None:
            leaf.parent.children.remove(leaf)
    else:
        leaf.end(starts, abnormal=ending in {"crash", "kill"})
    return True


async def compare(root: Node, steps: list[tuple[int, str]]) -> None:
    world, starts = World(), Counter[str]()
    root.name, root.restart, root.parent = "root", Restart.TEMPORARY, None
    async with open_system() as system:
        before = trio.lowlevel.current_statistics().tasks_living
        supervisor = await system.supervise(spec_of(root, world, "/root"), "root")
        root.start(starts)
        for number, ending in steps:
            leaves = list(root.leaves())
            if not root.alive or not leaves:
                break
            leaf = leaves[number % len(leaves)]
            # The model forgets where a leaf was once its tree is gone.
            path, name, parent = leaf.path, leaf.name, leaf.parent
            if not expect(leaf, ending, starts):
                continue
            await act(system, attrs.evolve(leaf, name=name, parent=parent), ending)
            assert supervisor.alive == root.alive, (path, ending)
            assert {name.replace(".", "/"): count for name, count in world.starts.items()} == starts
            if root.alive:
                assert picture(system) == root.lines()
        await supervisor.stop()
        assert system.statistics().actors == 0
        assert trio.lowlevel.current_statistics().tasks_living == before


def picture(system: ActorSystem) -> list[tuple[str, bool]]:
    def lines(node: Any) -> list[tuple[str, bool]]:
        below = [line for child in node.children for line in lines(child)]
        return [(node.path, node.state == "running"), *below]

    return [line for node in system.tree().children for line in lines(node)]


@given(TREES, st.lists(st.tuples(st.integers(0, 20), st.sampled_from(ENDINGS)), max_size=12))
def test_a_tree_of_supervisors_does_what_the_model_does(root: Node, steps: list[tuple[int, str]]) -> None:
    logging.disable()
    try:
        trio.run(compare, root, steps, clock=trio.testing.MockClock())
    finally:
        logging.disable(logging.NOTSET)


def test_the_model_itself_restarts_a_group() -> None:
    """A model that never restarted anything would agree with a runtime that does not either."""
    leaves = [Node("a", Restart.PERMANENT), Node("b", Restart.TEMPORARY), Node("c", Restart.TRANSIENT)]
    root, starts = Node("root", Restart.TEMPORARY, Strategy.REST_FOR_ONE, 1, leaves), Counter[str]()
    root.start(starts)
    leaves[0].end(starts, abnormal=False)
    assert starts == {"/root/a": 2, "/root/b": 1, "/root/c": 2}
    leaves[2].end(starts, abnormal=True)
    assert not root.alive
