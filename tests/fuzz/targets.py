"""All fuzz targets by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fuzz import (
    event_targets,
    frame_targets,
    framing_targets,
    page_targets,
    proxy_targets,
    request_targets,
    session_targets,
    token_targets,
)

if TYPE_CHECKING:
    from fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for room in (
        frame_targets,
        event_targets,
        request_targets,
        proxy_targets,
        token_targets,
        page_targets,
        framing_targets,
        session_targets,
    )
    for target in room.TARGETS
}
