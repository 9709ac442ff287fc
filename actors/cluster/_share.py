"""The division of users among the nodes of a cluster. Pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def batched(users: list[str], size: int) -> Iterator[list[str]]:
    """Return the users in lots of at most ``size``."""
    return (users[first : first + size] for first in range(0, len(users), size))


def share(user: str, nodes: Iterable[str]) -> str:
    """Return the name of the node to which a user falls: the one with the highest hash of its name and the user's.

    (Rendezvous hashing.) When a node goes, only its users fall to others. ``nodes`` must not be empty.
    """
    return max(nodes, key=lambda node: hashlib.blake2b(f"{node}\0{user}".encode(), digest_size=8).digest())
