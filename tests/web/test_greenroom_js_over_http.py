"""greenroom.js over HTTP against real servers: the port of the pages of ``greenroom serve``, and a mount in uvicorn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from adapters.places import PLACES, TOKEN, Place, served
from web.scenes import run_js as run_scene

if TYPE_CHECKING:
    from collections.abc import Iterator

    from web.node import Node

KINDS = ("sse", "poll")


@pytest.fixture(scope="module", params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Serve the app for all tests of this file. Each test uses a session of its own."""
    with served(request.param, commands_per_second=10_000, commands_burst=10_000, starts_per_minute=0) as found:
        yield found


@pytest.fixture
def run_js(page: Node, place: Place, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Return a function that runs JavaScript: ``over(kind)`` makes a client whose WebSockets are refused."""
    session = f"{abs(hash(request.node.name))}"
    scenes = f"""
        const session = "{session}", token = "{TOKEN}ann";
        const fallback = "http://127.0.0.1:{place.port}{place.prefix or "/"}";
        const address = "ws://127.0.0.1:{place.ws_port}{place.ws_path}";
        const over = async (kind, options = {{}}) => {{
            network(true, {{ streams: kind === "sse" }});
            const all = {{ session, token, WebSocket: Socket, fallback, ...options }};
            const client = kept.client = open(`ws://x/${{session}}`, all);
            for (let failures = kind === "sse" ? 3 : 4; failures; failures--) {{
                await turn();
                if (failures > 1 || kind === "sse") Socket.last.lose();
                await until(client, "waiting"); retry();
            }}
            await until(client, client.state === "closed" ? "closed" : "live");
            return client;
        }};
        const ended = async (run) => {{
            for (let count = 1; ; count++) {{
                const event = (await first(count, "event")).at(-1);
                if (event.type === "agent_completed" && event.run_id === run) return;
            }}
        }};
        const gapless = () => details("event").every(({{ seq }}, i) => seq === i + 1);
    """
    page.restart("ws://x/")
    yield lambda js: run_scene(page, scenes + f"{{ {js} }}")
    page.restart("ws://x/")
    page.run("network(false)")


@pytest.mark.parametrize("kind", KINDS)
def test_run_over_http(run_js: Any, kind: str) -> None:
    """A run is started, its events come once and in order, its question is answered, and its history is read."""
    got = run_js(f"""
        const client = await over("{kind}"), says = await client.start("says", 30); await ended(says);
        const asks = await client.start("asks", "why?");
        for (let count = 1; ; count++) {{
            const {{ type, call_id }} = (await first(count, "event")).at(-1);
            if (type === "input_requested") {{ await client.answer(asks, call_id, "so"); break; }}
        }}
        await ended(asks);
        const {{ events }} = await client.history({{ before: 6, limit: 3 }});
        return [client.transport, gapless(), details("event").at(-1).data.result, events.map(({{ seq }}) => seq),
                await client.cancel(asks)];
    """)
    assert got == [kind, True, "so", [3, 4, 5], False]


@pytest.mark.parametrize("kind", KINDS)
def test_page_that_wakes_over_http(run_js: Any, kind: str) -> None:
    """A page that wakes again and again during a run gets each event once, and stays live."""
    got = run_js(f"""
        const client = await over("{kind}"), run = await client.start("says", 200);
        for (let count = 1; count < 200; count += 20) {{ await first(count, "event"); fire("focus"); }}
        await ended(run);
        return [gapless(), states().filter((state) => state === "live").length];
    """)
    assert got == [True, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_command_over_two_transports(run_js: Any, kind: str) -> None:
    """A start that is sent over a WebSocket and again over HTTP, with the same id, runs once."""
    got = run_js(f"""
        const one = open(address, {{ session, token }}), run = await one.start("says", 1, {{ commandId: "same" }});
        one.close(); const other = await over("{kind}"), again = await other.start("says", 1, {{ commandId: "same" }});
        const {{ events }} = await other.history();
        return [again === run, events.filter(({{ type }}) => type === "agent_started").length];
    """)
    assert got == [True, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_typing_over_http(run_js: Any, kind: str) -> None:
    """A user who types is shown under the id by which the client knows itself, also when it polls."""
    got = run_js(f"""
        const client = await over("{kind}"); client.typing(true);
        const [{{ name, data }}] = await first(1, "signal"), {{ connection }} = details("welcome").at(-1);
        return [name, data.by, data.active, data.id === connection];
    """)
    assert got == ["typing", "user", True, True]


def test_back_to_the_websocket(run_js: Any) -> None:
    """*The server was away for a moment.* A client that reads a stream goes back to the WebSocket without a gap."""
    got = run_js("""
        let refused = 3;
        class Restarting {
            constructor(_, protocols) { return refused-- > 0 ? new Socket() : new WebSocket(address, protocols); }
        }
        const client = await over("sse", { WebSocket: Restarting });
        const run = client.start("says", 50);
        await until(client, "waiting"); advance(0); await until(client, "live");
        await ended(await run); const last = await client.start("says", 1); await ended(last);
        return [client.transport, gapless()];
    """)
    assert got == ["websocket", True]


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_token_over_http(run_js: Any, kind: str) -> None:
    """A token that the server does not know ends the client, as over a WebSocket."""
    got = run_js(f"""
        over("{kind}", {{ token: "foreign" }}).catch(() => {{}});
        return first(1, "closed");
    """)
    assert [(end["code"], end["reason"]) for end in got] == [(4501, "the token is not valid")]
