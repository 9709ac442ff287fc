"""Type checkers accept right programs with typed actors, and refuse each wrong line in them.

Each program is checked by mypy and by pyright, both strict: one process of each checks all programs. A line that ends
with ``# refused`` must have an error, and no other line may have one.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

HEAD = """\
from __future__ import annotations

import functools
from typing import Any, assert_type

import trio

from actors import (
    LATER, UNHANDLED, Actor, ActorRef, ActorSystem, ChildSpec, Later, Reply, ReplyParts, Request, SupervisorRef,
    SupervisorSpec, Terminated, Unhandled, gather, open_system, router,
)


class Get(Request[int]):
    pass


class Name(Request[str]):
    pass


class Other(Request[bytes]):
    pass


class Doubler(Actor[int, str]):
    def __init__(self, times: int = 2) -> None:
        self.times = times

    async def receive(self, message: int) -> str | Unhandled:
        return str(message * self.times) if message else UNHANDLED


class Counter(Actor[Get | Name | str]):
    async def receive(self, message: Get | Name | str) -> object:
        return 1 if isinstance(message, Get) else "counter"


class Plain(Actor):
    async def receive(self, message: object) -> object:
        return message
"""
"""The beginning of each program."""

PROGRAMS: dict[str, str] = {
    "a handle takes the messages of its actor and returns its replies": """
async def main(ref: ActorRef[int, str]) -> None:
    await ref.tell(3)
    ref.tell_nowait(3)
    assert_type(await ref.ask(3), str)
    assert_type(await ref.ask(3, timeout=1), str)
    await ref.tell("3")  # refused
    ref.tell_nowait("3")  # refused
    await ref.ask("3")  # refused
    await ref.ask(Get())  # refused
""",
    "a request has the type of its own reply": """
async def main(ref: ActorRef[Get | Name | str]) -> None:
    assert_type(await ref.ask(Get()), int)
    assert_type(await ref.ask(Name(), 1), str)
    assert_type(await ref.ask("other"), object)
    await ref.tell(Get())
    await ref.ask(Other())  # refused
    text: str = await ref.ask(Get())  # refused
""",
    "spawn returns the handle of the actor that it starts, and checks the arguments of the factory": """
async def main() -> None:
    async with open_system() as system:
        ref = await system.spawn(Doubler, 3, name="doubler")
        assert_type(ref, ActorRef[int, str])
        assert_type(await system.spawn(Doubler), ActorRef[int, str])
        assert_type(await system.spawn(lambda: Doubler(3)), ActorRef[int, str])
        assert_type(await system.spawn(Plain), ActorRef[Any, object])
        assert_type(await (await system.spawn(Counter)).ask(Get()), int)
        await system.spawn(Doubler, "3")  # refused
        await system.spawn(str)  # refused
""",
    "spawn has options of its own, and passes arguments by name": """
from actors import Backoff, PoolRef, Restart, pool

class Unit(Actor[int, bytes]):
    def __init__(self, number: int, *, unit: str, name: str = "") -> None:
        self.number, self.unit, self.name = number, unit, name

async def main(system: ActorSystem) -> None:
    options = {"unit": "tons", "name": "Ann"}
    assert_type(await system.spawn(Unit, 3, kwargs=options, name="u"), ActorRef[int, bytes])
    assert_type(await system.spawn(functools.partial(Unit, 3, unit="t"), name="u"), ActorRef[int, bytes])
    assert_type(await system.spawn(lambda: Unit(3, unit="t"), name="u"), ActorRef[int, bytes])
    await system.spawn(Doubler, restart=Restart.PERMANENT, max_restarts=9, max_seconds=60, backoff=Backoff(1, 30))
    await system.spawn(functools.partial(Unit, 3, unit=3))  # refused
    await system.spawn(functools.partial(Unit, 3, unite="t"))  # refused
    await system.spawn(Unit, 3, unit="t")  # refused
    await system.spawn(Unit, 3)  # refused
    await system.spawn(Unit, 3, kwargs=3)  # refused
    await system.spawn(Doubler, max_restarts="9")  # refused
    await system.spawn(Doubler, backoff=3)  # refused
    open_system(max_restarts=9, max_seconds=60, backoff=Backoff(1, 30))
    open_system(max_restarts="9")  # refused

async def pools(system: ActorSystem) -> None:
    workers = await system.spawn(pool(Doubler, 2), name="workers")
    assert_type(workers, PoolRef[int, str])
    assert_type(workers.members(), tuple[ActorRef[int, str], ...])
    assert_type(await workers.ask(3), str)
    await workers.broadcast("3")  # refused
    (await system.spawn(Doubler)).members()  # refused
""",
    "a group on demand has children of one type": """
from actors import OnDemandRef, on_demand

class Room(Actor[str, bytes]):
    def __init__(self, name: str) -> None:
        self.name = name

async def main(system: ActorSystem) -> None:
    rooms = await system.spawn(on_demand(Room, max_children=9), name="rooms")
    assert_type(rooms, OnDemandRef[str, bytes])
    room = await rooms.get_or_spawn("lobby")
    assert_type(room, ActorRef[str, bytes])
    assert_type(await room.ask("hello"), bytes)
    SupervisorSpec("one_for_one", [ChildSpec("rooms", on_demand(Room))])
    await rooms.get_or_spawn(3)  # refused
    await rooms.tell("a group takes no message")  # refused
    on_demand(Doubler)  # refused
    on_demand(Room, max_children="9")  # refused
""",
    "a spec of a class checks its arguments": """
async def main(supervisor: SupervisorRef) -> None:
    spec = ChildSpec.of(Doubler, 3, id="d", restart="transient", max_restarts=9)
    assert_type(spec, ChildSpec[int, str])
    assert_type(await supervisor.start_child(ChildSpec.of(Doubler, kwargs={"times": 3})), ActorRef[int, str])
    SupervisorSpec("one_for_one", [spec, ChildSpec.of(Counter), ChildSpec.of(SupervisorSpec(), id="top")])
    ChildSpec.of(Doubler, "3")  # refused
    ChildSpec.of(Doubler, 3, name="d")  # refused
    ChildSpec.of(Doubler, shutdown="3")  # refused
    ChildSpec.of(str)  # refused
""",
    "an actor without types takes everything": """
def take(ref: ActorRef) -> None:
    pass

async def main(system: ActorSystem, typed: ActorRef[int, str]) -> None:
    ref = await system.spawn(Plain)
    await ref.tell("anything")
    assert_type(await ref.ask("anything"), object)
    assert_type(await ref.ask(Get()), int)
    take(ref)
    take(typed)
    take(await system.supervise(SupervisorSpec()))
    factories: list[type[Actor]] = [Plain, Doubler, Counter]
    take(3)  # refused
""",
    "a handle for more messages is one for fewer, with wider replies": """
async def main(ref: ActorRef[int | str, bool]) -> None:
    fewer: ActorRef[int, bool] = ref
    wider: ActorRef[int, int] = ref
    only_messages: ActorRef[int] = ref
    more: ActorRef[int | bytes, bool] = ref  # refused
    other: ActorRef[int, str] = ref  # refused
""",
    "receive takes the messages of the actor, and returns its replies": """
class Right(Actor[Get | Terminated, int]):
    async def receive(self, message: Get | Terminated) -> int | Later | Unhandled:
        match message:
            case Get():
                return 3
            case Terminated(ref=ref):
                assert_type(ref, ActorRef[Any, object])
                return UNHANDLED

class WrongMessage(Actor[int, int]):
    async def receive(self, message: str) -> int:  # refused
        return 3

class WrongReply(Actor[int, int]):
    async def receive(self, message: int) -> str:  # refused
        return "3"

class TakesMore(Actor[int, int]):
    async def receive(self, message: int | str) -> int:
        return 3
""",
    "what an actor uses has its types": """
class Typed(Actor[int, str]):
    async def receive(self, message: int) -> str | Later | Unhandled:
        assert_type(self.ref, ActorRef[int, str])
        self.context.timers.once("key", 3, 1)
        self.context.timers.every("key", "3", 1)  # refused
        other = await self.context.spawn(Counter)
        self.context.timers.once("key", Get(), 1, to=other)
        self.context.timers.every("key", 3, 1, to=other)  # refused
        child = await self.context.spawn(Doubler, 3)
        assert_type(child, ActorRef[int, str])
        await self.context.spawn(Doubler, "3")  # refused
        reply = self.context.defer()
        assert_type(reply, Reply[str])
        reply.send("3")
        reply.send(3)  # refused
        if message:
            return reply
        if child.alive:
            return LATER
        return self.context.stash()
""",
    "a router has the types of its members": """
async def main(system: ActorSystem, first: ActorRef[int, str], second: ActorRef[int, str]) -> None:
    ref = await system.spawn(router([first, second], routing="random"))
    await ref.tell(3)
    assert_type(await ref.ask(3), str)
    await ref.tell("3")  # refused
""",
    "a child spec carries the types to the supervisor": """
async def main(supervisor: SupervisorRef) -> None:
    spec = ChildSpec("doubler", Doubler)
    assert_type(await supervisor.start_child(spec), ActorRef[int, str])
    assert_type(await supervisor.start_child(ChildSpec("d", functools.partial(Doubler, 3))), ActorRef[int, str])
    specs: list[ChildSpec] = [spec, ChildSpec("counter", Counter), ChildSpec("top", SupervisorSpec())]
    SupervisorSpec("one_for_one", [*specs, ChildSpec("plain", lambda: Plain())])
    ChildSpec("text", str)  # refused
    await supervisor.tell("a supervisor takes no message")  # refused
""",
    "a reply in parts has parts of the type of the reply": """
async def main(ref: ActorRef[Get | str, bytes]) -> None:
    with ref.ask_stream(Get(), buffer=3) as parts:
        async for part in parts:
            assert_type(part, int)
    with ref.ask_stream("text", timeout=1) as others:
        assert_type(others, ReplyParts[bytes])
    ref.ask_stream(Name())  # refused
    ref.ask_stream(3)  # refused

class Source(Actor[Get, int]):
    async def receive(self, message: Get) -> int | Later:
        with self.context.stream() as stream:
            await stream.send(3)
            await stream.send("3")  # refused
        return stream
""",
    "a message is passed on to an actor that takes it": """
class Relay(Actor[Get | Name, int | str]):
    def __init__(self, gets: ActorRef[Get, int], others: ActorRef[Other, bytes]) -> None:
        self.gets, self.others = gets, others

    async def receive(self, message: Get | Name) -> Later:
        if isinstance(message, Name):
            return await self.context.forward(self.others, Other())
        await self.context.forward(self.gets, Other())  # refused
        await self.context.forward(self.gets, message)
        return await self.context.forward(self.gets)
""",
    "many asks have the replies of their actors, or of their requests": """
async def main(doubler: ActorRef[int, str], counter: ActorRef[Get | Name | str], refs: list[ActorRef[Get]]) -> None:
    assert_type(await gather([(doubler, 1), (doubler, 2)]), list[str])
    assert_type(await gather([(ref, Get()) for ref in refs], timeout=1), list[int])
    assert_type(await gather([(counter, Get()), (counter, Get())]), list[int])
    await gather([(doubler, "1"), (doubler, "2")])  # refused
    await gather([(ref, Name()) for ref in refs])  # refused
""",
    "calls can be passed on to tasks": """
async def main(ref: ActorRef[int, str], nursery: trio.Nursery) -> None:
    nursery.start_soon(ref.tell, 3)
    nursery.start_soon(ref.ask, 3)
    nursery.start_soon(ref.ask, 3, 1)
    nursery.start_soon(ref.tell, "3")  # refused
""",
}
"""The programs, by the rule that each of them shows."""

MARK = "# refused"


@pytest.fixture(scope="module", name="files")
def _files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the file of each program."""
    folder = tmp_path_factory.mktemp("typed")
    files = {rule: folder / f"program_{number}.py" for number, rule in enumerate(PROGRAMS)}
    for rule, file in files.items():
        file.write_text(HEAD + PROGRAMS[rule])
    return files


@cache
def run(folder: Path, *command: str) -> str:
    """Run a checker over the folder, and return its output. It has errors to report, so its exit code is 1."""
    done = subprocess.run(
        [sys.executable, "-m", *command, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def lines_refused_by_mypy(folder: Path) -> set[tuple[str, int]]:
    """Return the file names and lines of mypy's errors. It reads what it knows of the packages from the cache."""
    found = re.findall(r"(program_\d+\.py):(\d+): error: ", run(folder, "mypy", "--no-pretty"))
    return {(name, int(line)) for name, line in found}


def lines_refused_by_pyright(folder: Path) -> set[tuple[str, int]]:
    """Return the file names and lines of pyright's errors."""
    settings = {"include": ["."], "typeCheckingMode": "strict", "extraPaths": [str(ROOT)], "reportUnusedImport": False}
    # What a refused line cannot be is of no interest, nor is that the programs do not use all that they make.
    silent = ["reportUnusedVariable", "reportUnusedClass", "reportUnknownArgumentType", "reportUnknownLambdaType"]
    settings |= dict.fromkeys(silent, False)
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    report = json.loads(run(folder, "pyright", "--outputjson", "--pythonpath", sys.executable, "-p"))
    errors = [each for each in report["generalDiagnostics"] if each["severity"] == "error"]
    return {(Path(each["file"]).name, each["range"]["start"]["line"] + 1) for each in errors}


@pytest.mark.parametrize("refused", [lines_refused_by_mypy, lines_refused_by_pyright], ids=["mypy", "pyright"])
@pytest.mark.parametrize("rule", PROGRAMS)
def test_typed_program(rule: str, refused: object, files: dict[str, Path]) -> None:
    """The checker refuses every marked line of the program, and no other line."""
    file = files[rule]
    assert callable(refused)
    found = {line for name, line in refused(file.parent) if name == file.name}
    lines = file.read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith(MARK)}
    wrong = {number: lines[number - 1] for number in found ^ marked}
    assert not wrong
