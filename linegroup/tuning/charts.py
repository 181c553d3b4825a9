"""Validation charts with what a model says of them: the network runs once, groupings are tried on its answer."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from linegroup.batches import SampleReader, sample_pixels
from linegroup.config import DataConfig, GroupingConfig
from linegroup.errors import UserError
from linegroup.files import write_atomic
from linegroup.grouping import Grouper, make_field
from linegroup.grouping.candidates import OF_INK, OF_PIXELS
from linegroup.grouping.ink import Picture
from linegroup.interrupts import safe_point
from linegroup.sample import Field, Maps, Sample
from linegroup.targets import Targets, draw_targets, line_pixels

if TYPE_CHECKING:
    # Processes that only group need no torch.
    from linegroup.model import LineModel

Pixels = NDArray[np.uint8]
Progress = Callable[[int, int], None]

_KEPT = 10
"""Fields, and groupers with their trees, that a chart keeps: those of the settings that were tried last."""

_KNOWN = 64
"""Answers that a chart keeps, compressed: some ten thousand bytes each."""

_FORMAT = 2
"""Of kept maps: those of another one are not read."""

_HALF = float(np.finfo(np.float16).max)
_INK = ("white_threshold", "canny_threshold1", "canny_threshold2", "canny_aperture_size", "canny_l2gradient")
_FIELD = ("candidates", *_INK, "canny_dilate_iter")
_POINTS = ("l2_normalize", "use_spatial", "spatial_weight", "crossing_threshold", "max_candidate_points", "seed")


@dataclass(frozen=True, eq=False)
class Chart:
    """A picture, its truth and its maps.

    Attributes:
        sample: With the picture.
        data: How its truth is drawn; the category by its name.
        maps: What the model says, in half precision.
    """

    sample: Sample
    data: DataConfig
    maps: Maps

    @cached_property
    def pixels(self) -> Pixels:
        """`(h, w, 3) uint8` RGB."""
        return sample_pixels(self.sample)

    @cached_property
    def truth(self) -> Targets:
        """The true lines, pixel by pixel."""
        return draw_targets(self.sample, self.data)

    @cached_property
    def lines(self) -> list[NDArray[np.int64]]:
        """All pixels of each true line."""
        return line_pixels(self.sample, self.data)


@dataclass(frozen=True)
class _Answer:
    """Labels that are known, `uint16` compressed, and the work that was allowed for them."""

    labels: bytes
    max_work: int
    over_work: str

    def holds_for(self, config: GroupingConfig) -> bool:
        """Whether the same setting with other limits has this answer, too: one that kept them all has."""
        if (config.max_work, config.over_work) == (self.max_work, self.over_work):
            return True
        within = not config.max_work or 0 < self.max_work <= config.max_work
        return self.over_work == "error" and within


class ChartGrouper:
    """Groups one chart again and again: fields and trees stay as long as they serve."""

    def __init__(self, chart: Chart) -> None:
        self.chart = chart
        self._picture = Picture(chart.pixels)
        self._fields: OrderedDict[Any, Field] = OrderedDict()
        self._groupers: OrderedDict[Any, Grouper] = OrderedDict()
        self._answers: OrderedDict[str, _Answer] = OrderedDict()

    def labels(self, config: GroupingConfig) -> NDArray[np.uint16]:
        """`(h, w) uint16`, 0 = none, 1..K; the same as grouping the maps anew.

        Raises:
            UserError: as `Grouper.fit`.
            WorkExceeded: as `Grouper.fit`.
        """
        known = self._answers.get(_answer_key(config))
        if known is not None and known.holds_for(config):
            self._answers.move_to_end(_answer_key(config))
            return np.frombuffer(bytearray(zlib.decompress(known.labels)), dtype=np.uint16).reshape(
                self.chart.pixels.shape[:2]
            )
        field = self._field(config)
        key = (_field_key(config), *(getattr(config, name) for name in _POINTS))
        grouper = self._groupers.get(key)
        if grouper is None:
            grouper = Grouper(config)
            groups = grouper.fit(field)
        else:
            groups = grouper.refit(**config.model_dump())
        _keep(self._groupers, key, grouper, _KEPT)
        labels = groups.image(field)
        answer = _Answer(zlib.compress(labels.tobytes(), level=1), config.max_work, config.over_work)
        _keep(self._answers, _answer_key(config), answer, _KNOWN)
        return labels

    def _field(self, config: GroupingConfig) -> Field:
        key = _field_key(config)
        field = self._fields.get(key)
        if field is None:
            field = make_field(self._picture, self.chart.maps, config)
        _keep(self._fields, key, field, _KEPT)
        return field


class MapFolder:
    """Maps of charts as files in half precision, one for each, so that several processes can read them.

    Args:
        folder: Made when missing. It holds the maps of one model on one set of charts.
        name: Names model and charts; what the folder holds under another name is not used.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.prefix = hashlib.sha256(f"{_FORMAT} {name}".encode()).hexdigest()[:12]

    def fill(self, model: LineModel, samples: SampleReader, chosen: Sequence[int], progress: Progress) -> None:
        """Run the network on the charts that are not there yet.

        Raises:
            UserError: a chart has no picture that can be read.
            OSError: the disk is full.
        """
        for done, index in enumerate(chosen, 1):
            path = self._path(index)
            if not path.exists():
                maps = half_maps(model, sample_pixels(samples.read(index)))
                arrays = {field.name: np.asarray(getattr(maps, field.name)) for field in fields(Maps)}
                write_atomic(path, lambda stream, arrays=arrays: np.savez(stream, **arrays))  # type: ignore[misc]
            progress(done, len(chosen))
            safe_point()

    def chart(self, samples: SampleReader, index: int, data: DataConfig) -> Chart:
        """One of the charts that are there."""
        with np.load(self._path(index), allow_pickle=False) as arrays:
            found = {field.name: arrays[field.name] for field in fields(Maps)}
        maps = Maps(**{**found, "foreground_known": bool(found["foreground_known"])})
        return Chart(samples.read(index), data, maps)

    def _path(self, index: int) -> Path:
        return self.folder / f"maps-{self.prefix}-{index:06d}.npz"


def half_maps(model: LineModel, pixels: Pixels) -> Maps:
    """What a model says of a picture, in half precision: three digits, a thousandth of the distance of lines."""
    maps = model.maps(pixels)
    embedding, foreground, crossing, tangent = (
        np.clip(value, -_HALF, _HALF).astype(np.float16)
        for value in (maps.embedding, maps.foreground, maps.crossing, maps.tangent)
    )
    return Maps(embedding, foreground, crossing, tangent, maps.foreground_known)  # type: ignore[arg-type]


def model_charts(model: LineModel, samples: Iterable[Sample], data: DataConfig) -> list[Chart]:
    """Charts with the maps of a model, in memory."""
    return [Chart(sample, data, half_maps(model, sample_pixels(sample))) for sample in samples]


def split_groups(groups: Sequence[str], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Two parts of charts such that no group (document) is on both sides.

    Args:
        groups: The group of each chart.
        share: Of the charts, about, that go to the second part; 0: none.
        seed: Another seed, another division; the same charts are divided the same way whatever their order.

    Returns:
        Indices of both parts, ascending; the second is empty where there is only one group.
    """
    if not 0 <= share < 1:
        raise UserError(f"The share of charts that are held out must be at least 0 and below 1; got {share:g}.")
    names = sorted(set(groups), key=lambda name: hashlib.sha256(json.dumps([seed, name]).encode()).digest())
    counts = {name: groups.count(name) for name in names}
    wanted, held = share * len(groups), set[str]()
    for name in names[1:]:
        taken = sum(counts[other] for other in held)
        # As near as whole groups allow.
        if wanted and abs(taken + counts[name] - wanted) < abs(taken - wanted):
            held.add(name)
    first = [i for i, name in enumerate(groups) if name not in held]
    return first, [i for i, name in enumerate(groups) if name in held]


def _field_key(config: GroupingConfig) -> tuple[Any, ...]:
    """What the candidates depend on."""
    threshold = config.foreground_threshold if config.candidates == "model" else None
    of_ink = config.method in OF_INK and config.candidates in OF_PIXELS
    return (threshold, of_ink, *(getattr(config, name) for name in _FIELD))


def _answer_key(config: GroupingConfig) -> str:
    """What the answer depends on, but for the work allowed."""
    return config.model_dump_json(exclude={"max_work", "over_work"})


def _keep(kept: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)
