"""A check at the import of ``transport``: that ``actors`` is Greenroom's, and not another module of that name.

Python searches the folder of a program, or the current folder for ``python -m``, before the installed packages. *A
user's own actors.py there was imported in place of ours, and the error named a class that this user did not know.*

The check cannot help a user with a file called ``transport``: in that case this module is not imported at all. Python's
own error names that file.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

OWN_NAMES = ("actors", "transport")
"""The names of Greenroom's packages. Both are in the same folder, wherever they are installed."""

_PROGRAMS = {"-m", "greenroom"}
"""Names in ``sys.argv`` of a program that a person has started from a shell. The person gets one line, no traceback.

``-m`` is the name while ``python -m transport`` imports this package.
"""


def shadow_of_actors() -> str | None:
    """Return the path of a foreign module that hides the package ``actors`` of Greenroom; None if there is none.

    The foreign module is not imported for this check, because it can be a program that would run.
    """
    spec = find_spec("actors")
    own = Path(__file__).resolve().parents[1] / "actors"
    found = None if spec is None else spec.origin
    return None if found is None or Path(found).resolve().parent == own else found


def _refuse_shadow() -> None:
    shadow = shadow_of_actors()
    if shadow is None:
        return
    text = f"{shadow} hides a package of Greenroom of the same name: give it another name"
    if Path("".join(sys.argv[:1])).stem in _PROGRAMS:
        sys.stderr.write(f"greenroom: {text}\n")
        raise SystemExit(2)
    raise ImportError(text, name="actors", path=shadow)


_refuse_shadow()
