"""nginx, Caddy and HAProxy as processes of a test, each with its example of the operators' guide."""

from __future__ import annotations

import os
import ssl
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio
from _ports import held_port, number_of
from _requires import require
from _tls import Authority
from docs.documents import blocks
from proxies.nginx import nginx_command

from transport.settings import DEFAULT_HTTP_PORT, DEFAULT_PORT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

NAME = "app.example.com"
"""The name of the site in the examples."""
PATIENCE = 60.0
_LANGUAGES = {"nginx": "nginx", "caddy": "caddyfile", "haproxy": "haproxy"}
_CADDY = """
{{
    admin off
    https_port {port}
    auto_https disable_redirects
    local_certs
    skip_install_trust
    default_bind 127.0.0.1
    storage file_system {folder}/storage
}}
{example}
"""


@attrs.frozen
class Front:
    """A running proxy: the port on which it speaks TLS, and the authority of its certificate."""

    port: int
    authority: Path

    async def connect(self, source: str) -> trio.SSLStream[trio.SocketStream]:
        """Open a connection over TLS from an address of this machine."""
        context = ssl.create_default_context(cafile=self.authority)
        stream = await trio.open_tcp_stream("127.0.0.1", self.port, local_address=source)
        secure = trio.SSLStream(stream, context, server_hostname=NAME, https_compatible=True)
        try:
            await secure.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return secure


@asynccontextmanager
async def proxy(
    kind: str, folder: Path, ws_port: int, http_port: int, edit: Callable[[str], str] = str
) -> AsyncIterator[Front]:
    """Run a proxy inside the block, in front of two ports. ``edit`` returns the example that a test needs."""
    (block,) = blocks(_LANGUAGES[kind])
    example = edit(block.text)
    for default, own in ((DEFAULT_PORT, ws_port), (DEFAULT_HTTP_PORT, http_port)):
        example = replaced(example, f"127.0.0.1:{default}", f"127.0.0.1:{own}")
    with held_port() as holder:
        front, command = _configured(kind, folder, number_of(holder), example)
        with (folder / "stderr").open("w") as stderr:
            process = await trio.lowlevel.open_process(
                command,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env={**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
            )
        try:
            await _until_ready(front, process, folder)
            yield front
        finally:
            process.terminate()
            with trio.move_on_after(PATIENCE, shield=True):
                await process.wait()
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


def replaced(text: str, old: str, new: str) -> str:
    """Return the text with a part replaced that it must have."""
    assert old in text, f"the example has no {old!r}"
    return text.replace(old, new)


def _configured(kind: str, folder: Path, port: int, example: str) -> tuple[Front, list[str]]:
    """Write the configuration of a proxy. Return the running proxy to be, and its command."""
    authority = Authority(folder)
    files = authority.issue("site", NAME)
    file = folder / "config"
    front = Front(port, authority.file())
    match kind:
        case "nginx":
            example = replaced(example, "listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
            certificate = f"ssl_certificate {files['tls_cert']}; ssl_certificate_key {files['tls_key']};"
            return front, nginx_command(folder, f"{certificate}\n{example}")
        case "caddy":
            file.write_text(_CADDY.format(folder=folder, port=port, example=example))
            front = Front(port, folder / "storage/pki/authorities/local/root.crt")
            return front, [require(kind), "run", "--config", str(file), "--adapter", "caddyfile"]
        case _:
            both = folder / "both.pem"
            both.write_text((folder / "site.pem").read_text() + (folder / "site.key").read_text())
            example = replaced(example, "bind :443", f"bind 127.0.0.1:{port}")
            file.write_text(replaced(example, "/etc/ssl/private/app.example.com.pem", str(both)))
            return front, [require(kind), "-db", "-f", str(file)]


async def _until_ready(front: Front, process: trio.Process, folder: Path) -> None:
    """Wait until the proxy shows its certificate."""
    with trio.fail_after(PATIENCE):
        while process.poll() is None:
            try:
                await trio.aclose_forcefully(await front.connect("127.0.0.1"))
            except (OSError, trio.BrokenResourceError):  # it does not listen yet, or has no certificate yet
                await trio.lowlevel.checkpoint()
            else:
                return
    raise AssertionError((folder / "stderr").read_text())
