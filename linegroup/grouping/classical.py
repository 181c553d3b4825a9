"""Lines by colour and shape, without learning: what is used where there is no model.

Ink colours are found on the cores of strokes, where antialiasing has not mixed them with the page;
axes, grid and frames are long straight runs; text is small pieces in rows. What is left of one colour is
one line, unless pieces of it stand above each other over the same stretch of the chart.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from linegroup.config import GroupingConfig
from linegroup.grouping.clustering import empty_groups, number_lines
from linegroup.grouping.colour import colour_modes
from linegroup.sample import Field, Groups

Mask = NDArray[np.bool_]

CORE = 0.7
"""A stroke's core has this share of the strongest contrast within two pixels."""

REACH = 3
"""Pixels that antialiasing and JPEG may spread around a core."""

GREY = 14.0
"""Below this chroma an ink is grey or black, as axes and text are."""

PALE = 20.0
"""Inks of less contrast are grid colours when they draw little but straight runs."""

RUN = 0.25
"""Straight level or upright runs longer than this share of the picture's side are axes, grid or frame."""

SHORTEST = 0.12
"""A line spans at least this share of the plot, in width or height."""


@dataclass(frozen=True, eq=False)
class _Piece:
    """Pixels of one ink that hang together, small gaps included."""

    pixels: NDArray[np.int64]  # into the field
    box: tuple[int, int, int, int]  # x0, y0, x1, y1, the last inclusive
    span: float  # largest share of the plot's width or height


def group_classical(field: Field, config: GroupingConfig) -> Groups:
    """Lines of a picture by the colour and the shape of its ink (see the module)."""
    if not len(field):
        return empty_groups(0)
    contrast = _contrast(field)
    ink = _inks(field, contrast)
    ink = np.where(_filled(field, ink), -1, ink)
    structure = _structure(field, ink, contrast)
    plot = _plot_box(field, structure)
    labels = np.full(len(field), -1, dtype=np.int64)
    lines = 0
    for number in range(int(ink.max(initial=-1)) + 1):
        chosen = np.flatnonzero((ink == number) & ~structure & _inside(field.positions, plot))
        grey = _chroma(field.colour[chosen].mean(axis=0)) < GREY if len(chosen) else False
        for line in _lines_of_one_ink(field, chosen, plot, text=bool(grey)):
            if len(line) >= config.min_pixels:
                labels[line] = lines
                lines += 1
    return number_lines(labels, labels >= 0)


def _contrast(field: Field) -> NDArray[np.float32]:
    """Distance in Lab of each pixel from the nearest page colour; from white where the page is unknown."""
    page = field.page if len(field.page) else np.array([[100.0, 0, 0]], dtype=np.float32)
    away = np.linalg.norm(field.colour[:, None] - page[None], axis=2)
    return np.asarray(away.min(axis=1), dtype=np.float32)


def _inks(field: Field, contrast: NDArray[np.float32]) -> NDArray[np.int64]:
    """Number of the ink of each pixel; -1 for pixels that are near no core."""
    xs, ys = field.positions.T
    image = np.zeros(field.size, dtype=np.float32)
    image[ys, xs] = contrast
    strongest = cv2.dilate(image, np.ones((5, 5), dtype=np.uint8))[ys, xs]
    core = contrast >= CORE * strongest
    modes = np.full(len(field), -1, dtype=np.int64)
    modes[core] = colour_modes(field.colour[core])
    modes = _merge_shades(field, modes, contrast)
    known = modes >= 0
    if not known.any():
        return modes
    # The rest goes with the nearest core pixel.
    empty = np.ones(field.size, dtype=np.uint8)
    empty[ys[known], xs[known]] = 0
    away, nearest = cv2.distanceTransformWithLabels(empty, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL)
    ink_of = np.full(int(nearest.max()) + 1, -1, dtype=np.int64)
    ink_of[nearest[ys[known], xs[known]]] = modes[known]
    return np.where(away[ys, xs] <= REACH, ink_of[nearest[ys, xs]], -1)


def _merge_shades(field: Field, modes: NDArray[np.int64], contrast: NDArray[np.float32]) -> NDArray[np.int64]:
    """Paler modes that lie beside a stronger one, on the way from it to the page, are its edge."""
    count = int(modes.max(initial=-1)) + 1
    page = field.page[0] if len(field.page) else np.array([100.0, 0, 0], dtype=np.float32)
    xs, ys = field.positions.T
    means = np.array([field.colour[modes == m].mean(axis=0) - page for m in range(count)]).reshape(-1, 3)
    strength = np.array([np.median(contrast[modes == m]) for m in range(count)])
    merged = np.arange(count)
    for weak in np.argsort(strength, kind="stable"):
        stronger = [m for m in range(count) if strength[m] > strength[weak] * 1.15]
        for strong in sorted(stronger, key=lambda m: -int((modes == m).sum())):
            away = means[weak] - means[strong] * (means[weak] @ means[strong]) / (means[strong] @ means[strong])
            if np.linalg.norm(away) > 10:
                continue
            near = np.zeros(field.size, dtype=np.uint8)
            near[ys[modes == strong], xs[modes == strong]] = 1
            near = np.asarray(cv2.dilate(near, np.ones((5, 5), dtype=np.uint8)), dtype=np.uint8)
            if near[ys[modes == weak], xs[modes == weak]].mean() > 0.6:
                merged[weak] = strong
                break
    for m in range(count):  # chains of shades end at the strongest
        while merged[m] != merged[merged[m]]:
            merged[m] = merged[merged[m]]
    return np.asarray(np.where(modes >= 0, merged[modes], -1))


def _filled(field: Field, ink: NDArray[np.int64]) -> Mask:
    """Pixels of inks that mostly fill areas: bands, bars, panels."""
    xs, ys = field.positions.T
    side = max(15, round(0.025 * float(np.hypot(*field.size))))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    found = np.zeros(len(field), dtype=np.bool_)
    for number in range(int(ink.max(initial=-1)) + 1):
        chosen = np.flatnonzero(ink == number)
        mask = np.zeros(field.size, dtype=np.uint8)
        mask[ys[chosen], xs[chosen]] = 1
        thick = cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel)[ys[chosen], xs[chosen]] > 0
        found[chosen] = len(chosen) > 0 and thick.mean() > 0.5
    return found


def _structure(field: Field, ink: NDArray[np.int64], contrast: NDArray[np.float32]) -> Mask:
    """Pixels of axes, grid and frames: level and upright runs of grey ink, or of pale ink that is little else."""
    xs, ys = field.positions.T
    found = np.zeros(len(field), dtype=np.bool_)
    for number in range(int(ink.max(initial=-1)) + 1):
        chosen = np.flatnonzero(ink == number)
        if not len(chosen):
            continue
        mask = np.zeros(field.size, dtype=np.uint8)
        mask[ys[chosen], xs[chosen]] = 1
        runs = (_level_runs(mask) | _level_runs(mask.T).T)[ys[chosen], xs[chosen]]
        grey = _chroma(np.median(field.colour[chosen], axis=0)) < GREY
        pale = float(np.median(contrast[chosen])) < PALE and runs.mean() > 0.7
        if grey or pale:
            found[chosen[runs]] = True
    return _thickened(field, found)


def _level_runs(mask: NDArray[np.uint8]) -> Mask:
    """Pixels of level lines that run through much of the picture, also where other ink or dashes cut them up."""
    width = mask.shape[1]
    mask = np.ascontiguousarray(mask)
    long = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((1, max(9, int(RUN * width))), dtype=np.uint8)) > 0
    pieces = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((1, 3), dtype=np.uint8)) > 0
    rows = long.any(axis=1) | (pieces.sum(axis=1) > 1.5 * RUN * width)
    # What is taller than a ruled line, in such a row, crosses it.
    tall = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((6, 1), dtype=np.uint8)) > 0
    return np.asarray((long | (pieces & ~tall)) & rows[:, None])


def _thickened(field: Field, structure: Mask) -> Mask:
    """With the soft edge of the runs: weak pixels right beside them."""
    xs, ys = field.positions.T
    mask = np.zeros(field.size, dtype=np.uint8)
    mask[ys[structure], xs[structure]] = 1
    beside = cv2.dilate(mask, np.ones((3, 3), dtype=np.uint8))[ys, xs] > 0
    grey = np.hypot(field.colour[:, 1], field.colour[:, 2]) < GREY
    return np.asarray(structure | (beside & grey))


def _plot_box(field: Field, structure: Mask) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 of the area that axes or grid span; the whole picture where they span little."""
    height, width = field.size
    if structure.any():
        x0, y0 = field.positions[structure].min(axis=0)
        x1, y1 = field.positions[structure].max(axis=0)
        wide, high = x1 - x0 >= 0.4 * width, y1 - y0 >= 0.4 * height
        if wide or high:
            return (
                float(x0) if wide else 0.0,
                float(y0) if high else 0.0,
                float(x1) if wide else width - 1.0,
                float(y1) if high else height - 1.0,
            )
    return 0.0, 0.0, width - 1.0, height - 1.0


def _inside(positions: NDArray[np.int32], plot: tuple[float, float, float, float], margin: int = 3) -> Mask:
    xs, ys = positions.T
    x0, y0, x1, y1 = plot
    return np.asarray((xs >= x0 - margin) & (xs <= x1 + margin) & (ys >= y0 - margin) & (ys <= y1 + margin))


def _lines_of_one_ink(
    field: Field, chosen: NDArray[np.int64], plot: tuple[float, float, float, float], *, text: bool
) -> list[NDArray[np.int64]]:
    """Indices of each line among the pixels of one ink."""
    if not len(chosen):
        return []
    pieces = _pieces(field, chosen, plot)
    if text:
        pieces = [piece for piece in pieces if not _is_text(field, piece)]
    pieces.sort(key=lambda piece: -piece.span)
    lines: list[list[_Piece]] = []
    for piece in pieces:
        room = [line for line in lines if all(_overlap(piece, other) < 0.3 for other in line)]
        if room:
            min(room, key=lambda line: _distance(piece, line)).append(piece)
        elif piece.span >= SHORTEST and (not lines or piece.span >= 2 * SHORTEST):
            lines.append([piece])
    kept = [line for line in lines if max(piece.span for piece in line) >= SHORTEST or len(line) >= 4]
    return [np.concatenate([piece.pixels for piece in line]) for line in kept]


def _pieces(field: Field, chosen: NDArray[np.int64], plot: tuple[float, float, float, float]) -> list[_Piece]:
    height, width = field.size
    xs, ys = field.positions[chosen].T
    mask = np.zeros(field.size, dtype=np.uint8)
    mask[ys, xs] = 1
    gap = 2 * max(2, round(0.006 * float(np.hypot(height, width)))) + 1
    joined = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (gap, gap)))
    number = cv2.connectedComponents(joined, connectivity=8)[1][ys, xs]
    order = np.argsort(number, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(number[order])) + 1)
    whole = max(1.0, plot[2] - plot[0]), max(1.0, plot[3] - plot[1])
    pieces = []
    for part in parts:
        box = int(xs[part].min()), int(ys[part].min()), int(xs[part].max()), int(ys[part].max())
        span = max((box[2] - box[0] + 1) / whole[0], (box[3] - box[1] + 1) / whole[1])
        if span > 0.01:
            pieces.append(_Piece(chosen[part], box, span))
    return pieces


def _is_text(field: Field, piece: _Piece) -> bool:
    """A row of small pieces of about one height, or a single small blob: letters and numbers."""
    x0, y0, x1, y1 = piece.box
    xs, ys = field.positions[piece.pixels].T
    mask = np.zeros((y1 - y0 + 1, x1 - x0 + 1), dtype=np.uint8)
    mask[ys - y0, xs - x0] = 1
    _, _, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    widths, heights = boxes[1:, cv2.CC_STAT_WIDTH], boxes[1:, cv2.CC_STAT_HEIGHT]
    small = 0.06 * float(np.hypot(*field.size))
    if max(x1 - x0, y1 - y0) < small:
        return True
    letters = (widths < small) & (heights < small) & (np.minimum(widths, heights) >= 1)
    row = min(x1 - x0, y1 - y0) < small and np.median(np.minimum(widths, heights)) >= 4
    return bool(letters.all() and row and len(widths) >= 3)


def _overlap(a: _Piece, b: _Piece) -> float:
    """Share of the narrower one's stretch in x that both cover."""
    common = min(a.box[2], b.box[2]) - max(a.box[0], b.box[0]) + 1
    return max(0, common) / max(1, min(a.box[2] - a.box[0], b.box[2] - b.box[0]) + 1)


def _distance(piece: _Piece, line: list[_Piece]) -> float:
    """Smallest distance of the boxes."""
    gaps = []
    for other in line:
        dx = max(0, other.box[0] - piece.box[2], piece.box[0] - other.box[2])
        dy = max(0, other.box[1] - piece.box[3], piece.box[1] - other.box[3])
        gaps.append(float(np.hypot(dx, dy)))
    return min(gaps)


def _chroma(lab: NDArray[np.float32]) -> float:
    return float(np.hypot(lab[1], lab[2]))
