"""From a picture to its lines: what the command line, evaluation and serving call."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from linegroup import __version__
from linegroup.backbones.folding import folded
from linegroup.config import DataConfig, GroupingConfig, TrackingConfig, build_config, load_config
from linegroup.errors import UserError, unknown_name
from linegroup.files import write_bytes, write_text
from linegroup.grouping import CANDIDATES, GROUPERS, candidates_of_pixels, group_field, make_field, maps_read
from linegroup.grouping.ink import Picture
from linegroup.images import Decoded, decode, encode_png, read_image
from linegroup.interrupts import safe_point
from linegroup.memory import keep_freed_memory
from linegroup.model import LineModel, check_picture
from linegroup.pictures import numbered_overlay
from linegroup.sample import Field, Groups, Maps
from linegroup.training.artifact import PRETRAINED, PRETRAINED_FOLDER, Artifact, is_artifact, load_artifact
from linegroup.training.registry import resolve_model
from linegroup.training.runtime import choose_device, has_bfloat16
from linegroup.vectors.records import line_records
from linegroup.wire import ImageRecord, LineRecord, LinesDocument, ModelRecord, from_json, to_json

NO_MODEL = "none"
"""In place of a model's name: nothing learned."""

WITHOUT_MODEL = GroupingConfig(method="link", candidates="non_background")
"""What finds lines without a model: nothing learned."""

DOCUMENT, LABELS, OVERLAY = ".json", ".labels.png", ".overlay.png"
"""Ends of the names of a prediction's files."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """The lines of one picture.

    Attributes:
        pixels: `(h, w, 3) uint8` RGB, the picture as it was decoded.
        field: The candidate pixels.
        groups: Which line each candidate belongs to.
        image: Name, size, orientation and frames of the picture.
        parameters: The grouping settings that were used.
        model: Name and version of what found the lines.
        timings_ms: Milliseconds by stage.
    """

    pixels: NDArray[np.uint8]
    field: Field
    groups: Groups
    image: ImageRecord
    parameters: GroupingConfig
    model: ModelRecord
    timings_ms: Mapping[str, float]

    @cached_property
    def labels(self) -> NDArray[np.uint16]:
        """`(h, w) uint16`, 0 = none, 1..K."""
        return self.groups.image(self.field)

    @cached_property
    def lines(self) -> tuple[LineRecord, ...]:
        """The lines 1..K, traced when first asked for."""
        xs, ys = self.field.positions.T
        return line_records(self.field, self.groups, self.pixels[ys, xs])

    @cached_property
    def document(self) -> LinesDocument:
        """Everything as a `linegroup.lines/1` document."""
        started = time.perf_counter()
        lines = self.lines
        return LinesDocument(
            image=self.image,
            lines=lines,
            parameters=self.parameters.model_dump(mode="json"),
            model=self.model,
            notes=self.groups.notes,
            timings_ms=_rounded({**self.timings_ms, "trace": _since(started)}),
        )


@dataclass(frozen=True, eq=False)
class Predictor:
    """Finds the lines of pictures, always in the same way.

    Attributes:
        model: The network, or None: nothing learned.
        grouping: Which pixels are grouped, and how.
        version: Version of the model; without one, of linegroup.
        name: Name of the model; without one, of the grouper.
        data: How the truth of its task is drawn (category, thickness), for scoring it.
    """

    model: LineModel | None
    grouping: GroupingConfig
    version: str = __version__
    name: str = "linegroup"
    data: DataConfig = field(default_factory=DataConfig)

    @classmethod
    def load(
        cls,
        reference: str | None = None,
        device: str = "auto",
        overrides: Iterable[str] = (),
        tracking: TrackingConfig | None = None,
    ) -> Predictor:
        """A predictor from an artifact folder, `models:/name@alias`, `models:/name/version` or a run id.

        Args:
            reference: Which model; `pretrained`: the packaged one; `none`: the grouper `link` alone. Default: the
                packaged one where there is one.
            device: Where the network runs: auto, cpu, cuda, cuda:1, …
            overrides: Grouping settings to change: `grouping.eps=0.4`.
            tracking: Where the registry is; default: the environment's `MLFLOW_TRACKING_URI`, else the local one.

        Raises:
            UserError: no such model, a damaged one, an unknown setting or a value out of range.
        """
        if reference is None:
            reference = PRETRAINED if is_artifact(PRETRAINED_FOLDER) else NO_MODEL
        if reference == NO_MODEL:
            return cls.without_model(change_grouping(WITHOUT_MODEL, overrides))
        change_grouping(GroupingConfig(), overrides)  # mistakes in them are told before a model is fetched and read
        artifact = load_artifact(resolve_model(reference, tracking or TrackingConfig()))
        return cls.of_artifact(artifact, name_of(reference), device, overrides)

    @classmethod
    def of_artifact(
        cls, artifact: Artifact, name: str = "linegroup", device: str = "auto", overrides: Iterable[str] = ()
    ) -> Predictor:
        """A predictor with a model that was read already; see `load`.

        Raises:
            UserError: no such device, an unknown setting or a value out of range.
        """
        chosen = choose_device(device)
        grouping = change_grouping(artifact.grouping, overrides)
        # Here the network only predicts: what training needs of it is left out.
        model = folded(artifact.build())
        return cls(model, grouping, artifact.version or "unversioned", name, artifact.config.data).on(chosen)

    @classmethod
    def without_model(cls, grouping: GroupingConfig) -> Predictor:
        """A grouper alone, under its own name."""
        return cls(None, grouping, name=grouping.method)

    def on(self, device: torch.device | str) -> Predictor:
        """The same with its network on a device, in the precision that is fast there."""
        if self.model is None:
            return self
        model = self.model.to(device)
        if model.device.type == "cpu":
            keep_freed_memory()
        model.low_precision = has_bfloat16(model.device)
        return replace(self, model=model)

    @property
    def record(self) -> ModelRecord:
        """Name and version, as they stand in every result."""
        return ModelRecord(name=self.name, version=self.version)

    def embed(self, pixels: NDArray[np.uint8], maps: Maps | None = None, heads: Collection[str] | None = None) -> Field:
        """The candidate pixels of a picture `(h, w, 3) uint8` RGB with all that a grouper may want to know of it.

        Args:
            pixels: The picture.
            maps: What the model says of it, where that is known already.
            heads: Heads of the model that are asked, none for the pixels alone; None: all.

        Raises:
            UserError: wrong shape or type, or candidates that need a model.
        """
        check_picture(pixels)
        picture = Picture(pixels)
        if maps is None and self.model is not None and (heads is None or heads):
            maps = self.model.maps(pixels, where=candidates_of_pixels(picture, self.grouping), heads=heads)
        return make_field(picture, maps, self.grouping)

    def __call__(self, pixels: NDArray[np.uint8], maps: Maps | None = None) -> Prediction:
        """The lines of a picture: `embed`, then the grouper.

        Raises:
            UserError: as `embed`, or more lines than labels have numbers.
        """
        started = time.perf_counter()
        candidates = self.embed(pixels, maps, maps_read(self.grouping))
        safe_point()
        embedded = time.perf_counter()
        groups = group_field(candidates, self.grouping)
        safe_point()
        timings = {"embed": 1e3 * (embedded - started), "group": _since(embedded)}
        image = ImageRecord(width=pixels.shape[1], height=pixels.shape[0])
        return Prediction(pixels, candidates, groups, image, self.grouping, self.record, timings)

    def predict_file(self, path: str | Path) -> Prediction:
        """The lines of a picture file.

        Raises:
            ImageError: the file is missing, damaged, too large or no picture.
        """
        started, path = time.perf_counter(), Path(path)
        return self._decoded(read_image(path), path.name, started)

    def predict_bytes(self, content: bytes, name: str = "") -> Prediction:
        """The lines of an encoded picture; errors as `predict_file`."""
        started = time.perf_counter()
        return self._decoded(decode(content), name, started)

    def _decoded(self, image: Decoded, name: str, started: float) -> Prediction:
        decoding = _since(started)
        prediction = self(image.pixels)
        record = prediction.image.model_copy(
            update={"name": _utf8(name), "orientation_applied": image.orientation, "frames": max(1, image.frames)}
        )
        return replace(prediction, image=record, timings_ms={"decode": decoding, **prediction.timings_ms})


def change_grouping(grouping: GroupingConfig, overrides: Iterable[str]) -> GroupingConfig:
    """A copy with some settings changed, given as `grouping.key=value`.

    Raises:
        UserError: another section, an unknown key or grouper, or a value out of range.
    """
    given = load_config(None, overrides)
    strange = given.model_fields_set - {"grouping"}
    if strange:
        raise UserError(
            f"Only settings of `grouping` can be changed here, for example grouping.eps=0.4; got {strange}."
        )
    changes = given.grouping.model_dump(exclude_unset=True)
    changed = build_config({"grouping": {**grouping.model_dump(), **changes}}).grouping
    _check_names(changed)
    return changed


def _check_names(grouping: GroupingConfig) -> None:
    if grouping.method not in GROUPERS:
        raise unknown_name("grouper", grouping.method, GROUPERS)
    if grouping.candidates not in CANDIDATES:
        raise unknown_name("candidate method", grouping.candidates, CANDIDATES)


def write_prediction(
    prediction: Prediction, out: Path, stem: str, document: LinesDocument | None = None
) -> dict[str, Path]:
    """Write `<stem>.labels.png` (uint16), `<stem>.overlay.png` and, last, `<stem>.json`, each atomically.

    Args:
        prediction: What was found.
        out: The folder.
        stem: Beginning of the files' names.
        document: In place of the prediction's own: the same lines with more said of them.

    Returns:
        The files by kind: labels, overlay, json.

    Raises:
        UserError: the stem is too long for a file name.
        OSError: the folder cannot be written, or the disk is full.
    """
    paths = {"labels": out / f"{stem}{LABELS}", "overlay": out / f"{stem}{OVERLAY}", "json": out / f"{stem}{DOCUMENT}"}
    try:
        write_bytes(paths["labels"], encode_png(prediction.labels))
        write_bytes(paths["overlay"], encode_png(numbered_overlay(prediction.pixels, prediction.labels)))
        write_text(paths["json"], to_json(document or prediction.document))
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UserError(f"{stem}: the name is too long for its results; shorten it.") from None
        raise
    return paths


def is_done(predictor: Predictor, path: Path, out: Path, stem: str) -> bool:
    """Whether `out` holds this predictor's result for `path`, made after the picture was last changed."""
    try:
        document = out / f"{stem}{DOCUMENT}"
        if document.stat().st_mtime_ns < path.stat().st_mtime_ns:
            return False
        found = from_json(document.read_bytes())
    except (OSError, UserError):
        return False
    return found.model == predictor.record and found.parameters == predictor.grouping.model_dump(mode="json")


def name_of(reference: str | None) -> str:
    """Name of the model that a reference means: its name in the registry, else `linegroup`."""
    if reference is None or not reference.startswith("models:/"):
        return "linegroup"
    return reference.removeprefix("models:/").strip("/").split("/")[0].split("@")[0]


def _utf8(name: str) -> str:
    # File names may hold bytes that are no UTF-8; JSON may not.
    return os.fsencode(name).decode("utf-8", "replace")


def _since(started: float) -> float:
    return 1e3 * (time.perf_counter() - started)


def _rounded(timings: Mapping[str, float]) -> dict[str, float]:
    return {stage: round(milliseconds, 3) for stage, milliseconds in timings.items()}
