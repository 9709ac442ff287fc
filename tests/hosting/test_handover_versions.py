"""The versions of uvicorn with which sockets are handed over. With others, WebSockets go through ASGI."""

from __future__ import annotations

import pytest
import uvicorn
from uvicorn.protocols.websockets.auto import AutoWebSocketsProtocol

from transport.hosting import handover
from transport.hosting._uvicorn import Protocol


@pytest.mark.parametrize("version", ["0.38.0", "0.54.7", "0.40rc1"])
def test_tested_versions_hand_over(version: str, caplog: pytest.LogCaptureFixture) -> None:
    """With a version that was tested, sockets are handed over."""
    assert handover.protocol_for(version) is Protocol
    assert caplog.records == []


def test_installed_version_hands_over() -> None:
    """The installed version was tested. If not: run test_handover.py with it, and then move ``NEWEST``."""
    assert handover.Protocol is Protocol, uvicorn.__version__


@pytest.mark.parametrize("version", ["0.37.9", "0.55.0", "1.0.0"])
def test_other_versions_go_through_asgi(version: str, caplog: pytest.LogCaptureFixture) -> None:
    """With any other version, uvicorn's own protocol serves, and a warning names the versions."""
    assert handover.protocol_for(version) is AutoWebSocketsProtocol
    (record,) = caplog.records
    assert record.getMessage() == (
        "WebSockets go through ASGI, and no socket is handed over: the hand-over was tested with uvicorn 0.38 to 0.54, "
        f"and this is uvicorn {version}"
    )


def test_without_websockets(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Without the package ``websockets``, uvicorn's own protocol serves, and a warning says why."""
    monkeypatch.setattr(handover, "find_spec", lambda _: None)
    assert handover.protocol_for(uvicorn.__version__) is AutoWebSocketsProtocol
    assert "the package websockets is not installed" in caplog.text
