"""What a chart's truth says of its difficulty: counts for statistics, words for metrics by tag."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from linegroup.sources.synth.palettes import SAME
from linegroup.sources.synth.spec import Chart, Line

NEAR = 7
"""Lines that run on with at most so many pixels between their inks are near each other."""

_THIN, _THICK = 1.25, 3.0
_MANY_LINES, _MANY_CROSSINGS = 7, 6
_PARALLEL_SHARE = 0.25
_FAINT = 0.25


def describe(masks: Sequence[NDArray[np.bool_]]) -> dict[str, float]:
    """Counts of one picture.

    Args:
        masks: Each line's ink, `(h, w)`.

    Returns:
        `lines`; `crossings`: places where inks meet; `overlap`: share of ink pixels on several lines;
        `near`: share of ink pixels that have another line within `NEAR` pixels, far from any crossing.
    """
    counts = {"lines": float(len(masks)), "crossings": 0.0, "overlap": 0.0, "near": 0.0}
    if len(masks) < 2:
        return counts
    total: NDArray[np.uint8] = np.sum(masks, axis=0, dtype=np.uint8)
    ink: NDArray[np.bool_] = total > 0
    several: NDArray[np.bool_] = total > 1
    if several.any():
        joined = cv2.dilate(several.astype(np.uint8), np.ones((5, 5), dtype=np.uint8))
        counts["crossings"] = float(cv2.connectedComponents(joined)[0] - 1)
        away = _distance(several) > NEAR + 3
    else:
        away = np.ones_like(ink)
    near = 0
    for mask in masks:
        others = (total - mask) > 0
        if others.any():
            near += int((mask & away & (_distance(others) <= NEAR)).sum())
    inked = max(1, int(sum(int(mask.sum()) for mask in masks)))
    return counts | {"overlap": float(several.sum() / ink.sum()), "near": near / inked}


def tags_of(
    chart: Chart, lines: Sequence[Line], counts: dict[str, float], steps: Sequence[str], scale: float
) -> tuple[str, ...]:
    """Words by which metrics are broken down, sorted.

    Args:
        chart: What was drawn.
        lines: Those of its lines that are seen.
        counts: As `describe` returned them.
        steps: What damage was done.
        scale: By how much the damage made the picture smaller or larger.
    """
    widths = [line.thickness * scale for line in lines]
    families = {line.family for line in lines}
    colours = np.array([line.colour for line in lines])
    tags = {
        "synthetic",
        f"renderer_{chart.renderer}",
        "K1" if len(lines) == 1 else "K2_3" if len(lines) < 4 else "K4_6" if len(lines) < 7 else "K7_up",
    }
    facts = {
        "same_color": chart.palette in SAME and len(lines) > 1,
        "black": chart.palette == "black",
        "greyscale": chart.palette == "grey",
        "similar_color": chart.palette in ("similar", "sequential"),
        "distinct_color": chart.palette == "distinct",
        "same_style": chart.palette in SAME and len(lines) > 1 and len({(x.dash, x.marker) for x in lines}) == 1,
        "dashed": any(line.dash for line in lines),
        "markers": any(line.marker for line in lines),
        "markers_only": not any(line.drawn for line in lines),
        "thin": min(widths) < _THIN,
        "thick": max(widths) > _THICK,
        "crossing": counts["crossings"] > 0,
        "many_crossings": counts["crossings"] >= _MANY_CROSSINGS,
        "parallel": counts["near"] > _PARALLEL_SHARE,
        "dense": len(lines) >= _MANY_LINES,
        "step": bool(families & {"step", "survival"}),
        "noisy": bool(families & {"noisy", "walk"}),
        "loop": "loop" in families,
        "gaps": any(np.isnan(line.xy).any() for line in lines),
        "panels": len(chart.panels) > 1,
        "twin": any(panel.right is not None for panel in chart.panels),
        "dark": sum(chart.page) < 1,
        "faint": bool((np.abs(colours - chart.page).max(axis=1) < _FAINT).any()),
        "legend_inside": any(panel.legend is not None and panel.legend.place == "inside" for panel in chart.panels),
        "band": any(shape.kind == "area" for panel in chart.panels for shape in panel.shapes),
        "damaged": bool(steps),
    }
    return tuple(sorted(tags | {name for name, holds in facts.items() if holds} | set(steps)))


def _distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Pixels from each place to the mask, nearly Euclidean."""
    return np.asarray(cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3))
