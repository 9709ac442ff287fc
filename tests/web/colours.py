"""The colours of a page's CSS, and how much two colours differ (WCAG 2.2)."""

from __future__ import annotations

import re


def themes(css: str) -> dict[str, dict[str, str]]:
    """Return the colours of the light and of the dark theme in a page's CSS, by their names."""
    blocks = [
        dict(re.findall(r"--(\w[\w-]*):\s*(#[0-9a-f]{6});", block))
        for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    ]
    light, dark = blocks
    return {"light": light, "dark": light | dark}


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour (WCAG 2.2)."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours (WCAG 2.2), from 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def too_close(colours: dict[str, str], pairs: list[tuple[str, str, float]]) -> dict[tuple[str, str], float]:
    """Return the pairs of names whose colours have less than the demanded contrast, with their contrast."""
    found = {(one, other): (contrast(colours[one], colours[other]), least) for one, other, least in pairs}
    return {names: ratio for names, (ratio, least) in found.items() if ratio < least}
