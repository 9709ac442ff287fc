"""A Node process with the transport of Vercel AI SDK, and servers for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _processes import put_down, started
from web.node import HERE as WEB
from web.node import node_with_packages

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
SERVERS = {
    "native": [sys.executable, "-m", "transport", "serve", "adapters.aisdk_app:app", "--port", "0", "--http-port", "0"],
    "uvicorn": [sys.executable, "-m", "adapters.aisdk_app"],
}
"""The commands of servers: the port of the pages, and a mount in FastAPI."""


class RequestFailed(Exception):
    """The client's transport has raised an error with this message."""


class AiSdkNode:
    """The process. See aisdk.mjs."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [node_with_packages(), str(HERE / "aisdk.mjs"), str(WEB)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ids = count(1)

    def do(self, action: str, **asked: Any) -> Any:
        """Do something in the process, and return its result."""
        assert self._process.stdin
        assert self._process.stdout
        id_ = next(self._ids)
        print(json.dumps({"id": id_, "do": action, **asked}), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        assert answer["id"] == id_
        if "error" in answer:
            raise RequestFailed(answer["error"])
        return answer["value"]

    def end(self) -> None:
        """End the process."""
        put_down(self._process)


@contextmanager
def served(place: str, folder: Path) -> Iterator[str]:
    """Run a server inside the block. Yield the address below which the agents are."""
    path = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    with started(SERVERS[place], cwd=folder, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout
        line = process.stdout.readline().split()
        assert line[:1] == ["ready"], "the server did not start"
        yield f"{line[2].rstrip('/')}/aisdk"
