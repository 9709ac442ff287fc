"""A real server with hostile clients on in-memory streams, in virtual time, and the judge of what it answers."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson
import trio
import trio.testing
from fuzz.scripts import USERS, Ask, Cut, Raw, Read, Say, Step, Wait
from fuzz.stories import LIMITS, Story, story_of
from fuzz.tabs import HEAD, Received, Tab, frame

from actors import EventLog, MemoryLog, Run, StreamKey, verify_log
from transport import Credentials, Forbidden, Greenroom, NotAuthenticated, TokenExpired, User
from transport.protocol import close_codes
from transport.protocol.close_codes import CLOSE_CODES
from transport.protocol.server_frame_parser import ServerMessage, parse, read_event

if TYPE_CHECKING:
    from transport import Server

_NEIGHBOUR = "neighbour"
_KNOWN = (*USERS, _NEIGHBOUR)
_LONG = 201.0
"""Time in seconds after which nothing of a user without connections is in memory."""
_NEVER_SENT = {close_codes.NO_STATUS, close_codes.ABNORMAL, close_codes.POLICY_VIOLATION}


async def _authenticate(credentials: Credentials) -> User:
    match credentials.token:
        case "expired":
            raise TokenExpired("the token has expired")
        case "forbidden":
            raise Forbidden("not you")
        case str(name) if name in _KNOWN:
            return User(name)
    raise NotAuthenticated("unknown")


async def echo(run: Run, text: str) -> str:
    await run.output(run.user)
    return text


async def wait(run: Run) -> None:
    await run.thinking(run.user)
    await trio.sleep_forever()


async def ask(run: Run) -> object:
    return await run.ask_user(run.user, timeout=60)


async def order(run: Run, item: dict[str, int]) -> int:
    return sum(item.values())


async def family(run: Run) -> None:
    async with run.subrun("below", run.user) as below:
        await below.output(run.user)
        await run.call_agent("echo", run.user)


def _app(log: EventLog) -> Greenroom:
    settings = {
        "max_frame_bytes": LIMITS.size,
        "max_fragments": LIMITS.fragments,
        "runs_per_user": 2,
        "queued_runs_per_user": 2,
        "drain_seconds": 0,
        "run_seconds": 50,
        "idle_seconds": 50,
    }
    app = Greenroom(log=log, auth=_authenticate, settings=settings)
    for agent in (echo, wait, ask, order, family):
        app.agent(agent)
    return app


def play(script: list[Step]) -> None:
    """Play a script against a server of its own, in virtual time, and judge the answers."""
    trio.run(World().run, script, clock=trio.testing.MockClock(autojump_threshold=0))


class _Errors(logging.Handler):
    """A collection of the log records at ERROR and above."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


class World:
    """One run of a script against a server."""

    def __init__(self) -> None:
        self._log = MemoryLog()
        self._tabs: list[Tab] = []
        self._slots: dict[int, Tab] = {}
        self._neighbour: Tab
        self._said = 0

    async def run(self, script: list[Step]) -> None:
        """Play the script, and judge the answers of the server."""
        errors = _Errors()
        logging.getLogger().addHandler(errors)
        try:
            async with _app(self._log).running(port=0) as server, trio.open_nursery() as nursery:
                await self._play(server, nursery, script)
                nursery.cancel_scope.cancel()
        finally:
            logging.getLogger().removeHandler(errors)
        assert not errors.texts, "\n".join(errors.texts)

    async def _play(self, server: Server, nursery: trio.Nursery, script: list[Step]) -> None:
        self._neighbour = Tab()
        await self._neighbour.open(server, nursery)
        await self._neighbour.ask(HEAD)
        await self._neighbour.send(frame(1, orjson.dumps({"type": "hello", "session": "s1", "token": _NEIGHBOUR})))
        await trio.testing.wait_all_tasks_blocked()
        baseline = trio.lowlevel.current_statistics().tasks_living
        for step in script:
            await self._step(server, nursery, step)
        await self._check_neighbour()
        # The runs end by their time limit, and queued ones get their turn and a reply.
        await trio.sleep(_LONG)
        await self._judge()
        await self._check_neighbour()
        for tab in self._tabs:
            if not tab.left:
                await tab.leave()
        await trio.sleep(_LONG)
        await trio.testing.wait_all_tasks_blocked()
        self._check_freed(server, baseline)

    # The script

    async def _step(self, server: Server, nursery: trio.Nursery, step: Step) -> None:
        if isinstance(step, Wait):
            await trio.sleep(step.seconds)
            return
        if isinstance(step, Ask):
            new = self._slots[step.tab] = Tab()
            self._tabs.append(new)
            await new.open(server, nursery)
            await new.ask(step.head, step.piece)
            return
        tab = self._slots.get(step.tab)
        if tab is None or tab.left or not tab.asked:
            return
        match step:
            case Say():
                await tab.send(step.data(tab.filled(step.text)), step.piece)
            case Raw():
                await tab.send(step.data, step.piece)
            case Cut():
                await tab.send(Say(step.tab, step.text).data(step.text)[: step.size])
                await tab.leave()
            case Read():
                await tab.read(reads=step.reads)

    async def _check_neighbour(self) -> None:
        """Check that a client which does nothing wrong is served at once."""
        self._said += 1
        id_ = f"n{self._said}"
        command = {"type": "command", "id": id_, "name": "message.send", "args": {"text": id_}}
        await self._neighbour.send(frame(1, orjson.dumps(command)))
        received = self._neighbour.received()
        assert [reply for reply in received.of_type("reply") if reply["id"] == id_ and reply["ok"]]
        assert received.events[-1]["data"] == {"text": id_}

    # The judge

    async def _judge(self) -> None:
        assert (await verify_log(self._log)).faults == ()  # G1 to G5
        stories = [(tab, story_of(bytes(tab.sent), _KNOWN)) for tab in self._tabs if tab.asked]
        for tab in self._tabs:
            if not tab.asked:
                assert tab.received().status in {0, 400, 403, 404, 405, 426} or tab.early, tab.raw
        for tab, story in stories:
            closed = any(
                other.closes_session and other.user == story.user and _session(other) == _session(story)
                for _, other in stories
            )
            received = tab.received()
            self._judge_frames(received)
            self._judge_end(tab, story, received, closed=closed)
            self._judge_replies(tab, story, received)
            await self._judge_events(tab, story, received)

    def _judge_frames(self, received: Received) -> None:
        """Check that a client can read each frame, and that the welcome comes first."""
        kinds = [text["type"] for text in received.texts]
        for text in received.texts:
            assert parse(ServerMessage(text)) is not None, text
        assert kinds[:1] in ([], ["welcome"], ["goodbye"]), kinds
        assert kinds.count("welcome") <= 1

    def _judge_end(self, tab: Tab, story: Story, received: Received, *, closed: bool) -> None:
        """Check the close code, and the goodbye before it."""
        if received.close is None:
            silent_flood = story.floods and not received.of_type("welcome")
            assert received.goodbye is None or tab.left or tab.stalled
            over = tab.left or tab.stalled or silent_flood or received.status != 101
            assert over or not tab.ended, "closed without a close frame"
            assert over or story.early or not story.faults, f"still open in spite of {story.faults}"
            assert over or story.fast or not story.wrong_tokens, f"still open in spite of {story.tokens}"
            return
        code = received.close.code
        if received.goodbye is None:
            assert story.is_echo, f"closed with {code} and without a goodbye"
            assert code in story.faults
            return
        assert (received.goodbye["code"], received.goodbye["reason"]) == (code, received.close.reason), received
        assert code in CLOSE_CODES
        assert code not in _NEVER_SENT
        assert ("retry_ms" in received.goodbye) == CLOSE_CODES[code].come_back
        assert code in story.faults | _circumstances(tab, story, closed=closed), f"closed with {received.close}"

    def _judge_replies(self, tab: Tab, story: Story, received: Received) -> None:
        """Check that each command and each history request gets its one answer."""
        replies = Counter(reply["id"] for reply in received.of_type("reply"))
        histories = Counter(page["id"] for page in received.of_type("history"))
        errors = Counter(error["code"] for error in received.of_type("error"))
        assert replies <= story.commands
        assert histories <= story.histories
        assert errors.keys() <= {"bad_history", "rate_limited"}
        assert story.fast or "rate_limited" not in errors
        for reply in received.of_type("reply"):
            assert reply["ok"] or reply["error"]["code"] != "internal", reply
        if received.status == 101 and not (tab.left or tab.ended or tab.stalled or story.faults or story.wrong_tokens):
            assert replies == story.commands
            assert story.fast or histories == story.histories
            assert story.fast or errors["bad_history"] == story.bad_histories

    async def _judge_events(self, tab: Tab, story: Story, received: Received) -> None:
        """Check that the client has got the events of its own session from its position on, and no others."""
        welcomes, events = received.of_type("welcome"), received.events
        if not welcomes:
            assert not events
            return
        (welcome,) = welcomes
        assert story.hello is not None
        assert welcome["session"] == story.hello.session
        first = _first_seq(story, welcome)
        assert [event["seq"] for event in events] == list(range(first, first + len(events)))
        assert all(read_event(event).seq for event in events)
        key = StreamKey(story.user, story.hello.session)
        lines = await self._log.read(key, first - 1, 1 << 20, 1 << 30)
        assert [orjson.loads(line) for line in lines[: len(events)]] == events  # G6
        if not (tab.left or tab.ended or tab.stalled or received.close):
            assert len(events) == len(lines)

    def _check_freed(self, server: Server, baseline: int) -> None:
        """Check that nothing is left of the clients."""
        statistics = server.endpoint.statistics()
        assert (statistics.connections, statistics.users, statistics.waiting_bytes) == (1, 1, 0), statistics
        assert {(each.user, each.session) for each in server.sessions.of()} == {(_NEIGHBOUR, "s1")}
        assert trio.lowlevel.current_statistics().tasks_living == baseline


def _session(story: Story) -> str | None:
    return None if story.hello is None else story.hello.session


def _circumstances(tab: Tab, story: Story, *, closed: bool) -> set[int]:
    """Return the close codes that do not follow from the first fault in the client's bytes."""
    codes: set[int] = set()
    if story.hello is None or tab.late:
        codes.add(close_codes.NO_HELLO)
    if story.hello is not None and story.hello.strict and story.hello.resume is not None:
        codes.add(close_codes.UNRECOVERABLE_POSITION)
    if closed:
        codes.add(close_codes.SESSION_CLOSED)
    if tab.mute or tab.stalled:
        codes.add(close_codes.HEARTBEAT_LOST)
    if tab.stalled:
        codes.add(close_codes.SLOW_CONSUMER)
    codes |= story.wrong_tokens
    if story.floods or story.requests > 100:
        codes.add(close_codes.FLOODING)
    return codes


def _first_seq(story: Story, welcome: dict[str, Any]) -> int:
    """Return the seq of the first event that must follow the welcome. Check the welcome's answer to the position."""
    assert story.hello is not None
    resume, oldest, latest = story.hello.resume, int(welcome["oldest"]), int(welcome["latest"])
    if resume is None:
        assert not welcome["recovered"]
        assert "reset" not in welcome
        return latest + 1 if story.hello.from_latest else oldest
    known = resume.epoch == welcome["epoch"]
    assert welcome["recovered"] == (known and oldest - 1 <= resume.seq <= latest)
    if welcome["recovered"]:
        return resume.seq + 1
    assert welcome["reset"] == ("epoch_changed" if not known else "ahead" if resume.seq > latest else "trimmed")
    return oldest
