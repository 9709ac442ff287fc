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
"""The names of Greenroom's two packages. Both packages are always installed in the same folder."""

_PROGRAMS = {"-m", "greenroom"}
"""Program names in ``sys.argv[0]`` for which an error is printed as one line, without a traceback.

With such a name, a person has started ``greenroom`` from a shell. The name is ``-m`` while ``python -m transport``
imports this package.
"""


def shadow_of_actors() -> str | None:
    """Return the path of the module that Python finds instead of Greenroom's ``actors``. Return None if there is none.

    Such a module is, for example, a user's own ``actors.py``. This check does not import the module, because the import
    could start the user's program.
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
