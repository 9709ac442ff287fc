"""What a client may be told: refused at the call, since it would end the connection later, when it is written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from actors.checks import is_whole
from actors.events.encoding import is_text
from actors.events.types import MAX_SEQ
from actors.failures import shown
from transport.errors import TokenUnavailable

if TYPE_CHECKING:
    from actors.events.types import Position

_SESSION = re.compile(r"[A-Za-z0-9._~:-]{1,128}")


def check_session(session: str, resume: Position | None, from_: str) -> None:
    """Raise ``ValueError`` for a name, a position or a beginning that no server takes."""
    if not _SESSION.fullmatch(session):
        raise ValueError(f"a session's name is 1 to 128 characters of A-Z a-z 0-9 . _ ~ : -, not {shown(session)}")
    if resume is not None and not (is_whole(resume.seq, 0, MAX_SEQ) and _is_string(resume.epoch)):
        raise ValueError(f"resume must have an epoch and a seq from 0 to 2^53-1, not {shown(resume)}")
    if from_ not in {"oldest", "latest"}:
        raise ValueError(f"from_ must be 'oldest' or 'latest', not {shown(from_)}")


def check_strings(**values: object) -> None:
    """Raise ``ValueError`` for what no hello can hold: it would end the client later, when it is written."""
    for name, value in values.items():
        if value is not None and not _is_string(value):
            raise ValueError(f"{name} must be a string that UTF-8 can hold")


def check_numbers(**values: float) -> None:
    """Raise ``ValueError`` for a limit with which the client could never do anything, and for NaN."""
    for name, value in values.items():
        # Without one event, byte or second nothing ever moves; a client may do without commands and signals.
        lowest = 0 if name in {"max_commands", "signals", "patience"} else 1e-9
        if not value >= lowest:
            raise ValueError(f"{name} must be {'0 or more' if lowest == 0 else 'more than 0'}, not {shown(value)}")


def checked_token(token: object) -> str | None:
    """Return ``token``, a string or None. Raise :class:`~transport.errors.TokenUnavailable` for anything else."""
    if token is not None and not _is_string(token):
        raise TokenUnavailable(f"the token callable returned no string but {type(token).__name__}")
    return cast("str | None", token)


def _is_string(value: object) -> bool:
    return isinstance(value, str) and is_text(value)
