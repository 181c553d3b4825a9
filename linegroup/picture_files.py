"""Which files of a folder are taken for pictures."""

from __future__ import annotations

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
"""What is taken from a folder, in any case of letters; a file that is named is taken whatever it is called."""

RESULTS = (".labels.png", ".overlay.png")
"""Ends of the pictures that `predict` writes."""


def is_picture(name: str) -> bool:
    """Whether a file is taken from a folder, by its name: no hidden ones, and not what `predict` itself writes."""
    lower = name.lower()
    return lower.endswith(tuple(SUFFIXES)) and not lower.startswith(".") and not lower.endswith(RESULTS)
