"""The pages of an application of its own, served by the real HTTP server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from _demo_site import open_site

from actors import ConfigError
from transport.http._own_pages import checked_folder
from transport.http.pages import WEB

if TYPE_CHECKING:
    import trio

# The application's own pages


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    """Return a folder with pages. Beside it and hidden in it are files that no browser may read."""
    folder = tmp_path / "static"
    for name in ("index.html", "app.js", "sub/index.html", ".well-known/security.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"own {name}")
    for name in (".env", ".git/config", "sub/.hidden"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("a secret of the server")
    (tmp_path / "secret.txt").write_text("a secret of the server")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    return folder


async def test_own_pages(nursery: trio.Nursery, own_folder: Path) -> None:
    """An app's own pages are served at ``/``, beside the client library and the routes of the server."""
    site = await open_site(nursery, folder=own_folder)
    for path, name in (("/", "index.html"), ("/app.js", "app.js"), ("/sub/", "sub/index.html")):
        answer = await site.get(path)
        assert (answer.status, answer.body) == (200, f"own {name}".encode())
    assert (await site.get("/.well-known/security.txt")).status == 200
    assert (await site.get("/greenroom.js")).body == (WEB / "greenroom.js").read_bytes()
    assert (await site.get("/config")).json["ws_url"] == "ws://127.0.0.1:8765/"
    assert (await site.get("/demo.js")).status == 404
    nursery.cancel_scope.cancel()


async def test_own_file_named_like_one_for_components(nursery: trio.Nursery, own_folder: Path) -> None:
    """An app's own ``vue.js`` is served in the place of the client's. The client's other files are served, too."""
    (own_folder / "vue.js").write_text("own vue.js")
    site = await open_site(nursery, folder=own_folder)
    assert (await site.get("/vue.js")).body == b"own vue.js"
    for name in ("react.js", "shared.js"):
        assert (await site.get(f"/{name}")).body == (WEB / name).read_bytes()
    nursery.cancel_scope.cancel()


async def test_own_pages_need_no_icon(nursery: trio.Nursery, own_folder: Path) -> None:
    """If own pages have no ``favicon.ico``, a browser that asks for it gets an empty answer, and no error."""
    site = await open_site(nursery, folder=own_folder)
    answer = await site.get("/favicon.ico")
    assert (answer.status, answer.body) == (204, b"")
    assert (await site.get("/sub/favicon.ico")).status == 404
    (own_folder / "favicon.ico").write_bytes(b"an icon")
    assert (await site.get("/favicon.ico")).body == b"an icon"
    nursery.cancel_scope.cancel()


OUTSIDE = [
    "/../secret.txt",
    "/%2e%2e/secret.txt",
    "/..%2fsecret.txt",
    "/sub/../../secret.txt",
    "/sub/..%2f..%2fsecret.txt",
    "/..%5csecret.txt",
    "//etc/passwd",
    "/%2fetc%2fpasswd",
    "/link.txt",
    "/.env",
    "/%2eenv",
    "/.git/config",
    "/sub/.hidden",
    "/sub/%2e%2e/.env",
]


async def test_own_pages_end_at_their_folder(nursery: trio.Nursery, own_folder: Path) -> None:
    """Only visible files in the folder of an app's pages are served. For any other file the response is 404.

    This holds for hidden files, for links that lead out of the folder, and for every spelling of ``..``.
    """
    site = await open_site(nursery, folder=own_folder)
    for path in OUTSIDE:
        answer = await site.get(path)
        assert (path, answer.status, b"secret" in answer.body) == (path, 404, False)
    nursery.cancel_scope.cancel()


async def test_policy_of_own_pages(nursery: trio.Nursery, own_folder: Path) -> None:
    """An app's own pages may use scripts and servers as they like. No other page may show them in a frame."""
    site = await open_site(nursery, folder=own_folder)
    headers = (await site.get("/")).headers
    assert headers["content-security-policy"] == "frame-ancestors 'none'; object-src 'none'"
    assert headers["x-content-type-options"] == "nosniff"
    nursery.cancel_scope.cancel()


def test_folder_of_own_pages(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of an app's pages is refused if it does not exist.

    The server's current folder, and any folder that contains it, is refused too.
    """
    monkeypatch.chdir(own_folder)
    assert checked_folder(Path("sub")) == own_folder / "sub"
    for wrong in ("absent", "app.js", ".", "..", str(own_folder)):
        with pytest.raises(ConfigError, match=r"^pages: "):
            checked_folder(Path(wrong))
