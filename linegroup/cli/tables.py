"""Results as tables, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from linegroup.cli.common import counted, output, plain

if TYPE_CHECKING:
    from linegroup.evaluation import Evaluation, Interval, Report

SHOWN_METRICS = (
    "ari",
    "pair_f1",
    "line_f1",
    "pq",
    "sbd",
    "vi",
    "count_error",
    "noise_ratio",
    "crossing_recall",
    "fg_precision",
    "fg_recall",
    "curve_f1",
    "hausdorff",
    "nrmse",
    "id_switches",
    "series_6a",
    "series_6b",
)
"""The others are in the JSON."""

NAMES, CELL = 18, 15
"""Columns of a terminal for the names of the scores, and for a mean with its interval."""


def show_evaluation(evaluation: Evaluation) -> None:
    """Methods side by side: every metric over all charts, then ARI by tag."""
    from linegroup.metrics import LOWER_IS_BETTER

    report, shards = evaluation.report, evaluation.shards
    record = evaluation.first.record
    charts = counted(report.pictures(), "chart")
    table = _table(f"{record.name} {record.version} on {charts}, {shards.split}", "metric", report.methods)
    summaries = {method: report.summary(method) for method in report.methods}
    for name in SHOWN_METRICS:
        lower = name in LOWER_IS_BETTER
        cells = [summaries[method][name] for method in report.methods]
        table.add_row(f"{name} {'↓' if lower else '↑'}", *_cells(cells, lower))
    table.add_row("seconds per chart", *(f"{report.seconds(method):.3f}" for method in report.methods))
    output().print(table)
    if report.tags:
        _show_tags(report, "ari", "ARI by tag")
        _show_tags(report, "line_f1", "Line F1 by tag")
    output().print("\nWhat the scores mean: docs/metrics.md", style="dim")


def _show_tags(report: Report, metric: str, title: str) -> None:
    output().print()
    # Methods without this metric (flat lines have no pixels) would only make the table wide.
    methods = [method for method in report.methods if report.summary(method)[metric].count]
    table = _table(title, "tag (charts)", methods)
    for tag in report.tags:
        cells = [report.summary(method, tag)[metric] for method in methods]
        table.add_row(f"{plain(tag)} ({report.pictures(tag)})", *_cells(cells, lower=False))
    output().print(table)


def bare_table(title: str) -> Table:
    """A table without a frame, its title above it, without columns yet."""
    return Table(
        title=plain(title),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def _table(title: str, first: str, methods: list[str]) -> Table:
    table = bare_table(title)
    table.add_column(first, no_wrap=True)
    for method in methods:
        table.add_column(plain(method), justify="right", no_wrap=True)
    return table


def _cells(intervals: list[Interval], lower: bool) -> list[str]:
    """Mean and interval of each method; the best mean is bold. Where there is no room, no intervals."""
    means = [interval.mean for interval in intervals if interval.count]
    best = (min if lower else max)(means) if means else None
    room = output().width >= NAMES + CELL * len(intervals)
    return [_cell(interval, interval.mean == best, room) for interval in intervals]


def _cell(interval: Interval, best: bool, room: bool) -> str:
    if not interval.count:
        return "–"
    mean = _number(interval.mean, 3)
    mean = f"[bold]{mean}[/bold]" if best else mean
    return f"{mean} [dim]{_bound(interval.low)}–{_bound(interval.high)}[/dim]" if room else mean


def _number(value: float, decimals: int) -> str:
    # Large numbers need no decimals, and adding zero turns -0.00 into 0.00.
    decimals = max(0, decimals - 2 * (abs(value) >= 10) - (abs(value) >= 100))
    return f"{round(value, decimals) + 0:.{decimals}f}"


def _bound(value: float) -> str:
    """Short, so that the four methods that are always there fit into 80 columns: .94, 1.0, 37."""
    text = _number(value, 2 if abs(value) < 0.995 else 1)
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text
