"""nginx as a process of a test, with the servers that the test needs. All its files are in a folder of the test."""

from __future__ import annotations

import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from _ports import held_port, number_of
from _processes import PATIENCE, started
from _requires import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CONFIG = """
daemon off;
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
    {servers}
}}
"""


def nginx_command(folder: Path, servers: str) -> list[str]:
    """Write the configuration with these lines in its ``http`` block. Return the command that runs nginx with it."""
    config = folder / "config"
    config.write_text(_CONFIG.format(folder=folder, servers=servers))
    return [require("nginx"), "-p", str(folder), "-c", str(config), "-e", "stderr"]


@contextmanager
def nginx(folder: Path, server: str) -> Iterator[int]:
    """Run nginx inside the block, with these lines in its one ``server`` block. Yield its port.

    The lines begin with ``listen 127.0.0.1:PORT;``, which is added here.
    """
    with held_port() as holder, (folder / "stderr").open("w") as stderr:
        port = number_of(holder)
        command = nginx_command(folder, f"server {{ listen 127.0.0.1:{port}; {server} }}")
        with started(command, stderr=stderr) as process:
            while process.poll() is None:
                with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), timeout=PATIENCE):
                    break
            assert process.poll() is None, (folder / "stderr").read_text()
            try:
                yield port
            finally:
                # First asked: if its first process is killed, the other one goes on.
                process.terminate()
                process.wait(PATIENCE)
