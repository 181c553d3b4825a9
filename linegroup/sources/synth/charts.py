"""Generated charts without end: `number -> Sample`, a pure function of distribution, seed and number.

A chart is drawn as plain data (`draw`), rendered by one of several programs, each of its lines once
more alone for its exact ink, and damaged as files in the world are, the truth moving along.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from linegroup.config import explain_settings
from linegroup.errors import UserError
from linegroup.masks import encode
from linegroup.sample import Instance, Sample
from linegroup.sources.synth.damage import Damaged, Drawing, damage
from linegroup.sources.synth.distribution import ChartDistribution
from linegroup.sources.synth.drafting import draft, photocopied
from linegroup.sources.synth.draw import draw_chart
from linegroup.sources.synth.rendering import render
from linegroup.sources.synth.restyling import restyle
from linegroup.sources.synth.spec import Chart, Line, Panel, Rendering, clip_parts, to_pixels
from linegroup.sources.synth.statistics import describe, tags_of

VERSION = 1
"""Grows with every change that makes another picture of the same seed."""

CATEGORY = "line"

COVERED = 1 / 3
"""A pixel belongs to a line when its ink covers at least this share of it; of lines thinner than a pixel, less."""

_THINNEST = 0.12
_TRIES = 20
_SIMPLIFIED = 0.1
"""Largest distance in pixels of a stored centre line from the drawn one."""


@dataclass(frozen=True)
class Drawn:
    """A chart with what was left of it after damage, for tests and pictures.

    Attributes:
        chart: What was asked of the renderer.
        rendering: What it drew.
        damaged: The stored file and its truth.
    """

    chart: Chart
    rendering: Rendering
    damaged: Damaged


class ChartStream:
    """An endless stream of generated charts; sample `number` is the same in every process, in any order."""

    name = "charts"

    def __init__(self, seed: int = 0, distribution: ChartDistribution | None = None) -> None:
        """Args: seed: ≥ 0, chooses the stream; distribution: what its charts look like.

        Raises:
            UserError: the seed is below 0.
        """
        if seed < 0:
            raise UserError(f"A stream's seed must be at least 0; got {seed}.")
        self.seed = seed
        self.distribution = distribution or ChartDistribution()

    @property
    def digest(self) -> str:
        """Names exactly this stream: generator, version, seed and distribution."""
        return f"{self.name}/{VERSION}:{self.seed}:{self.distribution.digest}"

    def read(self, number: int) -> Sample:
        """Sample number `number` ≥ 0 of the stream; its id is the number."""
        drawn = self.draw(number)
        return self._sample(number, drawn)

    def draw(self, number: int) -> Drawn:
        """The chart behind a sample, with its steps. Charts without any visible line are drawn anew."""
        assert number >= 0, number
        for attempt in range(_TRIES):
            rng = np.random.default_rng([self.seed, VERSION, number, attempt])
            chart, harm = draw_chart(self.distribution, rng), self.distribution.damage
            # Dice of its own: the other charts of a seed stay what they were before there was drafting.
            dice = np.random.default_rng([self.seed, VERSION, number, attempt, 1])
            if dice.random() < self.distribution.drafting:
                chart, harm = draft(chart, dice), photocopied(harm)
            elif dice.random() < self.distribution.restyling:
                chart = restyle(chart, dice)
            rendering = render(chart)
            drawing = Drawing(rendering.pixels, tuple(_centre(p, x)[0] for p, x in chart.lines), _uncovered(rendering))
            damaged = damage(drawing, harm, rng)
            if any(mask.any() for mask in _masks(chart, damaged)):
                return Drawn(chart, rendering, damaged)
        raise UserError(
            f"Chart {number} of {self.digest}: no line is to be seen in {_TRIES} tries; the distribution leaves none."
        )

    def _sample(self, number: int, drawn: Drawn) -> Sample:
        chart, damaged = drawn.chart, drawn.damaged
        masks = _masks(chart, damaged)
        seen = [k for k, mask in enumerate(masks) if mask.any()]
        counts = describe([masks[k] for k in seen])
        lines = [chart.lines[k][1] for k in seen]
        instances = tuple(
            _instance((place + 1, k + 1), *chart.lines[k], damaged.drawing.lines[k], masks[k], damaged.scale)
            for place, k in enumerate(seen)
        )
        height, width = damaged.drawing.pixels.shape[:2]
        return Sample(
            number,
            (height, width),
            instances,
            group=f"{self.name}-{self.seed}-{number}",
            name=f"{number:08d}{damaged.suffix}",
            image=damaged.content,
            tags=tags_of(chart, lines, counts, damaged.steps, damaged.scale),
            meta={"generator": self._origin(number), "drawn": _facts(chart, damaged), "statistics": counts},
        )

    def _origin(self, number: int) -> dict[str, Any]:
        changed = self.distribution.changed()
        origin = {"name": self.name, "version": VERSION, "seed": self.seed, "number": number}
        return origin | ({"distribution": changed} if changed else {})


def chart_stream(settings: Mapping[str, Any]) -> ChartStream:
    """A stream from its settings: `seed`, and what differs from the default distribution (nested).

    Raises:
        UserError: an unknown setting, or a value out of range.
    """
    settings = dict(settings)
    seed = settings.pop("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise UserError(f"synth:charts: seed must be a whole number; got {seed!r}.")
    try:
        return ChartStream(seed, ChartDistribution.model_validate(settings))
    except ValidationError as error:
        raise UserError(f"synth:charts: {explain_settings(error, ChartDistribution())}") from None


def remake(meta: Mapping[str, Any]) -> Sample:
    """A generated sample once more, alone, from its `meta`.

    Raises:
        UserError: it was not generated, or by another version.
    """
    origin = meta.get("generator")
    if not isinstance(origin, Mapping) or origin.get("name") != ChartStream.name:
        raise UserError("This sample was not generated by `linegroup synth charts`: its meta names no such generator.")
    if origin.get("version") != VERSION:
        raise UserError(f"This chart was made by generator version {origin.get('version')}; this is version {VERSION}.")
    return chart_stream({"seed": origin["seed"], **origin.get("distribution", {})}).read(origin["number"])


def _uncovered(rendering: Rendering) -> tuple[NDArray[np.uint8], ...]:
    """Ink that nothing opaque hides."""
    for left, top, right, bottom in rendering.covers:
        box = np.s_[max(0, round(top)) : max(0, round(bottom)), max(0, round(left)) : max(0, round(right))]
        for coverage in rendering.coverage:
            coverage[box] = 0
    return rendering.coverage


def _masks(chart: Chart, damaged: Damaged) -> list[NDArray[np.bool_]]:
    return [
        coverage >= np.uint8(255 * min(COVERED, max(_THINNEST, COVERED * line.thickness * damaged.scale)))
        for coverage, (_, line) in zip(damaged.drawing.coverage, chart.lines, strict=True)
    ]


def _centre(panel: Panel, line: Line) -> tuple[NDArray[np.float64], tuple[int, ...], bool]:
    """Points of a line in pixels, where its parts begin, and whether it is closed."""
    whole = line.parts()
    if line.closed:
        whole = [np.concatenate([line.xy, line.xy[:1]])]
    kept = clip_parts(whole)
    closed = line.closed and len(kept) == 1 and len(kept[0]) == len(whole[0])
    parts = [_simplified(to_pixels(part, panel.box)) for part in kept] or [np.zeros((1, 2))]
    if closed:
        parts = [parts[0][:-1]]
    starts = np.cumsum([0, *(len(part) for part in parts[:-1])])
    return np.concatenate(parts), tuple(int(start) for start in starts), closed


def _simplified(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Douglas-Peucker (1973); ends kept."""
    fewer = cv2.approxPolyDP(xy.astype(np.float32)[:, None], _SIMPLIFIED, closed=False)[:, 0].astype(np.float64)
    return fewer if len(fewer) > 1 else xy[[0, -1]]


def _instance(
    order: tuple[int, int],
    panel: Panel,
    line: Line,
    xy: NDArray[np.float64],
    mask: NDArray[np.bool_],
    scale: float,
) -> Instance:
    """Args: order: its id, and its place in the drawing, from 1."""
    _, parts, closed = _centre(panel, line)
    style = {"colour": _hex(line.colour), "dash": [round(v, 2) for v in line.dash], "marker": line.marker}
    return Instance(
        order[0],
        xy.astype(np.float32),
        category=CATEGORY,
        parts=parts,
        closed=closed,
        thickness=round(line.thickness * scale, 3),
        z=order[1],
        meta={"family": line.family, "look": style | ({} if line.drawn else {"drawn": False})},
        runs=encode(mask),
    )


def _facts(chart: Chart, damaged: Damaged) -> dict[str, Any]:
    return {
        "renderer": chart.renderer,
        "palette": chart.palette,
        "size": list(chart.size),
        "dpi": round(chart.dpi, 2),
        "font": chart.font,
        "panels": len(chart.panels),
        "families": sorted({line.family for _, line in chart.lines}),
        "damage": damaged.parameters,
    }


def _hex(colour: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * c):02x}" for c in colour)
