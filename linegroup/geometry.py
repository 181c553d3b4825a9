"""The one geometry: points are (x, y) pixels, pixel centres at integers, y down.

A picture of `(height, width)` covers x in [-0.5, width - 0.5] and y in [-0.5, height - 0.5].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linegroup.masks import warp
from linegroup.sample import COORDINATE_LIMIT, Instance, Sample

Size = tuple[int, int]


def coord_grid(height: int, width: int) -> NDArray[np.float32]:
    """Pixel centres: `(height, width, 2) float32`, x first. The only grid in the code base."""
    grid = np.empty((height, width, 2), dtype=np.float32)
    grid[..., 0] = np.arange(width, dtype=np.float32)
    grid[..., 1] = np.arange(height, dtype=np.float32)[:, None]
    return grid


@dataclass(frozen=True, eq=False)
class Affine:
    """A map of pixel coordinates: `p' = matrix[:, :2] @ p + matrix[:, 2]`, into a picture of `size`.

    Attributes:
        matrix: `(2, 3) float64`.
        size: `(height, width)` of the picture that the map leads to.
    """

    matrix: NDArray[np.float64]
    size: Size

    def __call__(self, xy: NDArray[np.floating]) -> NDArray[np.float32]:
        """Map points `(n, 2)`."""
        return (xy.astype(np.float64) @ self.matrix[:, :2].T + self.matrix[:, 2]).astype(np.float32)

    def then(self, after: Affine) -> Affine:
        """This map followed by `after`."""
        a, b = after.matrix, self.matrix
        matrix = np.concatenate([a[:, :2] @ b[:, :2], (a[:, :2] @ b[:, 2] + a[:, 2])[:, None]], axis=1)
        return Affine(matrix, after.size)

    @property
    def scale(self) -> float:
        """Linear scale: square root of the area factor; thickness grows by it."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))


def identity(size: Size) -> Affine:
    """The map that changes nothing."""
    return Affine(np.array([[1.0, 0, 0], [0, 1, 0]]), size)


def dihedral(index: int, size: Size) -> Affine:
    """One of the 8 flips and rotations of a picture; exact, pixel centre to pixel centre.

    Args:
        index: 0..7. `index & 3` quarter turns as `np.rot90` does them (counter-clockwise on screen),
            after a left-right flip when `index & 4`.
        size: `(height, width)` before.
    """
    _height, width = size
    result = identity(size)
    if index & 4:
        result = Affine(np.array([[-1.0, 0, width - 1], [0, 1, 0]]), size)
    for _ in range(index & 3):
        h, w = result.size
        result = result.then(Affine(np.array([[0.0, 1, 0], [-1, 0, w - 1]]), (w, h)))
    return result


def apply_dihedral(index: int, image: NDArray[Any]) -> NDArray[Any]:
    """The same change as `dihedral(index)` for an array `(height, width, …)`; a contiguous copy."""
    turned = np.rot90(image[:, ::-1] if index & 4 else image, index & 3)
    return np.ascontiguousarray(turned)


def scale_to(size: Size, new: Size) -> Affine:
    """Resize: picture edges (not centres) stay edges, as OpenCV's `resize` does it."""
    sy, sx = new[0] / size[0], new[1] / size[1]
    return Affine(np.array([[sx, 0, 0.5 * sx - 0.5], [0, sy, 0.5 * sy - 0.5]]), new)


def crop_at(x: int, y: int, size: Size) -> Affine:
    """Cut out the picture of `size` whose first pixel is `(x, y)`."""
    return Affine(np.array([[1.0, 0, -x], [0, 1, -y]]), size)


def transform(sample: Sample, affine: Affine) -> Sample:
    """The sample's vectors mapped by `affine`, its image dropped (the caller maps pixels).

    Lines that leave the picture stay, so that labels keep their numbers; drawing clips them. Coordinates and
    thickness that a zoom takes beyond `COORDINATE_LIMIT` stop there: so far outside the picture nothing is lost.
    """
    return replace(
        sample,
        size=affine.size,
        image=None,
        instances=tuple(_transform_instance(line, affine, sample.size) for line in sample.instances),
        ignore=tuple(_within_limit(affine(polygon)) for polygon in sample.ignore),
    )


def _transform_instance(line: Instance, affine: Affine, size: Size) -> Instance:
    thickness = None if line.thickness is None else min(line.thickness * affine.scale, COORDINATE_LIMIT)
    runs = None if line.runs is None else warp(line.runs, size, affine.matrix, affine.size)
    return replace(line, xy=_within_limit(affine(line.xy)), thickness=thickness, runs=runs)


def _within_limit(xy: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.clip(xy, -COORDINATE_LIMIT, COORDINATE_LIMIT)


def length(xy: NDArray[np.floating]) -> float:
    """Length in pixels of a polyline `(n, 2)`; 0 for one point."""
    return float(np.linalg.norm(np.diff(xy.astype(np.float64), axis=0), axis=1).sum())


def resample(xy: NDArray[np.floating], step: float) -> NDArray[np.float32]:
    """Points along a polyline `(n, 2)` about every `step` pixels of arc length, both ends kept."""
    points = xy.astype(np.float64)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    if along[-1] == 0:
        return points[:1].astype(np.float32)
    at = np.linspace(0, along[-1], max(2, int(np.ceil(along[-1] / step)) + 1))
    return np.stack([np.interp(at, along, points[:, 0]), np.interp(at, along, points[:, 1])], axis=1).astype(np.float32)


def distance_to_polyline(points: NDArray[np.floating], xy: NDArray[np.floating]) -> NDArray[np.float64]:
    """Euclidean distance of each of `points (m, 2)` to the polyline `xy (n, 2)`: `(m,) float64`.

    Direct and quadratic (m·n): meant for tests and short lines.
    """
    p = points.astype(np.float64)[:, None, :]
    ends = xy.astype(np.float64)
    a, b = (ends, ends) if len(ends) == 1 else (ends[:-1], ends[1:])
    d = b - a
    squared = (d * d).sum(-1)
    t = ((p - a) * d).sum(-1) / np.where(squared > 0, squared, 1.0)
    nearest = a + np.clip(t, 0, 1)[..., None] * d
    distance: NDArray[np.float64] = np.sqrt(((p - nearest) ** 2).sum(-1)).min(axis=1)
    return distance


def bounding_box(parts: Sequence[NDArray[np.floating]]) -> tuple[float, float, float, float]:
    """`(x_min, y_min, x_max, y_max)` of all points."""
    xy = np.concatenate(list(parts))
    (x0, y0), (x1, y1) = xy.min(axis=0), xy.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)
