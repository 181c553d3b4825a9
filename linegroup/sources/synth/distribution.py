"""The distribution that generated charts are drawn from: every range and share, declared in one place.

Shares are probabilities per chart, panel or line as said; weights need not sum to one. Lengths are
pixels of the drawn chart, before damage.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field as Setting
from pydantic import field_validator

from linegroup.config import Section, Share, flat
from linegroup.errors import unknown_name
from linegroup.sources.synth.curves import FAMILIES
from linegroup.sources.synth.damage import DamageConfig
from linegroup.sources.synth.palettes import PALETTES

Range = tuple[float, float]
"""Smallest and largest value."""

Weight = Annotated[float, Setting(ge=0)]
Weights = dict[str, Weight]

RENDERERS = ("matplotlib", "svg")
RELATIONS = ("independent", "bundle", "tangent", "fan", "common_start", "repeated")
FRAMES = ("box", "left_bottom", "bottom", "none", "centred")
BACKGROUNDS = ("white", "grey_panel", "tinted", "dark", "gradient", "bands")
LEGENDS = ("none", "inside", "right", "below", "above", "labels")
SCALES = ("linear", "log", "date", "category")


class ChartDistribution(Section):
    """What a generated chart may look like."""

    kinds: ClassVar[dict[str, tuple[str, ...]]] = {
        "renderer": RENDERERS,
        "family": tuple(FAMILIES),
        "relation": RELATIONS,
        "palette": tuple(PALETTES),
        "frame": FRAMES,
        "background": BACKGROUNDS,
        "legend": LEGENDS,
        "x_scale": SCALES,
    }

    renderer: Weights = Setting({"matplotlib": 0.6, "svg": 0.4}, description="Which program draws the chart.")

    width: Range = Setting((160, 1600), description="Pixels, log-uniform; both sides stay within this range.")
    width_usual: Range = Setting((420, 960), description="Most charts' width, log-uniform.")
    usual: Share = Setting(0.7, ge=0, le=1, description="Share of charts of usual width.")
    aspect: Range = Setting((0.9, 2.4), description="Width / height, log-uniform.")
    dpi: Range = Setting((60, 220), description="Dots per inch: text, ticks and markers grow with it.")

    lines: dict[int, Weight] = Setting(
        {
            1: 0.08,
            2: 0.17,
            3: 0.18,
            4: 0.15,
            5: 0.12,
            6: 0.1,
            7: 0.06,
            8: 0.05,
            9: 0.03,
            10: 0.03,
            11: 0.015,
            12: 0.015,
        },
        description="Number of lines in a chart of one panel.",
    )
    panels: dict[int, Weight] = Setting({1: 0.88, 2: 0.08, 3: 0.02, 4: 0.02}, description="Number of panels.")
    twin: Share = Setting(0.06, ge=0, le=1, description="Share of panels with a second y axis at the right.")

    family: Weights = Setting(
        {
            "smooth": 3,
            "noisy": 2.5,
            "walk": 2,
            "step": 1.2,
            "piecewise": 2,
            "monotone": 1.2,
            "peaks": 1,
            "periodic": 1.5,
            "ecg": 0.4,
            "survival": 0.8,
            "learning": 0.8,
            "loop": 0.4,
            "drafted": 1,
        },
        description="Kind of curve; most charts hold one kind.",
    )
    mixed_families: Share = Setting(0.2, ge=0, le=1, description="Share of panels whose lines differ in kind.")
    relation: Weights = Setting(
        {"independent": 5, "bundle": 1.2, "tangent": 0.6, "fan": 0.8, "common_start": 0.8, "repeated": 1.2},
        description=(
            "How a panel's lines lie to each other: bundle = a few pixels apart, tangent = touching without crossing,"
            " fan = through one point, common_start = from one point, repeated = one shape, shifted and stretched."
        ),
    )
    bundle_gap: Range = Setting((2, 7), description="Pixels from border to border of neighbours in a bundle.")
    overflow: Share = Setting(0.06, ge=0, le=1, description="Share of panels whose lines leave the frame.")
    gap: Share = Setting(0.06, ge=0, le=1, description="Share of lines with open gaps (missing data).")
    partial: Share = Setting(0.12, ge=0, le=1, description="Share of lines that cover only part of the axis.")

    palette: Weights = Setting(
        {"distinct": 4, "similar": 1, "sequential": 1, "grey": 0.8, "black": 2, "one_colour": 0.8},
        description="Colours of a chart's lines; black and one_colour give all lines the same.",
    )
    same_styles: Weights = Setting(
        {"dashes": 0.4, "markers": 0.15, "both": 0.15, "same": 0.3},
        description="What tells lines of one colour apart; same = nothing but their course.",
    )
    dashed: Share = Setting(0.15, ge=0, le=1, description="Share of dashed lines where colours differ.")
    dashed_charts: Share = Setting(0.3, ge=0, le=1, description="Share of coloured charts that have dashed lines.")
    markers: Share = Setting(0.2, ge=0, le=1, description="Share of charts whose lines bear markers.")
    markers_only: Share = Setting(0.06, ge=0, le=1, description="Share of charts with markers without a line.")
    marker_size: Range = Setting((3, 11), description="Pixels across, at 100 dpi.")
    thickness: Range = Setting((0.5, 5), description="Pixels, log-uniform.")
    thickness_usual: Range = Setting((1, 2.8), description="Most charts' line width in pixels, log-uniform.")
    one_thickness: Share = Setting(0.75, ge=0, le=1, description="Share of charts with one width for all lines.")
    opacity: Share = Setting(0.1, ge=0, le=1, description="Share of charts with half-transparent lines.")

    frame: Weights = Setting(
        {"box": 5, "left_bottom": 2.5, "bottom": 1, "none": 0.7, "centred": 0.3}, description="Spines of a panel."
    )
    background: Weights = Setting(
        {"white": 6, "grey_panel": 1, "tinted": 0.8, "dark": 0.5, "gradient": 0.2, "bands": 0.4},
        description="Page and panel.",
    )
    grid: Share = Setting(0.5, ge=0, le=1, description="Share of panels with a grid.")
    minor_grid: Share = Setting(0.15, ge=0, le=1, description="Share of grids that have minor lines.")
    x_scale: Weights = Setting({"linear": 6, "log": 0.7, "date": 1.2, "category": 0.6}, description="Of the x axis.")
    y_log: Share = Setting(0.12, ge=0, le=1, description="Share of panels with a logarithmic y axis.")
    tick_labels: Share = Setting(0.94, ge=0, le=1, description="Share of panels with numbers at their ticks.")
    axis_titles: Share = Setting(0.7, ge=0, le=1, description="Share of axes with a title.")
    title: Share = Setting(0.5, ge=0, le=1, description="Share of panels with a title.")
    legend: Weights = Setting(
        {"none": 3, "inside": 4, "right": 1.2, "below": 0.7, "above": 0.5, "labels": 1},
        description="Where lines are named; labels = beside each line's end; inside may lie over lines.",
    )
    legend_opaque: Share = Setting(0.5, ge=0, le=1, description="Share of inside legends that hide what is below.")
    error_bars: Share = Setting(0.06, ge=0, le=1, description="Share of panels with error bars at the lines.")
    confidence_bands: Share = Setting(0.07, ge=0, le=1, description="Share of panels with bands around the lines.")
    reference_lines: Share = Setting(0.15, ge=0, le=1, description="Share of panels with straight lines across.")
    annotations: Share = Setting(0.15, ge=0, le=1, description="Share of panels with text or arrows among the lines.")
    scatter: Share = Setting(0.05, ge=0, le=1, description="Share of panels with points that are no line.")
    bars: Share = Setting(0.03, ge=0, le=1, description="Share of panels with bars or filled areas behind the lines.")

    drafting: Share = Setting(
        0.0,
        ge=0,
        le=1,
        description="Share of charts redrawn as a draughtsman's page; photocopied, whatever damage.profile says.",
    )

    restyling: Share = Setting(
        0.0,
        ge=0,
        le=1,
        description="Share of the other charts with habits of other programs: turned labels, filled samples in legends,"
        " strong dashed grids, pale lines, marks on thin lines, lines that stop short of their marks.",
    )

    damage: DamageConfig = DamageConfig()

    @field_validator(
        "width", "width_usual", "aspect", "dpi", "bundle_gap", "marker_size", "thickness", "thickness_usual"
    )
    @classmethod
    def _is_range(cls, ends: Range) -> Range:
        if not 0 < ends[0] <= ends[1]:
            raise ValueError(f"a range goes from a positive number to one not smaller; got {ends}")
        return ends

    @field_validator("lines", "panels")
    @classmethod
    def _has_counts(cls, weights: dict[int, float]) -> dict[int, float]:
        if not any(weights.values()) or not all(1 <= count <= 64 for count in weights):
            raise ValueError("numbers from 1 to 64 with weights, one of them above 0")
        return weights

    @field_validator(*kinds)
    @classmethod
    def _names_kinds(cls, weights: Weights, info: Any) -> Weights:
        known = cls.kinds[info.field_name]
        for name in weights:
            if name not in known:
                raise ValueError(str(unknown_name(info.field_name, name, known)))
        if not any(weights.values()):
            raise ValueError("one of the weights must be above 0")
        return weights

    def changed(self) -> dict[str, Any]:
        """What differs from the defaults, as nested plain data: with it the distribution can be made again."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @property
    def digest(self) -> str:
        """Short name of exactly these settings."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def parameters(distribution: ChartDistribution) -> Mapping[str, Any]:
    """All settings as `{dotted.key: value}`, for logs."""
    return flat(distribution)
