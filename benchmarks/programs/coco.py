"""Charts become pictures and one COCO file, as `linegroup shard` reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from recipes import BLUES_AND_GREENS, Recipe
from truth import LEAST_PIXELS, Coverage, Drawing

CATEGORY = {"id": 2, "name": "line"}
LICENSE = {"id": 1, "name": "CC0-1.0"}


class Writer:
    """Writes pictures at once, and `annotations.json` in the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        (folder / "images").mkdir(parents=True, exist_ok=True)

    def add(self, name: str, recipe: Recipe, drawing: Drawing, tags: tuple[str, ...] = ()) -> None:
        """One picture and its lines; copies of a chart share its group."""
        height, width = drawing.picture.shape[:2]
        cv2.imwrite(str(self.folder / "images" / f"{name}.png"), drawing.picture)
        image = {"id": len(self.images) + 1, "file_name": f"{name}.png", "width": width, "height": height}
        image |= {"license": LICENSE["id"], "source": recipe.program, "group": f"{recipe.program}-{recipe.index}"}
        self.images.append(image | {"tags": [*tags_of(recipe, drawing), *tags]})
        for number, (mask, coverage) in enumerate(zip(drawing.masks(), drawing.coverages, strict=True)):
            if mask.sum() >= LEAST_PIXELS:
                record = {"id": len(self.annotations) + 1, "image_id": image["id"], "instance": number + 1}
                style = {"dash": recipe.dashes[number], "marker": recipe.marker, "name": recipe.names[number]}
                record |= {"thickness": round(max(drawing.line_width, 0.3), 2), "style": style}
                self.annotations.append(record | _outline(mask, coverage))

    def finish(self) -> Path:
        """Write `annotations.json`; its path."""
        path = self.folder / "annotations.json"
        about = "line charts of twelve plotting programs with exact truth"
        info = {"description": about, "pixel_convention": "integer = pixel centre"}
        document = {"info": info, "licenses": [LICENSE], "categories": [CATEGORY]}
        path.write_text(json.dumps(document | {"images": self.images, "annotations": self.annotations}))
        return path


def _outline(mask: NDArray[np.bool_], coverage: Coverage) -> dict[str, Any]:
    ys, xs = np.nonzero(mask)
    left, top = int(xs.min()), int(ys.min())
    return {
        "category_id": CATEGORY["id"],
        "iscrowd": 0,
        "segmentation": run_lengths(mask),
        "polyline": column_centers(mask, coverage),
        "bbox": [left, top, int(xs.max()) - left + 1, int(ys.max()) - top + 1],
        "area": len(xs),
    }


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, list[int]]:
    """COCO's uncompressed run lengths: column by column, from a run of zeros on."""
    pixels = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(pixels)) + 1
    counts = np.diff(np.concatenate([[0], changes, [len(pixels)]])).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if pixels[0] else counts}


def column_centers(mask: NDArray[np.bool_], coverage: Coverage) -> list[float]:
    """`[x, y, x, y, …]`: the centre of the ink in each column; no curve where a line runs up and down."""
    ys, xs = np.nonzero(mask)
    weights = np.maximum(coverage[ys, xs].astype(float), 1e-3)
    columns = np.unique(xs)
    if len(columns) < 2:
        return [float(columns[0]), float(ys.min()), float(columns[0]), float(ys.max() + 1)]
    centers = np.bincount(xs, weights * ys)[columns] / np.bincount(xs, weights)[columns]
    return [value for x, y in zip(columns, centers, strict=True) for value in (float(x), round(float(y), 2))]


def tags_of(recipe: Recipe, drawing: Drawing) -> list[str]:
    """By what the scores are told apart: the program, the number of lines, the kind of curves, and the style."""
    count, program = recipe.count, recipe.program
    tags = [program, "K1" if count == 1 else "K2_3" if count <= 3 else "K4_6" if count <= 6 else "K7_8", recipe.kind]
    if recipe.color:
        told_apart_by = "dashed" if recipe.dashed else "markers" if recipe.marker != "none" else "plain"
        tags += ["same_color", f"same_{told_apart_by}"]
    # Not every program draws all of a recipe: no tag for what it does not.
    has = {
        "dashed": recipe.dashed,
        "dark": recipe.dark,
        "markers": recipe.marker != "none" and not (program == "gnuplot" and recipe.curve == "step"),
        "step": recipe.curve == "step" and not _without_steps(recipe),
        "thin": drawing.line_width < 1.3,
        "x2": recipe.scale == 2,
        str(recipe.extra): recipe.extra and program != "pygal",
        "similar_color": recipe.palette == list(BLUES_AND_GREENS),
        f"gnuplot_{drawing.renderer}": program == "gnuplot",
    }
    return tags + [tag for tag, value in has.items() if value]


def _without_steps(recipe: Recipe) -> bool:
    if recipe.program == "rbase":
        return recipe.marker != "none"
    return recipe.program == "pygal" and recipe.x_type != "num" and recipe.points <= 60
