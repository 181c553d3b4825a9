"""What a replica does with a picture: embed it, then group and trace what was embedded.

Pure functions of plain data. Between the two steps only candidate pixels travel, in full precision: with embeddings in
half precision a quarter of the real charts were clustered otherwise by DBSCAN, and one of twenty by `link`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linegroup.config import GroupingConfig
from linegroup.errors import UserError, unknown_name
from linegroup.grouping import CANDIDATES, candidates_of_pixels, group_field, make_field, maps_read
from linegroup.grouping.ink import Picture
from linegroup.images import MAX_PIXELS, Decoded, decode, encode_png
from linegroup.predict import Predictor
from linegroup.sample import Field, Groups
from linegroup.serving.answers import ANSWERS, Found, Reply
from linegroup.serving.calm import calm
from linegroup.serving.deadline import Late, check_time
from linegroup.serving.limits import Limits, within
from linegroup.serving.thinning import group_thinned
from linegroup.wire import ImageRecord, ModelRecord


@dataclass(frozen=True)
class Order:
    """One picture to be done.

    Attributes:
        content: The encoded picture.
        name: File name as the client gave it, "" if none.
        overrides: Grouping settings to change, by the names of `GroupingConfig`; already validated.
        kind: A key of `ANSWERS`: "cluster" or "lines".
        options: Of that kind of answer.
        max_pixels: Largest height × width.
        request_id: For logs.
        limits: What grouping may cost.
        deadline: Unix time after which nobody waits; None: somebody always does.
    """

    content: bytes = field(repr=False)
    name: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "lines"
    options: Mapping[str, Any] = field(default_factory=dict)
    max_pixels: int = MAX_PIXELS
    request_id: str = ""
    limits: Limits = field(default_factory=Limits)
    deadline: float | None = None


@dataclass(frozen=True, eq=False)
class Parcel:
    """An embedded picture on its way to be grouped: its candidates, numpy and plain data.

    Attributes:
        positions: `(N, 2)` uint16, or int32 where the picture is larger; x first.
        features: `(N, D) float32`.
        foreground: `(N,) float32`.
        crossing: `(N,) float32`.
        tangent: `(N, 2) float32`.
        colour: `(N, 3) float32`, Lab.
        rgb: `(N, 3) uint8`, the candidates' colours in the picture.
        page: `(P, 3) float32`.
        foreground_known: Whether the model says the foreground.
        size: `(height, width)`.
        image: As JSON-able data of `ImageRecord`.
        grouping: As JSON-able data of `GroupingConfig`.
        model: As JSON-able data of `ModelRecord`.
        timings_ms: Milliseconds by stage so far.
        picture: The picture as a file, upright, for exports that contain it.
        limits: What grouping and tracing may cost.
        deadline: As in the order.
        request_id: As in the order.
    """

    positions: NDArray[np.integer[Any]]
    features: NDArray[np.float32]
    foreground: NDArray[np.float32]
    crossing: NDArray[np.float32]
    tangent: NDArray[np.float32]
    colour: NDArray[np.float32]
    rgb: NDArray[np.uint8]
    page: NDArray[np.float32]
    foreground_known: bool
    size: tuple[int, int]
    image: Mapping[str, Any]
    grouping: Mapping[str, Any]
    model: Mapping[str, Any]
    timings_ms: Mapping[str, float]
    picture: bytes | None = None
    limits: Limits = field(default_factory=Limits)
    deadline: float | None = None
    request_id: str = ""

    def field(self) -> Field:
        """What a grouper takes."""
        return Field(
            self.positions.astype(np.int32),
            _writable(self.features),
            _writable(self.foreground),
            _writable(self.colour),
            self.size,
            _writable(self.page),
            _writable(self.crossing),
            _writable(self.tangent),
            self.foreground_known,
        )

    def found(
        self, candidates: Field, groups: Groups, grouping: GroupingConfig, timings_ms: Mapping[str, float]
    ) -> Found:
        """What an answer is written from, once the candidates are grouped."""
        return Found(
            candidates,
            groups,
            self.rgb,
            ImageRecord.model_validate(self.image),
            grouping,
            ModelRecord.model_validate(self.model),
            timings_ms,
            self.picture,
            self.limits,
            self.deadline,
        )


def _writable(array: NDArray[Any]) -> NDArray[Any]:
    """A copy of what came from another process: for arrays that are not to be written to loops are compiled anew."""
    return array if array.flags.writeable else array.copy()


def embed(predictor: Predictor, order: Order) -> Parcel:
    """Decode a picture, run the network, choose the candidates.

    Raises:
        ImageError: no picture, damaged, or too large.
        UserError: settings out of range, or candidates that need a model.
        Late: nobody waits any more.
    """
    check_time(order.deadline)
    started = time.perf_counter()
    image = decode(order.content, max_pixels=order.max_pixels)
    check_time(order.deadline)
    decoded = time.perf_counter()
    grouping = within(predictor.grouping.changed(order.overrides), order.limits)
    if order.kind not in ANSWERS:
        raise unknown_name("kind of answer", order.kind, ANSWERS)
    candidates = _candidates(replace(predictor, grouping=grouping), image.pixels, order)
    check_time(order.deadline)
    timings = {"decode": 1e3 * (decoded - started), "embed": 1e3 * (time.perf_counter() - decoded)}
    picture = _picture(order, image) if ANSWERS[order.kind].holds_picture(order.options) else None
    return _pack(candidates, image, order, grouping, predictor.record, timings, picture)


def answer(parcel: Parcel, kind: str, options: Mapping[str, Any]) -> Reply:
    """Group (and trace) what was embedded, and write it as the client wants it.

    Raises:
        UserError: a grouper's, or more lines than are allowed.
        Late: nobody waits any more.
    """
    check_time(parcel.deadline)
    if kind not in ANSWERS:
        raise unknown_name("kind of answer", kind, ANSWERS)
    started = time.perf_counter()
    candidates = parcel.field()
    grouping = GroupingConfig.model_validate(parcel.grouping)
    parcel.limits.check_texture(grouping.method, parcel.positions, parcel.rgb, parcel.size)
    most = parcel.limits.points_of(grouping.method)
    with calm(grouping.method):
        groups = group_field(candidates, grouping) if most is None else group_thinned(candidates, grouping, most)
    timings = {**parcel.timings_ms, "group": 1e3 * (time.perf_counter() - started)}
    check_time(parcel.deadline)
    return ANSWERS[kind].write(parcel.found(candidates, groups, grouping, timings), options)


def _candidates(predictor: Predictor, pixels: NDArray[np.uint8], order: Order) -> Field:
    """The field, unless it would be too large to be made, or too late."""
    check, grouping = partial(check_time, order.deadline), predictor.grouping
    picture = Picture(pixels)
    where = candidates_of_pixels(picture, grouping)
    if where is not None:
        order.limits.check_candidates(int(np.count_nonzero(where)))
    # Large pictures are minutes of work on a CPU: the time is looked at between their tiles.
    heads = maps_read(grouping)
    model = predictor.model if heads else None
    maps = None if model is None else model.maps(pixels, check, where, heads)
    check()
    if where is None and maps is not None and maps.foreground.size > order.limits.max_candidates:
        order.limits.check_candidates(int(np.count_nonzero(CANDIDATES[grouping.candidates](picture, maps, grouping))))
    return make_field(picture, maps, grouping)


def _pack(
    candidates: Field,
    image: Decoded,
    order: Order,
    grouping: GroupingConfig,
    model: ModelRecord,
    timings: Mapping[str, float],
    picture: bytes | None,
) -> Parcel:
    xs, ys = candidates.positions.T
    height, width = candidates.size
    small = max(height, width) <= np.iinfo(np.uint16).max
    record = ImageRecord(
        name=plain_name(order.name),
        width=width,
        height=height,
        orientation_applied=image.orientation,
        frames=max(1, image.frames),
    )
    return Parcel(
        positions=candidates.positions.astype(np.uint16 if small else np.int32),
        features=candidates.features,
        foreground=candidates.foreground,
        crossing=candidates.crossing,
        tangent=candidates.tangent,
        colour=candidates.colour,
        rgb=image.pixels[ys, xs],
        page=candidates.page,
        foreground_known=candidates.foreground_known,
        size=candidates.size,
        image=record.model_dump(mode="json"),
        grouping=grouping.model_dump(mode="json"),
        model=model.model_dump(mode="json"),
        timings_ms=timings,
        picture=picture,
        limits=order.limits,
        deadline=order.deadline,
        request_id=order.request_id,
    )


def _picture(order: Order, image: Decoded) -> bytes:
    """The file as it came, where any program shows it as it was decoded; else a PNG."""
    plain = image.orientation == 1 and image.frames <= 1 and image.format in ("PNG", "JPEG")
    return order.content if plain else encode_png(image.pixels)


def plain_name(name: str) -> str:
    """The last part of a file name, whatever system wrote it, without control characters."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in last)[:255]


__all__ = ["ANSWERS", "Late", "Limits", "Order", "Parcel", "Reply", "UserError", "answer", "embed"]
