"""A proxy that refuses WebSockets and buffers responses: nginx, between a client and the port of the pages."""

from __future__ import annotations

import http.client
import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from adapters.places import TOKEN, Place, served
from hosting.uvicorn_thread import PATIENCE
from proxies.nginx import nginx
from web.node import HERE, MODULE, node_with_packages

if TYPE_CHECKING:
    from collections.abc import Iterator

REFUSING = """
    if ($http_upgrade) {{ return 403; }}
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header Connection "";
    location / {{ proxy_pass http://127.0.0.1:{port}; }}
"""
CLIENT = """
import { WebSocket } from "ws";
const { connect } = await import(process.argv[1]);
const [, , at, token] = process.argv;
const client = connect(`ws://${at}/ws`, { session: "page", token, WebSocket, fallback: `http://${at}/` });
const seqs = [];
client.addEventListener("event", ({ detail }) => {
    seqs.push(detail.seq);
    if (detail.type === "input_requested") client.answer(detail.run_id, detail.call_id, 7).catch(() => undefined);
    if (detail.type !== "agent_completed") return;
    console.log(JSON.stringify({ transport: client.transport, seqs, result: detail.data.result }));
    client.close();
});
await client.start("asks", "how many?");
"""


@pytest.fixture(scope="module")
def blocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Serve the app on its own ports, behind the proxy."""
    with served("native") as place:
        with nginx(tmp_path_factory.mktemp("nginx"), REFUSING.format(port=place.port)) as port:
            place.port = place.ws_port = port
            yield place


def test_websocket_is_refused(blocked: Place) -> None:
    """The proxy of these tests refuses the upgrade, so that nothing passes by a WebSocket."""
    connection = http.client.HTTPConnection("127.0.0.1", blocked.port, timeout=PATIENCE)
    connection.request("GET", "/ws", headers={"Upgrade": "websocket", "Connection": "Upgrade"})
    assert connection.getresponse().status == 403
    connection.close()


def test_stream_and_commands_pass(blocked: Place) -> None:
    """Each event passes the proxy at once, with the buffering that nginx has by default; so do commands and polls."""
    with blocked.stream(session="passes") as stream:
        stream.next("welcome")
        for number in range(3):
            assert blocked.command("message.send", "passes", f"c-{number}", text="x")["ok"]
            assert stream.next("message").data["seq"] == number + 1
    position, frames = blocked.poll("&wait=20", "passes")
    assert (position.partition(":")[2], len(frames[1]["events"])) == ("3", 3)


def test_client_for_browsers(blocked: Place) -> None:
    """greenroom.js finds no WebSocket, goes on by a stream, and starts and answers an agent over HTTP."""
    program = node_with_packages()
    command = [program, "--input-type=module", "-e", CLIENT, str(MODULE), f"127.0.0.1:{blocked.port}", f"{TOKEN}ann"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"transport": "sse", "seqs": [1, 2, 3, 4], "result": 7}
