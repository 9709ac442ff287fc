"""The names of streams. Pure."""

from __future__ import annotations

from typing import NamedTuple


class StreamKey(NamedTuple):
    """The name of a stream: a user and a session. The same session name with another user is another stream."""

    user: str
    session: str


def check_names(key: StreamKey) -> None:
    """Raise ``ValueError`` if UTF-8 cannot encode the user or the session.

    Some kinds of log cannot store such a name.
    """
    for name in key:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{name!r} is not a valid name: it has a lone surrogate") from error


def check_new(key: StreamKey, *, exists: bool) -> None:
    """Raise ``ValueError`` if the stream exists, or if its name cannot be stored."""
    check_names(key)
    if exists:
        raise ValueError(f"{key} exists already")
