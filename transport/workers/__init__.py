"""``greenroom serve --workers N``: several processes that serve one app at the same ports."""
