"""Import an app from the current folder."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path

from actors import ConfigError
from transport._shadows import OWN_NAMES
from transport.app import Greenroom

_LOADERS = {"importlib", "transport"}
"""The packages with the code that imports an app."""
_CALL = "Greenroom.__init__() "
"""The beginning of Python's message about a call of ``Greenroom`` with wrong arguments."""


def load_app(path: str) -> Greenroom:
    """Import and return the app at ``module:name``.

    Raises :class:`~actors.ConfigError` if there is no such app. Exceptions of the module itself are raised as they are.
    """
    module_name, _, name = path.partition(":")
    if not module_name or module_name.startswith(".") or not name:
        raise ConfigError(f"{path!r} is not MODULE:APP{_suggestion(module_name)}")
    sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        _refuse_hidden(error.name or "")
        # A module that the app's own module imports may be missing too: that is a fault of the app.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            _begin_in_the_app(error)
            raise
        raise ConfigError(f"there is no module {module_name!r}") from error
    except ImportError as error:
        # A name is missing in a module that is there: perhaps in ours, while the user's file was meant.
        _refuse_hidden(error.name or "")
        _begin_in_the_app(error)
        raise
    except Exception as error:
        _refuse_wrong_call(error)
        _begin_in_the_app(error)
        raise
    app = getattr(module, name, None)
    if not isinstance(app, Greenroom):
        _refuse_hidden(module_name)
        raise ConfigError(f"{path} is not a Greenroom" if app is not None else f"module {module_name} has no {name!r}")
    return app


def _suggestion(module_name: str) -> str:
    name = module_name.removesuffix(".py")
    return f"; did you mean {name}:app?" if name.isidentifier() else ""


def _begin_in_the_app(error: Exception) -> None:
    """Remove the frames of ``importlib`` from the traceback of an exception that the app's own module raised."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__", "").partition(".")[0] in _LOADERS:
        frames = frames.tb_next
    error.__traceback__ = frames


def _refuse_wrong_call(error: Exception) -> None:
    """Raise ConfigError with a file and a line if ``error`` is a call ``Greenroom(…)`` with a wrong keyword."""
    if isinstance(error, TypeError) and str(error).startswith(_CALL):
        place = traceback.extract_tb(error.__traceback__)[-1]
        text = str(error).replace(_CALL, "Greenroom() ")
        raise ConfigError(f"{Path(place.filename).name}, line {place.lineno}: {text}") from error


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
