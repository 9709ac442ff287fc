"""The capabilities of an agent, for clients that ask before a run: ``AgentCapabilities`` of AG-UI. Pure.

A field that is absent means "not known". So only what holds for every agent of this server is here, and the
application adds what it knows about its own agents.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actors import JSON

Capabilities: TypeAlias = "Mapping[str, Mapping[str, Any]]"
"""Categories of ``AgentCapabilities`` by their names, such as ``tools`` and ``reasoning``."""


def capabilities_of(described: Mapping[str, JSON], seconds: float, own: Capabilities) -> dict[str, Any]:
    """Return the ``AgentCapabilities`` of an agent.

    Args:
        described: The agent's ``name``, ``description`` and ``input``.
        seconds: Time limit of its runs, in seconds.
        own: Categories that the application declares. The fields of a category are added to those of the server.
    """
    description = {"description": described["description"]} if described["description"] else {}
    made: dict[str, Any] = {
        "identity": {"name": described["name"], "type": "greenroom", **description},
        "transport": {"streaming": True, "resumable": True},
        "humanInTheLoop": {"supported": True, "interrupts": True},
        "custom": {"greenroom": {"input": described["input"]}},
    }
    if math.isfinite(seconds):
        made["execution"] = {"maxExecutionTime": round(seconds * 1000)}
    for category, fields in own.items():
        made[category] = {**made.get(category, {}), **fields}
    return made
