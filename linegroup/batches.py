"""Which samples make which batch, and how they become arrays. No torch here: batches are prepared on any CPU."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from linegroup.augment import augment
from linegroup.config import Config
from linegroup.errors import UserError
from linegroup.images import decode
from linegroup.sample import Sample
from linegroup.targets import TARGETS, Targets, draw_targets, select_category, with_thickness

Pixels = NDArray[np.uint8]

_SEED_BITS = 2**64 - 1
"""Seeds and ids are taken modulo 2^64: numpy's generators want no negative ones."""


class SampleReader(Protocol):
    """Random access to samples, in row groups that are read together."""

    @property
    def row_group_sizes(self) -> tuple[int, ...]:
        """Number of samples in each row group, in order."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> Sample:
        """Sample at a position in [0, len)."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Pictures of one step, padded at the right and below to a common size.

    Attributes:
        image: `(B, H, W, 3) uint8` RGB, white in the padding.
        inside: `(B, H, W) bool`, False in the padding.
        targets: `(B, H, W)` per name (see `TARGETS`), zero in the padding.
        ids: `(B,) int64`, ids of the samples.
    """

    image: Pixels
    inside: NDArray[np.bool_]
    targets: dict[str, NDArray[Any]]
    ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.image)


def collate(items: Sequence[tuple[Pixels, Targets]], needs: Collection[str], ids: Sequence[int]) -> Batch:
    """A batch of pictures `(h, w, 3)` with the targets that are needed; others are not computed.

    Pictures of different sizes (`augment.crop=null`) are padded to the largest height and width among them.
    """
    height = max(pixels.shape[0] for pixels, _ in items)
    width = max(pixels.shape[1] for pixels, _ in items)
    image = np.full((len(items), height, width, 3), 255, dtype=np.uint8)
    inside = np.zeros((len(items), height, width), dtype=np.bool_)
    targets: dict[str, NDArray[Any]] = {}
    for i, (pixels, truth) in enumerate(items):
        h, w = pixels.shape[:2]
        image[i, :h, :w] = pixels
        inside[i, :h, :w] = True
        for name in sorted(needs):
            plane = TARGETS[name](truth)
            if name not in targets:
                targets[name] = np.zeros((len(items), height, width), dtype=plane.dtype)
            targets[name][i, :h, :w] = plane
    return Batch(image, inside, targets, np.asarray(ids, dtype=np.int64))


@dataclass(frozen=True)
class BatchPlan:
    """Which samples make which batch: arithmetic, the same for every worker and after every restart.

    The epochs' permutations stand one after another in one endless sequence; step t of rank r takes
    positions [t·B·W + r·B, + B) of it. So no sample is lost or doubled in an epoch, any step can be
    asked for directly, and W workers with batch B see the very samples of one worker with batch W·B.

    An epoch's permutation shuffles the row groups and then the rows within windows of about `window`
    rows, so that reading stays local; with `window` rows or less it is a full permutation.

    Attributes:
        row_groups: Number of samples in each row group.
        batch_size: B, samples per worker and step.
        world: W, number of workers.
        seed: Chooses the permutations.
        window: Rows that are shuffled among each other.
    """

    row_groups: tuple[int, ...]
    batch_size: int
    world: int = 1
    seed: int = 0
    window: int = 1024

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UserError("There is no sample to train on: the shards' training split is empty.")
        for name in ("batch_size", "world", "window"):
            if getattr(self, name) < 1:
                raise UserError(f"A batch plan's {name} must be >= 1; got {getattr(self, name)}.")

    @cached_property
    def samples(self) -> int:
        """Number of samples in an epoch."""
        return sum(self.row_groups)

    @property
    def steps_per_epoch(self) -> int:
        """Steps until every sample was used at least once."""
        return -(-self.samples // (self.batch_size * self.world))

    def items(self, step: int, rank: int = 0) -> list[tuple[int, int]]:
        """`(epoch, index)` of the samples of a step."""
        assert step >= 0, step
        assert 0 <= rank < self.world, (rank, self.world)
        first = (step * self.world + rank) * self.batch_size
        last = first + self.batch_size - 1
        chosen: list[tuple[int, int]] = []
        for epoch in range(first // self.samples, last // self.samples + 1):
            before = epoch * self.samples
            rows = self.order(epoch)[max(0, first - before) : last + 1 - before]
            chosen += [(epoch, index) for index in rows.tolist()]
        return chosen

    def order(self, epoch: int) -> NDArray[np.int64]:
        """The epoch's permutation `(samples,)`."""
        return _epoch_order(self.row_groups, self.seed, self.window, epoch)


@lru_cache(maxsize=4)
def _epoch_order(row_groups: tuple[int, ...], seed: int, window: int, epoch: int) -> NDArray[np.int64]:
    rng = np.random.default_rng([seed & _SEED_BITS, epoch])
    starts = np.concatenate([[0], np.cumsum(row_groups)])
    groups = rng.permutation(len(row_groups))
    order = np.concatenate([np.arange(starts[g], starts[g + 1]) for g in groups])
    for first in range(0, len(order), window):
        rng.shuffle(order[first : first + window])
    order.setflags(write=False)
    return order


@dataclass(frozen=True)
class BatchBuilder:
    """Makes the batch of a step: reads, decodes, augments, draws, pads. Deterministic and picklable.

    Attributes:
        samples: Where samples are read.
        plan: Which samples make which batch.
        config: Augmentation and drawing.
        needs: Names of the targets to compute.
        rank: Which worker this is for.
    """

    samples: SampleReader
    plan: BatchPlan
    config: Config
    needs: frozenset[str]
    rank: int = 0

    def __call__(self, step: int) -> Batch:
        """The batch of a step in [0, ∞)."""
        chosen = self.plan.items(step, self.rank)
        made = [self._make(epoch, index) for epoch, index in chosen]
        return collate([(pixels, truth) for _, pixels, truth in made], self.needs, [i for i, _, _ in made])

    def _make(self, epoch: int, index: int) -> tuple[int, Pixels, Targets]:
        drawing = self.config.data
        # Before augmenting: crops look for the lines that are drawn, and the zoom scales the default thickness too.
        sample = with_thickness(select_category(self.samples.read(index), drawing.category), drawing)
        # Seeded by what is made, not by when: the order in which batches are prepared changes nothing.
        rng = np.random.default_rng([self.plan.seed & _SEED_BITS, epoch, sample.id & _SEED_BITS])
        changed, pixels = augment(sample, sample_pixels(sample), self.config.augment, rng)
        return sample.id, pixels, draw_targets(changed, drawing)


def sample_pixels(sample: Sample) -> Pixels:
    """The decoded picture of a sample, `(h, w, 3) uint8` RGB.

    Raises:
        UserError: the sample has no picture, or its size is not what the sample says.
    """
    if sample.image is None:
        raise UserError(f"Sample {sample.id} ({sample.name or 'no name'}) has no picture.")
    pixels = decode(sample.image).pixels
    if pixels.shape[:2] != tuple(sample.size):
        raise UserError(f"Sample {sample.id}: the picture is {pixels.shape[:2]}, its record says {sample.size}.")
    return pixels
