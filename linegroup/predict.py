"""From a picture to its lines: what the command line, evaluation and serving call."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linegroup.config import GroupingConfig, TrackingConfig
from linegroup.files import write_bytes, write_text
from linegroup.grouping import group_field, make_field
from linegroup.images import Decoded, encode_png, read_image
from linegroup.model import LineModel
from linegroup.pictures import overlay
from linegroup.sample import Field, Groups
from linegroup.training.artifact import load_artifact
from linegroup.training.tracking import resolve_model
from linegroup.vectors.trace import trace
from linegroup.wire import Colour, ImageRecord, Line, LinesDocument, ModelRecord

log = logging.getLogger(__name__)

CLASSICAL = GroupingConfig(method="colour", candidates="non_background", noise="drop")
"""What groups without a model: colour and shape, no learning."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """The lines of one picture.

    Attributes:
        image: The picture they were found in.
        field: The candidate pixels.
        groups: Which line each candidate belongs to.
        parameters: The grouping configuration that was used.
        model: Name and version of what found them.
        timings_ms: Milliseconds of each stage.
    """

    image: Decoded
    field: Field
    groups: Groups
    parameters: GroupingConfig
    model: ModelRecord
    timings_ms: dict[str, float]

    @cached_property
    def labels(self) -> NDArray[np.uint16]:
        """`(h, w) uint16`, 0 = none, 1..K."""
        return self.field.label_image(self.groups.labels)

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """The lines, with polyline, colour and box; line k has `id` k + 1."""
        order = np.argsort(self.groups.labels, kind="stable")
        ends = np.cumsum(np.bincount(self.groups.labels, minlength=self.groups.count + 1))
        parts = np.split(order, ends[:-1])[1:]
        return tuple(self._line(k + 1, part) for k, part in enumerate(parts))

    def document(self, name: str) -> LinesDocument:
        """Everything as a `linegroup.lines/1` document; `name` is that of the picture."""
        height, width = self.field.size
        image = ImageRecord(
            name=name,
            width=width,
            height=height,
            orientation_applied=self.image.orientation,
            frames=self.image.frames,
        )
        return LinesDocument(
            image=image, lines=self.lines, model=self.model, parameters=self.parameters, timings_ms=self.timings_ms
        )

    def _line(self, number: int, part: NDArray[np.int64]) -> Line:
        xs, ys = self.field.positions[part].T
        red, green, blue = (round(float(c)) for c in self.image.pixels[ys, xs].mean(axis=0))
        return Line(
            id=number,
            score=float(self.groups.scores[number - 1]),
            pixel_count=len(part),
            bbox=(int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1),
            colour=Colour(rgb=(red, green, blue), hex=f"#{red:02x}{green:02x}{blue:02x}"),
            polyline=tuple((round(float(x), 2), round(float(y), 2)) for x, y in trace(xs, ys)),
        )


@dataclass(frozen=True, eq=False)
class Predictor:
    """Finds the lines of pictures, always in the same way.

    Attributes:
        model: The network, or None: colour and shape only.
        grouping: How its maps become lines.
        record: Name and version, said with every result.
    """

    model: LineModel | None
    grouping: GroupingConfig
    record: ModelRecord

    @classmethod
    def load(
        cls,
        reference: str | None = None,
        *,
        device: str = "cpu",
        overrides: dict[str, object] | None = None,
        tracking: TrackingConfig | None = None,
    ) -> Predictor:
        """A predictor from an artifact folder, `models:/name@alias`, `models:/name/version` or a run id.

        Without a reference: the packaged model, or, as long as there is none, the classical grouper.

        Args:
            reference: Which model.
            device: Where the network runs: cpu, cuda, …
            overrides: Grouping settings to change, by name.
            tracking: Where the registry is; default: the environment's, else the local one.

        Raises:
            UserError: there is no such model, it is damaged, or a setting is unknown or out of range.
        """
        if reference is None:
            with as_file(files("linegroup") / "pretrained") as packaged:
                if not packaged.is_dir():
                    return cls.classical(overrides)
                return cls._from_folder(packaged, device, overrides)
        return cls._from_folder(resolve_model(reference, tracking or TrackingConfig()), device, overrides)

    @classmethod
    def classical(cls, overrides: dict[str, object] | None = None) -> Predictor:
        """Without a network: colour and shape."""
        return cls.baseline("classical", CLASSICAL.changed(overrides))

    @classmethod
    def baseline(cls, name: str, grouping: GroupingConfig) -> Predictor:
        """A grouper without a network, under a name."""
        return cls(None, grouping, ModelRecord(name=name, version="none"))

    @classmethod
    def _from_folder(cls, folder: Path, device: str, overrides: dict[str, object] | None) -> Predictor:
        artifact = load_artifact(folder)
        grouping = artifact.grouping.changed(overrides)
        return cls(artifact.build(device), grouping, ModelRecord(name="linegroup", version=artifact.version))

    def __call__(self, image: Decoded) -> Prediction:
        """The lines of a decoded picture."""
        started = time.perf_counter()
        maps = None if self.model is None else self.model.maps(image.pixels)
        embedded = time.perf_counter()
        field = make_field(image.pixels, maps, self.grouping)
        groups = group_field(field, self.grouping)
        grouped = time.perf_counter()
        timings = {"embed": 1e3 * (embedded - started), "group": 1e3 * (grouped - embedded)}
        return Prediction(image, field, groups, self.grouping, self.record, timings)

    def predict_file(self, path: Path) -> Prediction:
        """The lines of a picture file.

        Raises:
            ImageError: the file is missing, damaged, too large or no picture.
        """
        started = time.perf_counter()
        image = read_image(path)
        decoded = 1e3 * (time.perf_counter() - started)
        prediction = self(image)
        return replace(prediction, timings_ms={"decode": decoded, **prediction.timings_ms})


def write_prediction(prediction: Prediction, out: Path, stem: str, name: str) -> None:
    """Write `<stem>.labels.png`, `<stem>.overlay.png` and, last, `<stem>.json` into `out`, each atomically."""
    write_bytes(out / f"{stem}.labels.png", encode_png(prediction.labels))
    write_bytes(out / f"{stem}.overlay.png", encode_png(overlay(prediction.image.pixels, prediction.labels)))
    write_text(out / f"{stem}.json", prediction.document(name).to_json())
