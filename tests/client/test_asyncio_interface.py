"""The client on asyncio has the interface of the client on trio."""

from __future__ import annotations

import inspect
import subprocess
import sys

import transport.client
import transport.client.asyncio as on_asyncio
from transport import _extras

OWN = {"open_stream", "open_socket"}
"""The options of ``connect`` that only one of the event loops has."""


def test_both_modules_have_the_same_names() -> None:
    """Both modules export the same names. All of them but ``connect`` are the same objects."""
    assert on_asyncio.__all__ == transport.client.__all__
    different = [
        name for name in on_asyncio.__all__ if getattr(on_asyncio, name) is not getattr(transport.client, name)
    ]
    assert different == ["connect"]


def test_both_have_the_same_options() -> None:
    """Both functions ``connect`` have the same parameters with the same types and defaults, in the same order."""
    theirs, ours = (inspect.signature(each.connect) for each in (transport.client, on_asyncio))
    shared = [[each for each in one.parameters.values() if each.name not in OWN] for one in (theirs, ours)]
    assert shared[0] == shared[1]
    assert set(theirs.parameters) ^ set(ours.parameters) == OWN
    assert theirs.return_annotation == ours.return_annotation


def test_missing_extra_is_named() -> None:
    """Without the library websockets, the import names the extra to install. The client on trio works without it."""
    code = "import sys; sys.modules['websockets'] = None; import transport.client; import transport.client.asyncio"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"{_extras.__name__}.ExtraMissing: the client on asyncio needs the extra asyncio-client: ")


def test_transport_imports_no_websockets() -> None:
    """Importing ``transport`` does not import the library of the client on asyncio."""
    code = "import sys, transport; assert 'websockets' not in sys.modules, 'imported'"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
