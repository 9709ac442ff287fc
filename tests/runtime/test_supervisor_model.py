"""Random supervision trees, events and task orders, compared with a model of OTP's rules in plain Python."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import attrs
import trio
import trio.testing
from _probes import World, supervise_below_another
from _scale import scaled
from _supervisor_model import WINDOW, History, Node
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from actors import (
    Actor,
    ActorRef,
    AutoShutdown,
    ChildSpec,
    Restart,
    Strategy,
    SupervisorRef,
    SupervisorSpec,
    Terminated,
    open_system,
)

if TYPE_CHECKING:
    from actors import ActorSystem, TreeNode

ENDINGS = ["normal", "shutdown", "crash", "kill", "terminate", "restart", "delete"]
PICK = st.integers(0, 50)
ABOVE = "/above"
"""Path of the actor above the tree. Without such an actor, the end of the tree's root would end the system."""


@st.composite
def nodes(draw: st.DrawFn, depth: int) -> Node:
    """Draw a random node: a leaf, or a supervisor with at most ``depth`` levels."""
    restart = draw(st.sampled_from(Restart))
    if depth == 0 or (depth < 3 and draw(st.booleans())):
        return Node(restart)
    specs = draw(st.lists(nodes(depth - 1), max_size=4))
    automatic = draw(st.sampled_from(AutoShutdown))
    for spec in specs:
        spec.significant = (
            automatic is not AutoShutdown.NEVER and spec.restart is not Restart.PERMANENT and draw(st.booleans())
        )
    return Node(restart, draw(st.sampled_from(Strategy)), draw(st.integers(0, 3)), automatic, specs=specs)


@attrs.frozen
class Step:
    """One action on the real tree, and the state of the model after it."""

    do: str
    path: str
    value: Any
    alive: bool
    starts: dict[str, int]
    told: list[str]
    picture: list[tuple[str, bool]]
    granted: dict[str, int]


class Trees(RuleBasedStateMachine):
    """A Hypothesis state machine that acts on the model.

    ``teardown`` repeats its steps on a real tree and compares the two.
    """

    @initialize(root=nodes(3), seed=st.random_module())
    def begin(self, root: Node, seed: object) -> None:
        # Trio uses the seed too: it decides the order of tasks that are ready at the same time.
        self.root, self.steps, self.added = root, list[Step](), 0
        root.name, root.restart = "root", Restart.TEMPORARY
        name_children(root)
        root.start()
        self.note("begin", "/root")

    @rule(ending=st.sampled_from(ENDINGS), pick=PICK)
    def end(self, ending: str, pick: int) -> None:
        below = [node for node in self.root.nodes() if node.parent is not None]
        if not self.root.alive or not below:
            return
        node = below[pick % len(below)]
        path, parent = node.path, node.parent
        assert parent is not None
        if (node.body is None) != (ending in {"restart", "delete"}) or (node.strategy and ending == "crash"):
            return
        if ending == "restart":
            if not node.start():
                node.body = None
        elif ending == "delete":
            parent.children.remove(node)
        elif ending == "terminate":
            node.stop()
            parent.drop_entry(node)
        elif node.strategy is not None and ending in {"normal", "shutdown"}:
            return
        else:
            node.end(abnormal=ending in {"crash", "kill"})
        self.note(ending, path)

    @rule(pick=PICK, restart=st.sampled_from(Restart))
    def spawn(self, pick: int, restart: Restart) -> None:
        above = [node for node in self.root.nodes() if node.strategy and node.alive]
        if not above:
            return
        parent = above[pick % len(above)]
        self.added += 1
        child = Node(restart, name=f"added{self.added}", parent=parent, history=parent.history)
        parent.children.append(child)
        child.start()
        self.note("spawn", child.path, restart)

    @rule(pick=PICK)
    def watch(self, pick: int) -> None:
        living = [node for node in self.root.nodes() if node.alive]
        if living:
            node = living[pick % len(living)]
            assert node.body is not None
            node.history.watched.add(node.body)
            self.note("watch", node.path)

    @rule(pick=PICK)
    def ask(self, pick: int) -> None:
        leaves = [node for node in self.root.nodes() if node.alive and node.strategy is None]
        if leaves:
            self.note("ask", leaves[pick % len(leaves)].path)

    @precondition(lambda self: self.root.strategy is not None)
    @rule(pick=PICK, times=st.integers(1, 3))
    def break_starts(self, pick: int, times: int) -> None:
        leaves = [node for node in self.root.nodes() if node.strategy is None]
        if leaves:
            path = leaves[pick % len(leaves)].path
            self.root.history.failing[path] = times
            self.note("break", path, times)

    @rule(seconds=st.sampled_from([0.5, 2.5, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.root.history.now += seconds
        self.note("sleep", "", seconds)

    def note(self, do: str, path: str, value: object = None) -> None:
        history, root = self.root.history, self.root
        granted = {node.path: node.granted for node in root.nodes() if node.strategy and node.alive}
        starts, told = dict(history.starts), sorted(history.told)
        self.steps.append(Step(do, path, value, root.alive, starts, told, root.lines() if root.alive else [], granted))

    def teardown(self) -> None:
        if not hasattr(self, "steps"):
            return
        logging.disable()
        try:
            clock = trio.testing.MockClock()
            trio.run(compare, spec_of(self.root, world := World(), "/root"), world, self.steps, clock, clock=clock)
        finally:
            logging.disable(logging.NOTSET)


Trees.TestCase.settings = settings(max_examples=scaled(60, 1500), stateful_step_count=scaled(20, 40), deadline=None)
test_supervision_tree_equals_the_model = Trees.TestCase


def name_children(node: Node) -> None:
    """Name the children of this node and below."""
    for number, child in enumerate(node.specs):
        child.name = f"n{number}"
        name_children(child)


def spec_of(node: Node, world: World, path: str) -> SupervisorSpec:
    """Return the real spec of a supervisor in the model."""
    children: list[ChildSpec] = []
    for child in node.specs:
        below = f"{path}/{child.name}"
        spec = leaf_spec(world, below, child.restart)
        if child.strategy is not None:
            spec = ChildSpec(child.name, spec_of(child, world, below), child.restart)
        children.append(attrs.evolve(spec, significant=child.significant))
    assert node.strategy is not None
    return SupervisorSpec(
        node.strategy,
        children,
        max_restarts=node.max_restarts,
        max_seconds=WINDOW,
        auto_shutdown=node.auto_shutdown,
    )


def leaf_spec(world: World, path: str, restart: Restart) -> ChildSpec:
    """Return the real spec of a leaf in the model."""
    return attrs.evolve(world.member(path.replace("/", "."), restart), id=path.rpartition("/")[2])


class Watcher(Actor):
    """An actor that watches the refs that it receives as messages, and records the paths of the ended ones."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    async def receive(self, message: object) -> object:
        if isinstance(message, ActorRef):
            self.context.watch(message)
        elif isinstance(message, Terminated):
            self.told.append(message.ref.path.removeprefix(ABOVE))
        return None


async def compare(spec: SupervisorSpec, world: World, steps: list[Step], clock: trio.testing.MockClock) -> None:
    """Repeat the steps on a real tree, and compare the tree with the model after each step."""
    async with open_system() as system:
        told: list[str] = []
        watcher = await system.spawn(Watcher, told)
        before = trio.lowlevel.current_statistics().tasks_living
        supervisor = await supervise_below_another(system, spec, "root")
        for step in steps:
            await do_step(system, world, watcher, clock, step)
            await trio.testing.wait_all_tasks_blocked()
            assert supervisor.alive == step.alive, step
            assert {leaf.replace(".", "/"): count for leaf, count in world.starts.items()} == step.starts, step
            assert sorted(told) == step.told, step
            if step.alive:
                assert picture_of(system) == step.picture, step
            for path, granted in step.granted.items():
                ref = system.find(ABOVE + path)
                assert isinstance(ref, SupervisorRef)
                assert ref.statistics().children_restarted == granted, (path, step)
        await supervisor.stop()
        assert system.statistics().actors == 2
        assert trio.lowlevel.current_statistics().tasks_living == before + 1


async def do_step(
    system: ActorSystem, world: World, watcher: ActorRef, clock: trio.testing.MockClock, step: Step
) -> None:
    """Take one step on the real tree."""
    above, _, own = step.path.rpartition("/")
    ref, parent = system.find(ABOVE + step.path), system.find(ABOVE + above)
    match step.do:
        case "sleep":
            clock.jump(step.value)
        case "break":
            world.fail_start(step.path.replace("/", "."), step.value)
        case "begin":
            pass
        case "restart" | "terminate" | "delete" | "spawn":
            assert isinstance(parent, SupervisorRef)
            await call_supervisor(parent, own, world, step)
        case "kill":
            assert ref is not None
            ref.kill()
        case "watch":
            await watcher.tell(ref)
        case "ask":
            assert ref is not None
            assert await ref.ask("up") == "up"
        case ending:
            assert ref is not None
            await ref.tell(ValueError("crash") if ending == "crash" else ending)


async def call_supervisor(parent: SupervisorRef, own: str, world: World, step: Step) -> None:
    """Take one step that is a call of a supervisor."""
    match step.do:
        case "terminate":
            await parent.terminate_child(own)
        case "delete":
            parent.delete_child(own)
        case "spawn":
            await parent.start_child(leaf_spec(world, step.path, step.value))
        case _:
            try:
                await parent.restart_child(own)
            except OSError:
                assert not dict(step.picture)[step.path]


def picture_of(system: ActorSystem) -> list[tuple[str, bool]]:
    """Return the paths of all actors below the tree's parent, each with whether it runs."""

    def lines(node: TreeNode) -> list[tuple[str, bool]]:
        return [
            (node.path.removeprefix(ABOVE), node.state == "running"),
            *(line for child in node.children for line in lines(child)),
        ]

    above = next(node for node in system.tree().children if node.path == ABOVE)
    return [line for node in above.children for line in lines(node)]


def test_model_restarts_a_group() -> None:
    """The model itself can restart a group: the failed member and the later ones start again, but no temporary member.

    If the model could not do this, a comparison with it would prove nothing.
    """
    leaves = [Node(Restart.PERMANENT), Node(Restart.TEMPORARY), Node(Restart.TRANSIENT)]
    root = Node(Restart.TEMPORARY, Strategy.REST_FOR_ONE, 1, specs=leaves, name="root", history=History())
    name_children(root)
    root.start()
    leaves[0].end(abnormal=False)
    assert root.history.starts == {"/root/n0": 2, "/root/n1": 1, "/root/n2": 2}
    leaves[2].end(abnormal=True)
    assert not root.alive


@given(st.random_module())
@settings(max_examples=5)
def test_order_of_tasks_is_random(seed: object) -> None:
    """Trio runs tasks in another random order in each run, even under Hypothesis, which fixes random numbers."""

    async def order() -> list[int]:
        seen: list[int] = []

        async def note(number: int) -> None:
            await trio.lowlevel.checkpoint()
            seen.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(note, number)
        return seen

    # Hypothesis seeds trio's generator once, and it is not reset between the runs: they differ.
    assert trio.run(order) != trio.run(order), seed
