"""The demo as an app: ``build_app()`` is a Greenroom that offers the librarian."""

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
    """Return a Greenroom with the agents ``librarian`` and ``investigate``; ``keywords`` are Greenroom's own.

    ``pace`` is the pause after each streamed piece in seconds, ``cache`` the folder of the index (the user's cache
    folder unless given), ``environment`` where the model's settings are looked up. The index begins to load, or to
    be built, now.
    """
    app = Greenroom(**keywords)
    library = Library(cache)
    library.start()
    model = Model.from_environment() if environment is None else Model.from_environment(environment)
    register(app, Demo(library, pace, model))
    return app
