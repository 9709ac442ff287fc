"""A proxy that refuses WebSockets and buffers responses: nginx, between a client and the port of the pages."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from _ports import held_port, number_of
from _processes import put_down
from _requires import require
from adapters.places import TOKEN, Place, served
from hosting.uvicorn_thread import PATIENCE
from web.node import HERE, MODULE, node_with_packages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = """
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        if ($http_upgrade) {{ return 403; }}
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header Connection "";
        location / {{ proxy_pass http://127.0.0.1:{http_port}; }}
    }}
}}
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
    with served("native") as place, nginx(tmp_path_factory.mktemp("nginx"), place.port) as port:
        place.port = place.ws_port = port
        yield place


@contextmanager
def nginx(folder: Path, http_port: int) -> Iterator[int]:
    """Run the proxy in front of a port. The value is the proxy's own port."""
    program = require("nginx")
    with held_port() as holder:
        port = number_of(holder)
        (folder / "config").write_text(CONFIG.format(folder=folder, port=port, http_port=http_port))
        command = [program, "-p", str(folder), "-c", str(folder / "config"), "-g", "daemon off;"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            while process.poll() is None:
                with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port)):
                    break
            yield port
        finally:
            process.terminate()
            process.wait(PATIENCE)
            put_down(process)


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
