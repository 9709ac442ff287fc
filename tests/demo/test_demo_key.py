"""The file with the key that signs the tokens of the demo's visitors."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from transport.demo.serving import signing_key

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_key_is_private_and_kept(tmp_path: Path) -> None:
    """Only the server's user can read the key file. Each start after the first uses the same key."""
    log = f"sqlite:{tmp_path / 'x.db'}"
    key = signing_key(log)
    assert stat.S_IMODE((tmp_path / "x.db.key").stat().st_mode) == 0o600
    assert signing_key(log) == key
    assert signing_key("memory:") != key


def test_key_that_others_can_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A key file that every user of the machine can read causes a warning."""
    log, file = f"sqlite:{tmp_path / 'x.db'}", tmp_path / "x.db.key"
    signing_key(log)
    assert caplog.messages == []
    file.chmod(0o644)
    signing_key(log)
    assert caplog.messages == [f"{file} is open to every user of this machine (mode 0644): chmod o-rwx {file}"]
