"""Marks: small shapes that recur along lines. Lines of one ink that have different ones are told apart by them.

A mark is wider than its line. It is described by moments of its ink, of which the pixels at its rim count in part: its
area, how much of it is open, how its ink is spread (fourth moment: disc 4/3, square 7/5, triangle 8/5), how much of it
lies along the axes rather than the diagonals, and how lopsided it is. Marks that agree in these are of one kind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.ndimage import find_objects
from scipy.spatial import cKDTree

from linegroup.compiling import compiled
from linegroup.grouping.strokes import Strokes, ink_box

Mask = NDArray[np.bool_]
Numbers = NDArray[np.int64]
Points = NDArray[np.float64]

LARGEST, LARGEST_SHARE = 14, 0.035
"""Pixels that marks are wide and high at most; in large pictures, this share of the width."""

ROUND = 0.5
"""Marks are about as wide as high: by so much may the horizontal part of their spread differ from the vertical one."""

SPREADS = (0.10, 0.25, 0.05, 0.25, 0.05, 0.30)
"""Usual differences of one kind's marks: logarithm of area, open share, spread, axes, lopsidedness, roundness."""

SIZE, SCALES = 10.0, (0.5, 1.3)
"""Pixels that marks measure which differ so much; larger ones differ less, within these limits: more is seen there."""

ALIKE = 3.0
"""Distance in such units up to which marks are of one kind, on average."""

FEW, MANY = 3, 1_000
"""Fewer marks are no kind; more are no marks, but noise."""

WRONG = 0.05
"""Share of the marks on a line's way that are of another one."""

MISSING = 0.25
"""A mark that is not there, where one was to be expected, says this much of one that is."""

AGREEING, BETTER = 0.75, 0.2
"""Share of the strokes between two marks that run to one of the same kind, and how much more that is than by chance."""

IN_FRONT, AIMED = 2.0, 0.5
"""Strokes that end in front of a mark are so many times half its size away from its rim at most, and point that much
beside its middle."""

SHORT, SPECK = 6, 8
"""Strokes of fewer points point nowhere; those of so many at most that lead from a mark to itself are its own ink."""

PAIRS = 5
"""Of fewer strokes between two marks that is not believed."""

MOST_STROKES = 5_000
"""In an ink of more strokes nothing is looked for: it is noise."""


@dataclass(frozen=True, eq=False)
class Marks:
    """The marks of one ink.

    Attributes:
        where: `(h, w) int32`, number of the mark at each pixel, -1 = none.
        places: `(m, 2)`, their centres, x first.
        sizes: `(m,)`, the larger one of width and height.
        kinds: `(m,) int64`, kind of each mark, 0..K-1; -1: of none.
        count: K, at least 2.
        spacing: Pixels from one mark of a line to its next one, usually.
    """

    where: NDArray[np.int32]
    places: Points
    sizes: Points
    kinds: Numbers
    count: int
    spacing: float = np.inf

    def counts(self, points: Points, cuts: Numbers) -> Points:
        """`(c, K + 1)`, how many marks of each kind lie on ways, and how many are missing there.

        Args:
            points: `(n, 2)`, those of way k from row `cuts[k]` on.
            cuts: `(c + 1,)`.
        """
        return np.asarray(_counts(points, cuts, self.where, self.kinds, self.count, self.spacing))

    def apart(self, one: Points, other: Points) -> Points:
        """`(n,)`, nats by which marks `(n, K + 1)` and `(n, K + 1)` are likelier to be of two lines than of one.

        A line has one kind of mark, or none; all are equally likely. On its way are some of others', too.
        """
        right, wrong = np.log(1 - WRONG), np.log(WRONG / self.count)
        # Of each kind that the line may have: how likely are these marks?
        ours = one * right + (one.sum(axis=1, keepdims=True) - one) * wrong
        theirs = other * right + (other.sum(axis=1, keepdims=True) - other) * wrong
        return np.asarray(_sum(ours) + _sum(theirs) - _sum(ours + theirs) - np.log(self.count + 1))


def _sum(logs: Points) -> Points:
    most = logs.max(axis=1)
    return np.asarray(most + np.log(np.exp(logs - most[:, None]).sum(axis=1)))


def find_marks(ink: Mask, contrast: NDArray[np.float32], strokes: Strokes) -> tuple[Strokes, Marks | None]:
    """The strokes of an ink that has marks of several kinds, led through these, and the marks; else as they are.

    Args:
        ink: `(h, w)`.
        contrast: `(h, w)`, how much each pixel of it differs from the page, in any unit.
        strokes: Of the ink.
    """
    marks = _find(ink, contrast, strokes)
    if marks is not None:
        through = through_marks(strokes, marks)
        if _believable(marks, through):
            return through, replace(marks, spacing=_spacing(through))
    return strokes, None


def _find(ink: Mask, contrast: NDArray[np.float32], strokes: Strokes) -> Marks | None:
    if not 0 < len(strokes) <= MOST_STROKES:
        return None
    whole, box = ink.shape, ink_box(ink)
    ink, contrast = ink[box], contrast[box]
    thick = float(np.median(np.repeat(strokes.thickness, np.diff(strokes.cuts))))
    largest = max(LARGEST, round(LARGEST_SHARE * whole[1]))
    solid, holes = _without_holes(ink, largest)
    number, boxes = _wide(solid, thick, largest)
    if not 2 * FEW <= len(boxes) <= MANY:
        return None
    along = strokes.points.astype(np.int64) - np.array([box[1].start, box[0].start])
    full = float(np.quantile(contrast[along[:, 1], along[:, 0]], 0.75))
    cover = np.minimum(contrast / max(full, 1e-6), 1) * ink
    looks = np.array([_look(number[b] == k, cover[b], holes[b]) for k, b in boxes])
    good = np.abs(looks[:, -1]) < ROUND  # and not NaN
    kinds = np.full(len(boxes), -1, dtype=np.int64)
    size = float(np.median([max(x.stop - x.start, y.stop - y.start) for _, (y, x) in boxes]))
    kinds[good] = _kinds(looks[good], size)
    count = int(kinds.max(initial=-1)) + 1
    if count < 2:
        return None
    names = np.full(int(number.max()) + 1, -1, dtype=np.int32)
    names[[k for k, _ in boxes]] = np.arange(len(boxes))
    where = np.full(whole, -1, dtype=np.int32)
    # A skeleton ends beside small marks.
    where[box] = cv2.dilate((names[number] + 1).astype(np.float32), np.ones((3, 3), np.uint8)).astype(np.int32) - 1
    corner = np.array([box[1].start, box[0].start])
    boxes_at = np.array([[x.start, y.start, x.stop, y.stop] for _, (y, x) in boxes], dtype=np.float64)
    places = (boxes_at[:, :2] + boxes_at[:, 2:] - 1) / 2 + corner
    return Marks(where, places, (boxes_at[:, 2:] - boxes_at[:, :2]).max(axis=1), kinds, count)


def _without_holes(ink: Mask, largest: int) -> tuple[Mask, Mask]:
    """The ink with its small holes, and these."""
    _, number, boxes, _ = cv2.connectedComponentsWithStats((~ink).view(np.uint8), connectivity=4)
    small = (boxes[:, cv2.CC_STAT_WIDTH] <= largest) & (boxes[:, cv2.CC_STAT_HEIGHT] <= largest)
    small[0] = False  # the ink
    holes = small[number]
    return ink | holes, holes


def _wide(solid: Mask, thick: float, largest: int) -> tuple[NDArray[np.int32], list[tuple[int, tuple[slice, slice]]]]:
    """Parts wider than the lines, no larger than marks: numbers `(h, w)`, and the number and box of each such part."""
    side = max(5, int(np.ceil(thick + 2.5)) | 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    padded = np.pad(solid.view(np.uint8), side)
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, disc)[side:-side, side:-side]
    parts = cv2.connectedComponents(opened, connectivity=8)[1].astype(np.float32)
    # The disc rounds corners off.
    grown = cv2.dilate(parts, np.ones((3, 3), np.uint8))
    number = np.where((parts == 0) & solid, grown, parts).astype(np.int32)
    found = []
    for k, box in enumerate(find_objects(number), start=1):
        height, width = (edge.stop - edge.start for edge in box)
        if max(width, height) <= min(largest, 2 * width, 2 * height):
            found.append((k, box))
    return number, found


def _look(own: Mask, cover: NDArray[Any], holes: Mask) -> tuple[float, ...]:
    """What `SPREADS` says, of one part; NaN where it has the colour of the page."""
    ink = np.where(holes, 1.0, cover) * own
    area = float(ink.sum())
    if area < 1:
        return (np.nan,) * len(SPREADS)
    ys, xs = np.mgrid[: own.shape[0], : own.shape[1]]
    x, y = xs - (ink * xs).sum() / area, ys - (ink * ys).sum() / area
    spread = float((ink * (x * x + y * y)).sum()) / area
    fourth = float((ink * (x * x + y * y) ** 2).sum()) / area
    axes = float((ink * (x**4 - 6 * x**2 * y**2 + y**4)).sum()) / area / fourth
    lopsided = float((ink * y**3).sum()) / area / spread**1.5
    flat = float((ink * (x * x - y * y)).sum()) / area / spread
    core = cv2.erode(np.pad(own.view(np.uint8), 2), np.ones((3, 3), np.uint8), iterations=2)[2:-2, 2:-2] > 0
    open_share = 1 - float(cover[core].mean()) if core.any() else 0.0
    return float(np.log(area)), open_share, fourth / spread**2, axes, lopsided, flat


def _kinds(looks: Points, size: float) -> Numbers:
    """`(m,)`, kinds of marks of a usual size by their looks `(m, 6)`; -1 = of none."""
    kinds = np.full(len(looks), -1, dtype=np.int64)
    if len(looks) < 2 * FEW:
        return kinds
    spreads = np.clip(SIZE / size, *SCALES) * np.array(SPREADS)
    name = fcluster(linkage(looks / spreads, "average"), ALIKE, "distance")
    often = np.bincount(name)[name] >= FEW
    kinds[often] = np.unique(name[often], return_inverse=True)[1]
    return kinds


def through_marks(strokes: Strokes, marks: Marks) -> Strokes:
    """The strokes, with each mark of some kind as a junction in its middle.

    What they are within marks goes, and those that point to the middle lead on to it, also from in front of the mark:
    some programs leave a gap there. A mark that no stroke leads to is one of its own.

    Args:
        strokes: Of the ink that the marks are of.
        marks: They.
    """
    parts, nodes, thickness = _outside(strokes, marks)
    known = np.flatnonzero(marks.kinds >= 0)
    aimed = _aimed_at(parts, marks, known).tolist()
    kept: list[Points] = []
    ends: list[list[int]] = []
    widths: list[float] = []
    for k, points in enumerate(parts):
        node = [strokes.junctions + new if old < 0 <= new else old for old, new in zip(nodes[k], aimed[k], strict=True)]
        if node[0] == node[1] >= strokes.junctions and len(points) <= SPECK:
            continue
        lead = [marks.places[n - strokes.junctions] if n >= strokes.junctions else None for n in node]
        before = [] if lead[0] is None else [_way(lead[0], points[0])]
        after = [] if lead[1] is None else [_way(lead[1], points[-1])[::-1]]
        kept.append(np.concatenate([*before, points, *after]))
        ends.append(node)
        widths.append(thickness[k])
    led_to = {n - strokes.junctions for node in ends for n in node}
    for mark in known.tolist():
        if mark not in led_to:
            kept.append(np.rint(marks.places[mark : mark + 1]))
            ends.append([-1, -1])
            widths.append(float(np.median(strokes.thickness)))
    return Strokes(
        np.concatenate(kept),
        np.cumsum([0, *(len(points) for points in kept)]).astype(np.int64),
        np.array(ends, dtype=np.int64),
        np.array(widths),
        strokes.junctions + len(marks.kinds),
        len(marks.kinds),
    )


def _outside(strokes: Strokes, marks: Marks) -> tuple[list[Points], list[list[int]], list[float]]:
    """Strokes where they are not within marks of some kind: their points, junctions at both ends and thickness."""
    parts: list[Points] = []
    nodes: list[list[int]] = []
    thickness: list[float] = []
    for points, ends, thick in zip(strokes.each, strokes.nodes.tolist(), strokes.thickness.tolist(), strict=True):
        x, y = points.astype(np.int64).T
        mark = marks.where[y, x]
        mark = np.where((mark >= 0) & (marks.kinds[mark] >= 0), mark, -1)
        cuts = [0, *(np.flatnonzero(np.diff(mark)) + 1).tolist(), len(points)]
        for first, last in pairwise(cuts):
            before = int(mark[first - 1]) if first else -1
            after = int(mark[last]) if last < len(points) else -1
            # Out of a mark and back into it, around its rim.
            around = before == after >= 0 and last - first <= marks.sizes[before]
            if mark[first] < 0 and not around:
                parts.append(points[first:last])
                nodes.append([-1 if first else ends[0], -1 if last < len(points) else ends[1]])
                thickness.append(thick)
    return parts, nodes, thickness


def _aimed_at(parts: list[Points], marks: Marks, known: Numbers) -> Numbers:
    """`(n, 2)`, the mark of those known that each stroke points to at its first and at its last point, -1 = none."""
    aimed = np.full((len(parts), 2), -1, dtype=np.int64)
    if not parts:
        return aimed
    points, sizes = np.concatenate(parts), np.array([len(part) for part in parts])
    begins = np.cumsum(sizes) - sizes
    tree = cKDTree(marks.places[known])
    for side in (0, 1):
        first, *along = (
            points[begins + sizes - 1 - at if side else begins + at]
            for at in (np.minimum(k, sizes - 1) for k in (0, 2, 12))
        )
        way = (along[0] - along[1])[:, None]
        away, near = tree.query(first, k=range(1, 4))
        mark = known[np.minimum(near, len(known) - 1)]  # where there are fewer they are infinitely far
        half = marks.sizes[mark] / 2
        aim = marks.places[mark] - first[:, None]
        aside = np.abs(way[..., 0] * aim[..., 1] - way[..., 1] * aim[..., 0])
        ahead = (way * aim).sum(axis=2) > 0
        straight = aside <= np.maximum(1.5, AIMED * half) * np.maximum(np.hypot(way[..., 0], way[..., 1]), 1e-9)
        meant = (sizes < SHORT)[:, None] | (ahead & straight)
        good = meant & (away <= half * (1 + IN_FRONT) + 2)
        rows = np.flatnonzero(good.any(axis=1))
        aimed[rows, side] = mark[rows, np.argmax(good[rows], axis=1)]
    return aimed


def _way(first: Points, last: Points) -> Points:
    """The pixels from one place up to another one, without that."""
    steps = max(1, int(np.ceil(np.abs(last - first).max())))
    return np.asarray(np.rint(first + (last - first) * np.arange(steps)[:, None] / steps))


def _spacing(strokes: Strokes) -> float:
    """Usual length of strokes from one mark to another one, in pixels."""
    ends = strokes.nodes >= strokes.junctions - strokes.marks
    between = ends.all(axis=1) & (strokes.nodes[:, 0] != strokes.nodes[:, 1])
    return float(np.median(np.diff(strokes.cuts)[between]))


def _believable(marks: Marks, strokes: Strokes) -> bool:
    """Whether strokes run from marks to marks of their own kind: what is taken for marks may be peaks or letters."""
    ends = strokes.nodes - (strokes.junctions - strokes.marks)
    ends = ends[(ends >= 0).all(axis=1) & (ends[:, 0] != ends[:, 1])]
    if len(ends) < PAIRS:
        return False
    kinds = marks.kinds[ends]
    shares = np.bincount(marks.kinds[marks.kinds >= 0]) / np.count_nonzero(marks.kinds >= 0)
    same = float(np.mean(kinds[:, 0] == kinds[:, 1]))
    return same >= max(AGREEING, float((shares**2).sum()) + BETTER)


@compiled
def _counts(
    points: Points, cuts: Numbers, where: NDArray[np.int32], kinds: Numbers, count: int, spacing: float
) -> Points:
    counts = np.zeros((len(cuts) - 1, count + 1))
    for k in range(len(cuts) - 1):
        last, marks = -1, 0
        for i in range(cuts[k], cuts[k + 1]):
            mark = where[int(points[i, 1]), int(points[i, 0])]
            if mark >= 0 and mark != last:
                last = mark
                marks += 1
                if kinds[mark] >= 0:
                    counts[k, kinds[mark]] += 1
        counts[k, count] = max(MISSING * ((cuts[k + 1] - cuts[k]) / spacing - 1 - marks), 0.0)
    return counts
