"""Optional dependencies. If one is missing, the error names the extra and the command that installs it."""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING

from actors import ConfigError

if TYPE_CHECKING:
    from types import ModuleType


class ExtraMissing(ConfigError):
    """A part of Greenroom needs packages that are not installed. The message has the command that installs them."""

    def __init__(self, part: str, extra: str) -> None:
        # The wheel by its file name, since Greenroom is on no index: *pip would fetch a foreign package of this name*.
        wheel = f"greenroom-{metadata.version('greenroom')}-py3-none-any.whl"
        command = f"pip install '{wheel}[{extra}]'"
        super().__init__(f"{part} needs the extra {extra}: install the wheel with it: {command}")


def import_extra(part: str, extra: str, *modules: str) -> list[ModuleType]:
    """Import the modules that an optional part of Greenroom needs, and return them.

    Args:
        part: The part that needs the modules, for the error message.
        extra: The extra of the distribution ``greenroom`` that installs these modules.
        modules: The names of the modules.

    Raises:
        ExtraMissing: A module is not installed. An installed module that cannot be imported raises its own error.
    """
    try:
        return [import_module(module) for module in modules]
    except ModuleNotFoundError as error:
        if error.name is None or error.name not in _with_parents(modules):
            raise
        raise ExtraMissing(part, extra) from None


def _with_parents(modules: tuple[str, ...]) -> set[str]:
    """Return the modules, and the packages that contain these modules.

    If the package ``starlette`` is not installed, its module ``starlette.applications`` is missing too.
    """
    return {".".join(module.split(".")[: depth + 1]) for module in modules for depth in range(module.count(".") + 1)}
