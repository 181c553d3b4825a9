"""The data that travels between the stages: frozen, checked once at the border.

Points are `(x, y)` float32 pixels, pixel centres at integers, y down. Label 0 is "no line",
1..K are the lines.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from linegroup.errors import UserError

Kind = Literal["polyline", "polygon", "mask", "stroke"]
KINDS: tuple[str, ...] = get_args(Kind)

COORDINATE_LIMIT = 1e6
"""Largest coordinate, in pixels, that is taken for one: anything beyond is damage, not a line."""


@dataclass(frozen=True, eq=False)
class Instance:
    """One line (or other object) as vectors.

    Attributes:
        id: Number of the annotation in its source.
        xy: `(n, 2) float32`, n ≥ 1, in pixels, x first; all parts one after another.
        category: Name of the category.
        kind: What `xy` describes.
        parts: Start of each part in `xy`, ascending from 0. A line drawn with interruptions has
            several parts; nothing is drawn from the end of one to the start of the next.
        closed: Whether each part's last point joins its first.
        thickness: Drawn width in pixels, or None where the source does not say.
        z: Drawing order: higher is on top; equal z keep the order of the instances.
        meta: What else the source says, JSON values only.
        runs: `(m, 2) int32`, the very pixels of the line's ink in the picture of its sample, as first flat index
            `y · width + x` and length of runs in raster order (see `linegroup.masks`); m = 0: no ink is to be
            seen. None: the ink is what `xy`, `parts` and `thickness` draw.
    """

    id: int
    xy: NDArray[np.float32]
    category: str = "line"
    kind: Kind = "polyline"
    parts: tuple[int, ...] = (0,)
    closed: bool = False
    thickness: float | None = None
    z: int = 0
    meta: Mapping[str, Any] = field(default_factory=dict)
    runs: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        xy = np.array(self.xy, dtype=np.float32)
        if xy.ndim != 2 or xy.shape[1] != 2 or len(xy) < 1:
            raise UserError(f"Instance {self.id}: points must have shape (n, 2), n >= 1; got {xy.shape}.")
        if not np.isfinite(xy).all() or np.abs(xy).max() > COORDINATE_LIMIT:
            raise UserError(
                f"Instance {self.id}: coordinates must be finite and within ±{COORDINATE_LIMIT:.0f} pixels."
            )
        if self.kind not in KINDS:
            raise UserError(f"Instance {self.id}: kind must be one of {', '.join(KINDS)}; got {self.kind!r}.")
        starts = (*self.parts, len(xy))
        if starts[0] != 0 or any(a >= b for a, b in itertools.pairwise(starts)):
            raise UserError(f"Instance {self.id}: parts must ascend from 0 below {len(xy)}; got {self.parts}.")
        if self.thickness is not None and not 0 < self.thickness <= COORDINATE_LIMIT:
            raise UserError(f"Instance {self.id}: thickness must be > 0 pixels; got {self.thickness}.")
        xy.setflags(write=False)
        object.__setattr__(self, "xy", xy)
        if self.runs is not None:
            object.__setattr__(self, "runs", _checked_runs(self.runs, self.id))

    def part_arrays(self) -> list[NDArray[np.float32]]:
        """The parts, each `(n_i, 2) float32`."""
        return np.split(self.xy, list(self.parts[1:]))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Instance):
            return NotImplemented
        return (
            np.array_equal(self.xy, other.xy)
            and (self.runs is None) == (other.runs is None)
            and (self.runs is None or other.runs is None or np.array_equal(self.runs, other.runs))
            and _rest(self, "xy", "runs") == _rest(other, "xy", "runs")
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class Sample:
    """One picture with its lines: the unit that is sharded, augmented, trained on and scored.

    Attributes:
        id: Number of the picture in its source, unique there.
        size: `(height, width)` in pixels.
        instances: The lines.
        group: Document or scene; a split never cuts one group in two.
        name: File name relative to the source's image folder, or "".
        image: The encoded picture (PNG, JPEG, …) as it was read, or None where there is only truth.
        tags: Words by which metrics are broken down (`dashed`, `crossing`, …).
        ignore: Regions without truth, each `(n, 2) float32` polygon in pixels.
        meta: What else the source says, JSON values only.
    """

    id: int
    size: tuple[int, int]
    instances: tuple[Instance, ...] = ()
    group: str = ""
    name: str = ""
    image: bytes | None = None
    tags: tuple[str, ...] = ()
    ignore: tuple[NDArray[np.float32], ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise UserError(f"Sample {self.id}: size must be (height, width), both >= 1; got {self.size}.")
        object.__setattr__(self, "group", self.group or f"image:{self.id}")
        object.__setattr__(self, "ignore", tuple(np.asarray(p, dtype=np.float32) for p in self.ignore))
        for line in self.instances:
            if line.runs is not None:
                _check_runs_fit(line.runs, self.size, f"Sample {self.id}, instance {line.id}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sample):
            return NotImplemented
        return (
            _rest(self, "ignore") == _rest(other, "ignore")
            and len(self.ignore) == len(other.ignore)
            and all(np.array_equal(a, b) for a, b in zip(self.ignore, other.ignore, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class Field:
    """Candidate pixels with what a grouper may know of them; no torch, cheap to send to another machine.

    Attributes:
        positions: `(N, 2) int32`, x first, in raster order (y, then x).
        features: `(N, D) float32`, the embedding; D = 0 where there is no model.
        foreground: `(N,) float32` in [0, 1], probability of being on a line; ones where nothing says it.
        colour: `(N, 3) float32`, CIE Lab, uneven light taken out (L of even light lies in 0..100).
        size: `(height, width)` of the picture.
        page: `(P, 3) float32`, Lab colours of the paper, the commonest first; P = 0 where unknown.
        crossing: `(N,) float32` in [0, 1], probability that lines cross there; zeros where nothing says so.
        tangent: `(N, 2) float32`, (cos 2θ, sin 2θ) of the line's direction θ from +x to +y, shorter where that is
            less sure; zeros where nothing says it.
        foreground_known: Whether a model says the foreground.
    """

    positions: NDArray[np.int32]
    features: NDArray[np.float32]
    foreground: NDArray[np.float32]
    colour: NDArray[np.float32]
    size: tuple[int, int]
    page: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 3), dtype=np.float32))
    crossing: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    tangent: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 2), dtype=np.float32))
    foreground_known: bool = False

    def __post_init__(self) -> None:
        n = len(self.positions)
        if not len(self.crossing):
            object.__setattr__(self, "crossing", np.zeros(n, dtype=np.float32))
        if not len(self.tangent):
            object.__setattr__(self, "tangent", np.zeros((n, 2), dtype=np.float32))
        shapes = {
            "positions": (self.positions.shape, (n, 2)),
            "features": (self.features.shape, (n, self.features.shape[-1])),
            "foreground": (self.foreground.shape, (n,)),
            "colour": (self.colour.shape, (n, 3)),
            "crossing": (self.crossing.shape, (n,)),
            "tangent": (self.tangent.shape, (n, 2)),
        }
        for name, (got, expected) in shapes.items():
            if got != expected:
                raise UserError(f"Field.{name} must have shape {expected}; got {got}.")
        if not np.isfinite(self.features).all():
            raise UserError("Field.features holds NaN or infinite values; the model that made them is broken.")

    def __len__(self) -> int:
        return len(self.positions)

    def part(self, order: NDArray[np.integer[Any]]) -> Field:
        """Some of the candidates, by their numbers, in that order."""
        names = ("positions", "features", "foreground", "colour", "crossing", "tangent")
        return replace(self, **{name: getattr(self, name)[order] for name in names})

    @property
    def mask(self) -> NDArray[np.bool_]:
        """`(height, width)`, where the candidates are."""
        mask = np.zeros(self.size, dtype=np.bool_)
        mask[self.positions[:, 1], self.positions[:, 0]] = True
        return mask

    def label_image(self, labels: NDArray[np.integer[Any]]) -> NDArray[np.uint16]:
        """`labels (N,)` drawn at the positions: `(height, width) uint16`, 0 = none."""
        image = np.zeros(self.size, dtype=np.uint16)
        image[self.positions[:, 1], self.positions[:, 0]] = labels
        return image


@dataclass(frozen=True, eq=False)
class Maps:
    """What a model says of every pixel of one picture.

    Attributes:
        embedding: `(D, height, width) float32`.
        foreground: `(height, width) float32` in [0, 1], probability of being on a line; ones where nothing says it.
        crossing: `(height, width) float32` in [0, 1], probability that lines cross there; zeros where nothing says so.
        tangent: `(2, height, width) float32`, as in `Field`; zeros where nothing says it.
        foreground_known: Whether the model says the foreground.
    """

    embedding: NDArray[np.float32]
    foreground: NDArray[np.float32]
    crossing: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    tangent: NDArray[np.float32] = field(default_factory=lambda: np.zeros((2, 0, 0), dtype=np.float32))
    foreground_known: bool = True

    def __post_init__(self) -> None:
        if not self.crossing.size:
            object.__setattr__(self, "crossing", np.zeros(self.foreground.shape, dtype=np.float32))
        if not self.tangent.size:
            object.__setattr__(self, "tangent", np.zeros((2, *self.foreground.shape), dtype=np.float32))


@dataclass(frozen=True, eq=False)
class Groups:
    """What a grouper answers.

    Attributes:
        labels: `(N,) int32` beside the field's positions; 0 = noise or none, 1..K = lines.
        scores: `(K,) float32` in [0, 1], share of each line's pixels that the grouper gave it itself, not as leftovers.
        shared: `(M, 2) int32`, further lines of pixels that lie on several: (pixel, line).
        beside: `(B, 3) int32`, pixels that fill up lines and are no way of theirs: (x, y, line), each once, none with a
            label. Those without ink in narrow gaps, and what of axes and grid shows at a line's edges.
        notes: What was done otherwise than asked, in words.
    """

    labels: NDArray[np.int32]
    scores: NDArray[np.float32]
    shared: NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int32))
    beside: NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 3), dtype=np.int32))
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        found = np.unique(self.labels)
        found = found[found != 0]
        if not np.array_equal(found, np.arange(1, len(self.scores) + 1)):
            raise UserError(
                f"Groups.labels must use every number 1..{len(self.scores)} (one per score) and 0; got {found[:20]}."
            )

    @property
    def count(self) -> int:
        """Number of lines K."""
        return len(self.scores)

    @property
    def members(self) -> list[NDArray[np.int64]]:
        """The pixels of each line 1..K, ascending; shared ones stand with each of theirs."""
        pixels, counts = self.by_line
        stops = np.cumsum(counts).tolist()
        return [pixels[first:stop] for first, stop in itertools.pairwise([0, *stops])]

    @property
    def by_line(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """As `members`: those of all lines in one array, and how many each line has `(K,)`."""
        pixels = np.concatenate([np.arange(len(self.labels)), self.shared[:, 0]])
        lines = np.concatenate([self.labels, self.shared[:, 1]])
        order = np.lexsort((pixels, lines))
        sizes = np.bincount(lines, minlength=self.count + 1)
        return pixels[order[sizes[0] :]], sizes[1:]

    def image(self, candidates: Field) -> NDArray[np.uint16]:
        """`(height, width) uint16`, which line each pixel is of, 0 = none, narrow gaps filled."""
        image = candidates.label_image(self.labels)
        x, y, line = self.beside.T
        image[y, x] = line
        return image

    @property
    def noise_ratio(self) -> float:
        """Share of candidate pixels that belong to no line; 0 for an empty field."""
        return float((self.labels == 0).mean()) if len(self.labels) else 0.0


def _checked_runs(given: NDArray[np.integer[Any]], number: int) -> NDArray[np.int32]:
    runs = np.array(given)
    if runs.ndim != 2 or runs.shape[1] != 2 or not np.issubdtype(runs.dtype, np.integer):
        raise UserError(f"Instance {number}: runs must be integers (m, 2); got {runs.dtype} {runs.shape}.")
    first, length = runs.T.astype(np.int64)
    if len(runs) and (first[0] < 0 or length.min() < 1 or (first[1:] < (first + length)[:-1]).any()):
        raise UserError(f"Instance {number}: runs must ascend from 0 on without overlap, each at least one pixel long.")
    if len(runs) and first[-1] + length[-1] > 2**31 - 1:
        raise UserError(f"Instance {number}: runs end beyond 2^31 pixels.")
    runs = runs.astype(np.int32)
    runs.setflags(write=False)
    return runs


def _check_runs_fit(runs: NDArray[np.int32], size: tuple[int, int], where: str) -> None:
    if not len(runs):
        return
    height, width = size
    if int(runs[-1, 0]) + int(runs[-1, 1]) > height * width:
        raise UserError(f"{where}: runs end beyond the {width} × {height} pixels of the picture.")
    if (runs[:, 0] % width + runs[:, 1] > width).any():
        raise UserError(f"{where}: a run goes on over the end of a row.")


def _rest(record: Instance | Sample, *without: str) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in record.__dataclass_fields__ if name not in without}
    values["meta"] = dict(values["meta"])
    return values
