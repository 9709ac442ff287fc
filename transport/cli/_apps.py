"""Import an app from the current folder."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from actors import ConfigError
from transport._shadows import OWN_NAMES
from transport.app import Greenroom


def load_app(path: str) -> Greenroom:
    """Import and return the app at ``module:name``.

    Raises :class:`~actors.ConfigError` if there is no such app. Exceptions of the module itself are raised as they are.
    """
    module_name, colon, name = path.partition(":")
    if not colon or not module_name or module_name.startswith(".") or not name:
        raise ConfigError(f"{path!r} is not MODULE:APP")
    sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        _refuse_hidden(error.name or "")
        # A module that the app's own module imports may be missing too: that is a fault of the app.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(f"there is no module {module_name!r}") from error
    except ImportError as error:
        # A name is missing in a module that is there: perhaps in ours, while the user's file was meant.
        _refuse_hidden(error.name or "")
        raise
    app = getattr(module, name, None)
    if not isinstance(app, Greenroom):
        _refuse_hidden(module_name)
        raise ConfigError(f"{path} is not a Greenroom" if app is not None else f"module {module_name} has no {name!r}")
    return app


def _refuse_hidden(module_name: str) -> None:
    """Raise ConfigError if ``module_name`` means a file in the current folder with the name of a Greenroom package.

    Python has imported Greenroom's packages already, so it never imports a file of the same name.
    """
    package = module_name.partition(".")[0]
    if package not in OWN_NAMES:
        return
    here, own = Path.cwd(), Path(sys.modules[package].__file__ or "").resolve().parent
    for file in (here / f"{package}.py", here / package):
        if file.exists() and file.resolve() != own:
            raise ConfigError(f"{file} is hidden by a package of Greenroom of the same name: give it another name")
