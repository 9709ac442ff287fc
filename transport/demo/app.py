"""The demo as an app: a Greenroom with the librarian."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transport import Greenroom
from transport.demo.agents import PACE, Demo, register
from transport.demo.library import Library
from transport.demo.model import Model


def build_app(
    *, pace: float = PACE, cache: Path | None = None, environment: Mapping[str, str] | None = None, **keywords: Any
) -> Greenroom:
    """Return a Greenroom with the agents ``librarian`` and ``investigate``, and begin to load or build the index.

    Args:
        pace: The pause after each streamed piece, in seconds.
        cache: The folder of the index; the user's cache folder if None.
        environment: The variables that configure the model; those of the process if None.
        keywords: Arguments of :class:`~transport.Greenroom`.
    """
    app = Greenroom(**keywords)
    library = Library(cache)
    library.start()
    model = Model.from_environment() if environment is None else Model.from_environment(environment)
    register(app, Demo(library, pace, model))
    return app
