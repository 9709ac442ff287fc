"""The application's own pages: a folder of files at ``/``. The client library and the other routes are served too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from actors import ConfigError

if TYPE_CHECKING:
    from starlette.types import Scope

_NOT_FOUND = 404
_SHOWN = {".", ".well-known"}
"""The only served names that begin with a dot: the folder itself, and ``.well-known`` (RFC 8615)."""


class OwnPages(StaticFiles):
    """The files in a folder, as an HTTP application. The path ``/`` gives the file ``index.html``.

    Files outside the folder, and hidden files, give an HTTP error 404.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder, html=True)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the response for a path. Raise an HTTP error 404 if a part of the path is hidden, such as ``.git``.

        Without a file ``favicon.ico``, the response to a request for it is empty.
        """
        if any(part.startswith(".") and part not in _SHOWN for part in Path(path).parts):
            raise HTTPException(404)
        try:
            return await super().get_response(path, scope)
        except HTTPException as error:
            # Every browser asks for this file, also if the page names no icon: an error would be in its console.
            if error.status_code == _NOT_FOUND and path == "favicon.ico":
                return Response(status_code=204)
            raise


def checked_folder(folder: Path) -> Path:
    """Return the absolute path of the folder with the application's own pages.

    Raises:
        ConfigError: There is no such folder, or it is the current folder of the server: then every browser could read
            the server's own files, such as its log and its keys.
    """
    if not folder.is_dir():
        raise ConfigError(f"pages: there is no folder {folder}")
    whole = folder.resolve()
    if Path.cwd().is_relative_to(whole):
        raise ConfigError(f"pages: {folder} holds the files of the server itself; give the pages a folder of their own")
    return whole
