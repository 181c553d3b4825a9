"""A search as one picture: what mattered, and which values went with which score."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from linegroup.tuning.spaces import Parameter, Space
from linegroup.tuning.trials import Trial

_BEST, _STOPPED = "#d62728", "#bbbbbb"
_COLOURS = "viridis"


def draw_search(space: Space, trials: Sequence[Trial], best: Trial, title: str, shares: Mapping[str, float]) -> bytes:
    """A PNG: parallel coordinates of all trials above, importance of the parameters below.

    Args:
        space: What was tried.
        trials: With `values` by the space's names.
        best: The one that was chosen.
        title: What the objective is.
        shares: Importance of each parameter, as `importances` has it.
    """
    used = [p for p in space.parameters if len(p.choices) != 1 and any(p.name in t.values for t in trials)]
    bars = 3.6 if shares else 0.6  # inches
    figure = Figure((max(8.0, 1.1 * len(used) + 2), 5.4 + bars), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, height_ratios=[5.4, bars])
    _parallel(above, used, trials, best, title)
    _bars(below, shares)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def _parallel(axes: Axes, parameters: Sequence[Parameter], trials: Sequence[Trial], best: Trial, title: str) -> None:
    scored = [t for t in trials if t.objective is not None and t.values]
    complete = [t.objective for t in scored if t.state == "complete" and t.objective is not None]
    norm = Normalize(min(complete, default=0.0), max(complete, default=1.0))
    for trial in sorted(scored, key=lambda t: (t.state == "complete", t.objective)):
        # A parameter that a trial does not have interrupts its line.
        ys = [p.place(trial.values[p.name]) if p.name in trial.values else float("nan") for p in parameters]
        stopped = trial.state != "complete"
        colour = _STOPPED if stopped else colormaps[_COLOURS](norm(trial.objective or 0.0))
        strong = trial is best
        axes.plot(
            range(len(ys)),
            ys,
            color=_BEST if strong else colour,
            linewidth=2.5 if strong else 0.8 if stopped else 1.2,
            marker="o" if strong else ".",
            markersize=6 if strong else 4,
            zorder=3 if strong else 1 if stopped else 2,
        )
    for x, parameter in enumerate(parameters):
        axes.axvline(x, color="#888888", linewidth=0.6, zorder=0)
        for y, text in _ticks(parameter):
            axes.annotate(text, (x, y), (3, 2), textcoords="offset points", fontsize=7, zorder=4)
    axes.set_xticks(range(len(parameters)), [p.name for p in parameters], rotation=25, ha="right", fontsize=8)
    axes.set_yticks([])
    axes.set_ylim(-0.06, 1.1)
    axes.set_title(
        f"{title}: red is what was chosen (trial {best.number}, {best.objective:.3f}), grey was stopped early",
        fontsize=10,
    )
    scale = axes.figure.colorbar(_mappable(norm), ax=axes, pad=0.01)
    scale.set_label(title, fontsize=8)


def _bars(axes: Axes, shares: Mapping[str, float]) -> None:
    axes.set_title("Importance, among the parameters that share a condition", fontsize=10)
    if not shares:
        axes.text(0.5, 0.5, "Too few complete trials to say.", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    names = list(shares)[::-1]
    axes.barh(range(len(names)), [shares[name] for name in names], color="#1f77b4", height=0.7)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlim(0, 1)


def _ticks(parameter: Parameter) -> list[tuple[float, str]]:
    if parameter.choices:
        return [(parameter.place(label), str(label)) for label in parameter.labels]
    return [(0.0, f"{parameter.low:g}"), (1.0, f"{parameter.high:g}")]


def _mappable(norm: Normalize) -> ScalarMappable:
    return ScalarMappable(norm, colormaps[_COLOURS])
