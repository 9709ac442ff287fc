"""``greenroom demo``: the built-in agent and its page. Every browser is a user of its own."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from transport.auth import TokenAuth
from transport.demo.app import build_app
from transport.http.serving import PageOptions, serve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transport._process import Reporter
    from transport._sources import Given

DEFAULT_LOG = "sqlite:greenroom-demo.db"
AGENT = "librarian"
SUGGESTIONS = (
    "How do I parse a csv file with a header?",
    "How can I run a command and capture its output?",
    "How do I count the most common words in a text?",
    "How many days are between two dates?",
)


async def serve_demo(reporter: Reporter, given: Sequence[Given] = ()) -> None:
    """Serve the demo until SIGTERM or SIGINT. Raises as :func:`transport.http.serving.serve` does.

    Args:
        reporter: Gets a report once the demo can be used, and when its end begins.
        given: Settings of the command line.
    """
    log = next((str(each.value) for each in reversed(given) if each.name == "log"), DEFAULT_LOG)
    auth = TokenAuth(signing_key(log))
    app = build_app(log=DEFAULT_LOG, auth=auth)
    app.override(given)
    options = PageOptions(agent=AGENT, title="Ask the standard library", suggestions=SUGGESTIONS, tokens=auth)
    await serve(app, reporter, options)


def signing_key(log: str) -> str:
    """Return the key that signs visitors' tokens. The key is kept in a file beside the log.

    So a visitor stays the same user after a restart. For a log in memory the key is new each time, like its sessions.
    """
    scheme, _, path = log.partition(":")
    if scheme != "sqlite":
        return secrets.token_hex(32)
    file = Path(f"{path}.key")
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as new:
            new.write(secrets.token_hex(32))
    except FileExistsError:
        pass
    return file.read_text().strip()
