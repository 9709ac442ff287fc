"""Pages with Vercel AI SDK 6: its own ``DefaultChatTransport`` in Node, over real sockets, at both kinds of servers."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from adapters._aisdk_node import SERVERS, AiSdkNode, RequestFailed, served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _pytest.tmpdir import TempPathFactory

Chunk = dict[str, Any]


class Chat:
    """A chat of a page."""

    numbers = count(1)

    def __init__(self, node: AiSdkNode, base: str, agent: str) -> None:
        self.node = node
        self.api = f"{base}/{agent}"
        self.id = f"chat-{next(self.numbers)}"
        self.names = count(1)

    def send(self, text: str = "tea", message: str = "m1", **more: Any) -> str:
        """Send a message. Return the name of the stream with the answer."""
        messages = [{"id": message, "role": "user", "parts": [{"type": "text", "text": text}]}]
        name = f"{self.id}.{next(self.names)}"
        self.node.do("send", name=name, api=self.api, chat=self.id, **{"messages": messages, **more})
        return name

    def resume(self) -> str | None:
        """Reconnect to the answer in progress. Return the name of its stream. Return None if there is none."""
        name = f"{self.id}.{next(self.names)}"
        return name if self.node.do("resume", name=name, api=self.api, chat=self.id) else None

    def read(self, name: str, **until: Any) -> dict[str, Any]:
        """Read a stream to its end, or to a chunk with these fields. All chunks must be valid."""
        told: dict[str, Any] = self.node.do("read", name=name, until=until or None)
        assert told["invalid"] == []
        return told

    def whole(self, text: str = "tea", **more: Any) -> dict[str, Any]:
        """Send a message, and read the whole answer."""
        return self.read(self.send(text, **more))

    def messages(self) -> list[dict[str, Any]]:
        """Return the messages that a page gets when it is loaded."""
        told = self.node.do("fetch", url=f"{self.api}/{self.id}/messages", method="GET")
        assert told["status"] == 200, told["text"]
        found: list[dict[str, Any]] = json.loads(told["text"])
        return found

    def post(self, action: str, body: object = None) -> dict[str, Any]:
        """Post to one of the chat's further routes."""
        told: dict[str, Any] = self.node.do("fetch", url=f"{self.api}/{self.id}/{action}", body=body)
        return told


@pytest.fixture(scope="module")
def node() -> Iterator[AiSdkNode]:
    """The Node process of all tests."""
    node = AiSdkNode()
    yield node
    node.end()


@pytest.fixture(scope="module", params=SERVERS)
def base(request: pytest.FixtureRequest, tmp_path_factory: TempPathFactory) -> Iterator[str]:
    """The address of a server, which is native or uvicorn."""
    with served(request.param, tmp_path_factory.mktemp("server")) as url:
        yield url


def of_type(told: dict[str, Any], kind: str) -> list[Chunk]:
    return [chunk for chunk in told["chunks"] if chunk["type"] == kind]


def question_in(told: dict[str, Any]) -> Chunk:
    """Return the last state of the only question."""
    shown: Chunk = of_type(told, "data-question")[-1]["data"]
    return shown


def text_of(told: dict[str, Any]) -> str:
    return "".join(part["text"] for part in told["message"]["parts"] if part["type"] == "text")


def test_everything_is_rendered(node: AiSdkNode, base: str) -> None:
    """Text, reasoning, tool calls, sub-agents and custom events are parts of one message, in their order."""
    told = Chat(node, base, "everything").whole()
    message = told["message"]
    assert [(part["type"], part.get("state")) for part in message["parts"]] == [
        ("step-start", None),
        ("reasoning", "done"),
        ("text", "done"),
        ("dynamic-tool", "output-available"),
        ("dynamic-tool", "output-error"),
        ("text", "done"),
        ("data-subagent", None),
        ("data-chart", None),
    ]
    reasoning, text, good, bad, slow, helper, chart = message["parts"][1:]
    assert (reasoning["text"], text["text"], slow["text"]) == ("hm", "Hello tea", "slow")
    assert (good["toolName"], good["input"], good["output"]) == ("search", {"query": "tea"}, ["tea", 1])
    assert bad["errorText"].startswith("timeout: ")
    assert helper["data"].items() >= {"agent": "helper", "status": "ok", "text": "one two", "result": 2}.items()
    assert chart["data"] == {"bars": [1, 2]}
    assert (
        message["metadata"].items()
        >= {
            "agent": "everything",
            "result": {"ok": True},
            "usage": {"input_tokens": 10, "output_tokens": 5},
        }.items()
    )
    assert message["id"] == message["metadata"]["runId"]
    assert (told["errors"], told["done"]) == ([], True)


def test_text_of_sub_agents_streams(node: AiSdkNode, base: str) -> None:
    """The text of a sub-agent also comes piece by piece, in transient parts that the message does not keep."""
    told = Chat(node, base, "everything").whole()
    pieces = of_type(told, "data-subagent-text")
    assert [chunk["data"]["delta"] for chunk in pieces] == ["one ", "two"]
    assert all(chunk["transient"] for chunk in pieces)


def test_failure_is_an_error(node: AiSdkNode, base: str) -> None:
    """A run that fails is an error of the client, after the text that came before."""
    told = Chat(node, base, "fails").whole()
    assert (told["errors"], text_of(told)) == (["error: boom"], "x")
    assert told["chunks"][-1]["type"] == "error"


def test_cancel(node: AiSdkNode, base: str) -> None:
    """The route for cancel ends the run. The stream ends with ``abort``. Without an open run it does nothing."""
    chat = Chat(node, base, "waits")
    name = chat.send()
    chat.read(name, type="text-delta")
    assert chat.post("cancel") == {"status": 200, "version": None, "text": '{"cancelled":true}'}
    assert chat.read(name)["chunks"][-1] == {"type": "abort", "reason": "cancelled"}
    assert chat.post("cancel")["text"] == '{"cancelled":false}'


def test_abort_and_reconnect(node: AiSdkNode, base: str) -> None:
    """Abort only ends the reading. ``reconnectToStream`` shows the answer from its start, and goes on to its end."""
    chat = Chat(node, base, "asks")
    name = chat.send()
    before = chat.read(name, type="data-question")
    aborted = node.do("abort", name=name)
    assert not [chunk for chunk in aborted["chunks"] if chunk["type"] in {"finish", "abort", "error"}]
    again = chat.resume()
    assert again is not None
    question = question_in(chat.read(again, type="data-question"))
    assert question == question_in(before)
    assert chat.post("answer", {"runId": question["runId"], "callId": question["callId"], "value": 3})["status"] == 204
    told = chat.read(again)
    assert text_of(told) == "You said tea. So 3."
    assert told["chunks"][: len(before["chunks"])] == before["chunks"]
    # All readers see the same chunks, also those that come when the run is over.
    assert chat.whole()["chunks"] == told["chunks"]


@pytest.mark.parametrize("agent", ["everything", "fails", "waits", "asks"])
def test_messages_after_a_reload(node: AiSdkNode, base: str, agent: str) -> None:
    """A page that is loaded after the answer has the message that a page with the stream has, and can go on."""
    chat = Chat(node, base, agent)
    name = chat.send()
    if agent == "waits":
        chat.read(name, type="text-delta")
        (user,) = chat.messages()
        chat.post("cancel")
    if agent == "asks":
        question = question_in(chat.read(name, type="data-question"))
        chat.post("answer", {"runId": question["runId"], "callId": question["callId"], "value": 3})
    told = chat.read(name)
    user, message = chat.messages()
    assert message == told["message"]
    assert (user["role"], user["parts"]) == ("user", [{"type": "text", "text": "tea"}])
    again = {"trigger": "regenerate-message", "messageId": message["id"]}
    if agent == "everything":
        other = chat.whole(message=user["id"], **again)["message"]
        assert chat.messages() == [user, other]


def test_page_that_stops_and_resumes(node: AiSdkNode, base: str) -> None:
    """With the state of ``useChat``, an answer that was stopped and resumed is there once, with its whole text."""
    chat = Chat(node, base, "asks")

    def page(act: str, **asked: Any) -> dict[str, Any]:
        told: dict[str, Any] = node.do("page", name=chat.id, api=chat.api, chat=chat.id, act=act, **asked)
        return told

    page("send", text="tea", until="data-question")
    assert page("stop")["status"] == "ready"
    told = page("resume", until="data-question")
    (question,) = (part["data"] for part in told["messages"][-1]["parts"] if part["type"] == "data-question")
    chat.post("answer", {"runId": question["runId"], "callId": question["callId"], "value": 3})
    told = page("wait")
    assert (told["status"], told["error"]) == ("ready", None)
    assert [message["role"] for message in told["messages"]] == ["user", "assistant"]
    assert text_of({"message": told["messages"][-1]}) == "You said tea. So 3."
    types = [part["type"] for part in told["messages"][-1]["parts"]]
    assert types.count("data-question") == types.count("data-subagent") == types.count("step-start") == 1


def whole_page(told: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the messages of a page that is ready: a question of the user, and its answer, which is there once."""
    assert (told["status"], told["error"]) == ("ready", None)
    assert [message["role"] for message in told["messages"]] == ["user", "assistant"]
    assert text_of({"message": told["messages"][-1]}) == "You said tea. So 3."
    shown: list[dict[str, Any]] = told["messages"]
    return shown


def answered(chat: Chat, name: str) -> None:
    """Answer the question in a stream, and read the stream to the end of the run."""
    question = question_in(chat.read(name, type="data-question"))
    chat.post("answer", {"runId": question["runId"], "callId": question["callId"], "value": 3})
    chat.read(name)


def test_answer_that_ends_before_the_page_asks_for_it(node: AiSdkNode, base: str) -> None:
    """A page that read the messages before the answer ended, and resumes after it, has the whole answer, and once."""
    chat = Chat(node, base, "asks")
    page = {"name": chat.id, "api": chat.api, "chat": chat.id}
    name = chat.send()
    chat.read(name, type="data-question")
    assert [message["role"] for message in node.do("load", **page)] == ["user"]
    answered(chat, name)
    assert chat.resume() is None  # as before, without the id of the newest message
    for _ in range(2):
        assert whole_page(node.do("page", **page, act="resume")) == chat.messages()
    # A page that has the answer gets nothing again.
    messages = node.do("load", **page)
    assert whole_page(node.do("page", **page, act="resume")) == messages


def test_answer_that_ends_while_the_page_has_lost_its_stream(node: AiSdkNode, base: str) -> None:
    """A page that has a part of an answer, and resumes when the answer has ended, has the whole answer, and once."""
    chat = Chat(node, base, "asks")
    page = {"name": chat.id, "api": chat.api, "chat": chat.id}
    assert node.do("load", **page) == []
    node.do("page", **page, act="send", text="tea", until="data-question")
    node.do("page", **page, act="stop")
    name = chat.resume()
    assert name is not None
    answered(chat, name)
    assert whole_page(node.do("page", **page, act="resume"))[1] == chat.messages()[1]


def test_page_of_a_failing_run(node: AiSdkNode, base: str) -> None:
    """With the state of ``useChat``, a run that fails is its ``error``."""
    chat = Chat(node, base, "fails")
    told = node.do("page", name=chat.id, api=chat.api, chat=chat.id, act="send", text="x")
    assert (told["status"], told["error"]) == ("error", "error: boom")


def test_nothing_to_reconnect_to(node: AiSdkNode, base: str) -> None:
    """Without an open run of this agent, ``reconnectToStream`` returns null."""
    chat = Chat(node, base, "everything")
    assert chat.resume() is None
    chat.whole()
    assert chat.resume() is None
    other = Chat(node, base, "waits")
    other.read(other.send(), type="text-delta")
    other.api = chat.api
    assert other.resume() is None


def test_same_message_joins_its_run(node: AiSdkNode, base: str) -> None:
    """A request that is repeated shows the run that it has started, open or over. Another text is another run."""
    chat = Chat(node, base, "waits")
    one, two = chat.send(), chat.send()
    first, second = (chat.read(name, type="text-delta") for name in (one, two))
    assert first["chunks"] == second["chunks"]
    chat.post("cancel")
    assert chat.whole()["chunks"] == chat.read(one)["chunks"]
    edited = chat.read(chat.send("milk"), type="text-delta")
    assert edited["message"]["id"] != first["message"]["id"]
    chat.post("cancel")


def test_regenerate(node: AiSdkNode, base: str) -> None:
    """Another answer to the same message is another run, once for each answer that it replaces."""
    chat = Chat(node, base, "everything")
    ids = [chat.whole()["message"]["id"]]
    for _ in range(2):
        again = [chat.whole(trigger="regenerate-message", messageId=ids[-1])["message"]["id"] for _ in range(2)]
        assert again[0] == again[1]
        ids.append(again[0])
    assert len(set(ids)) == 3
    assert len({chat.whole(trigger="regenerate-message")["message"]["id"] for _ in range(2)}) == 2


def test_question_and_wrong_answer(node: AiSdkNode, base: str) -> None:
    """An answer that does not fit is refused, and the question stays open. The right one goes to the agent."""
    chat = Chat(node, base, "asks")
    name = chat.send()
    question = question_in(chat.read(name, type="data-question"))
    assert question.items() >= {"prompt": "How many?", "schema": {"type": "integer"}, "state": "open"}.items()
    ids = {"runId": question["runId"], "callId": question["callId"]}
    refused = chat.post("answer", {**ids, "value": "many"})
    assert (refused["status"], refused["text"].partition(":")[0]) == (400, "bad_input")
    assert [chat.post("answer", {**ids, "value": 2})["status"] for _ in range(2)] == [204, 204]
    assert question_in(chat.read(name)).items() >= {"state": "answered", "value": 2}.items()
    assert chat.post("answer", {**ids, "value": 4})["status"] == 409
    assert chat.post("answer", {"value": 4})["status"] == 400


def test_input_that_is_no_text(node: AiSdkNode, base: str) -> None:
    """``input`` in the body of a request is the agent's input, instead of the text of the message."""
    told = Chat(node, base, "adds").whole(body={"input": [1, 2, 3]})
    assert told["message"]["metadata"]["result"] == 6


@pytest.mark.parametrize(
    ("agent", "changes", "error"),
    [
        ("nobody", {}, "unknown_agent: "),
        ("adds", {}, "bad_input: "),
        ("everything", {"messages": []}, "messages must "),
        ("everything", {"messages": [{"id": "1", "role": "assistant", "parts": []}]}, "the newest message must "),
        ("everything", {"messages": [{"role": "user", "parts": []}]}, "a message must have an id"),
        ("everything", {"messages": [{"id": "1", "role": "user"}]}, "a message must have parts"),
        (
            "everything",
            {"messages": [{"id": "1", "role": "user", "parts": [{"type": "file", "url": "data:,x"}]}]},
            "a message may have parts of text only",
        ),
    ],
)
def test_refused_requests(node: AiSdkNode, base: str, agent: str, changes: dict[str, Any], error: str) -> None:
    """A request that starts nothing fails at once. The error's message says why."""
    with pytest.raises(RequestFailed, match=f"^{error}"):
        Chat(node, base, agent).send(**changes)


def test_chat_that_is_no_session(node: AiSdkNode, base: str) -> None:
    """The id of a chat must be possible as the name of a session."""
    chat = Chat(node, base, "everything")
    chat.id = "a b"
    with pytest.raises(RequestFailed, match=r"^session must be "):
        chat.send()


def test_header_names_the_protocol(node: AiSdkNode, base: str) -> None:
    """A stream has the header field by which clients know the protocol."""
    body = {"id": "headers", "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "x"}]}]}
    told = node.do("fetch", url=f"{base}/everything", body=body)
    assert (told["status"], told["version"]) == (200, "v1")
    assert told["text"].endswith("data: [DONE]\n\n")
