"""``greenroom demo``: the built-in agent and its page. Every browser is a user of its own."""

import logging
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actors.private_files import make_private, warn_if_open_to_others
from transport import Greenroom
from transport._process import Reporter
from transport._sources import Given
from transport.demo.agents import PACE, Demo, register
from transport.demo.library import Library
from transport.demo.model import Model
from transport.http.serving import PageOptions, serve
from transport.http.visitors import VisitorTokens
from transport.server.listening import Listeners

logger = logging.getLogger("greenroom.demo")

DEFAULT_LOG = "sqlite:greenroom-demo.db"
KEY_VARIABLE = "_GREENROOM_DEMO_KEY"
"""Environment variable by which the parent of several workers tells them the key of the visitors' tokens."""
AGENT, TITLE = "librarian", "Ask the standard library"
SUGGESTIONS = (
    "How do I parse a csv file with a header?",
    "How can I run a command and capture its output?",
    "How do I count the most common words in a text?",
    "How many days are between two dates?",
)


def build_app(cache: Path | None = None, model: Model | None = None, pace: float = PACE, **keywords: Any) -> Greenroom:
    """Return a Greenroom with the demo's agents, and begin to load or build the index in the folder ``cache``."""
    app, library = Greenroom(**keywords), Library(cache)
    library.start()
    register(app, Demo(library, pace, model))
    return app


async def serve_demo(
    reporter: Reporter, given: Sequence[Given] = (), model: str = "", listeners: Listeners | None = None
) -> None:
    """Serve the demo until SIGTERM or SIGINT. Raises as :func:`transport.http.serving.serve` does.

    Args:
        reporter: Gets a report when the demo can be used, and a report when the server begins to shut down.
        given: Settings of the command line.
        model: The name of the model that answers, or an empty string for answers from the index alone.
        listeners: Listening sockets of both ports. By default the server opens its own.
    """
    answering = Model.from_environment(model) if model else None
    tokens = VisitorTokens(os.environ.get(KEY_VARIABLE) or signing_key(chosen_log(given)))
    app = build_app(log=DEFAULT_LOG, auth=tokens.auth, model=answering)
    app.override(given)
    page = PageOptions(agent=AGENT, title=TITLE, suggestions=SUGGESTIONS, tokens=tokens, model=model)
    await serve(app, reporter, page, listeners)


def chosen_log(given: Sequence[Given]) -> str:
    """Return the log that the settings of the command line name, or the demo's own."""
    return next((str(each.value) for each in reversed(given) if each.name == "log"), DEFAULT_LOG)


def signing_key(log: str) -> str:
    """Return the key that signs the tokens of the page's visitors.

    The key is stored in a file beside the log, so that after a restart each visitor is still the same user.
    """
    scheme, _, path = log.partition(":")
    if scheme != "sqlite":
        return secrets.token_hex(32)
    file = Path(f"{path}.key")
    if not make_private(file, secrets.token_hex(32).encode()):
        warn_if_open_to_others(file, logger)
    return file.read_text().strip()
