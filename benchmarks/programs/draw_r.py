"""ggplot2 and base R: `charts.R` draws; here recipes are put into its words."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from recipes import Recipe
from truth import Drawing, coverage, decode

SCRIPT = Path(__file__).parent / "charts.R"
RESOLUTIONS = (72, 72, 96, 100, 120)
POINTS_PER_MM = 2.845  # ggplot2's .pt; R's line width 1 is 1/96 inch.


def draw_ggplot2(recipe: Recipe, scratch: Path) -> Drawing:
    """The chart and its truth; `scratch` is a folder for its files."""
    resolution = _resolution(recipe)
    line_width = recipe.line_width / 2.4 if recipe.line_width else None  # Millimetres.
    _run("draw_ggplot2", recipe, scratch, resolution, line_width)
    return _read(recipe, scratch, (line_width or 0.5) * POINTS_PER_MM * resolution / 96)


def draw_base(recipe: Recipe, scratch: Path) -> Drawing:
    """Likewise."""
    resolution = _resolution(recipe)
    line_width = recipe.line_width or recipe.choose(1, 1, 2, 1.5)
    _run("draw_base", recipe, scratch, resolution, line_width)
    return _read(recipe, scratch, line_width * resolution / 96)


def _resolution(recipe: Recipe) -> int:
    """Pixels per inch."""
    return RESOLUTIONS[np.random.default_rng(recipe.seed).integers(len(RESOLUTIONS))] * recipe.scale


def _run(function: str, recipe: Recipe, scratch: Path, resolution: int, line_width: float | None) -> None:
    spread = (recipe.high - recipe.low) * 0.06
    content = recipe.as_json() | {"resolution": resolution, "line_width": line_width, "spread": spread}
    content |= {"same_color": recipe.color is not None, "dashed": recipe.dashed, "extra": recipe.extra or "none"}
    script = f"source({_literal(str(SCRIPT))})\n{function}({_literal(content)})\n"
    (scratch / "chart.R").write_text(script, encoding="utf-8")
    # One locale for all: names of months and the order of series go by it.
    environment = os.environ | {"LC_ALL": "C.UTF-8"}
    command = ["Rscript", "--vanilla", "chart.R"]
    subprocess.run(command, cwd=scratch, env=environment, check=True, capture_output=True, text=True, timeout=120)


def _read(recipe: Recipe, scratch: Path, line_width: float) -> Drawing:
    picture, *lines = [(scratch / f"{number}.png").read_bytes() for number in range(recipe.count + 1)]
    return Drawing(decode(picture), [coverage(line) for line in lines], line_width)


def _literal(value: Any) -> str:
    """A value as R writes it; what is None is left out of lists by name, and missing in vectors."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, dict):
        return f"list({', '.join(f'{key}={_literal(item)}' for key, item in value.items() if item is not None)})"
    items = ["NA" if item is None else _literal(item) for item in value]
    return f"{'list' if isinstance(value[0], list) else 'c'}({','.join(items)})"
