"""WebPlotDigitizer projects → samples: curves that somebody digitised become something to train on.

Projects of versions 3 and 4: a `.tar` or `.zip` with the picture, or a bare `.json` beside its picture. Archives
are read in memory; nothing is unpacked, and members beyond the limits are refused.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linegroup.errors import UserError, plainly
from linegroup.images import ImageError, decode
from linegroup.sample import COORDINATE_LIMIT, Instance, Sample
from linegroup.wire import AxisPoint, AxisRecord, CalibrationRecord, Colour

LARGEST = 256 << 20
"""Bytes of an archive's member beyond which it is not read."""

MOST_MEMBERS = 1000

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})

CORNER = 0.5
"""WebPlotDigitizer counts from the corner of the first pixel, we from its centre."""

PART = "{name} (part {number})"
"""What the datasets of a line of several parts are called, numbered from 1."""

_PART = re.compile(r"(?P<name>.*) \(part (?P<number>[0-9]{1,9})\)", re.DOTALL)


@dataclass(frozen=True, eq=False)
class Project:
    """What a project holds.

    Attributes:
        sample: Its picture and its curves, one per dataset; their names and colours stand in `meta`. Datasets that are
            called as the parts of one line are one; what ends where it begins is closed.
        calibration: Its first XY axes, or None.
        left_out: What was left out of it, a sentence each: datasets of other axes than the first XY axes.
    """

    sample: Sample
    calibration: CalibrationRecord | None
    left_out: tuple[str, ...] = ()


def read_wpd(path: Path, number: int = 0) -> Project:
    """A project; its sample's id is `number`, its name that of the picture.

    Raises:
        UserError: the file is missing or damaged, is no project, or its picture is not there.
    """
    try:
        files = dict(_members(path))
    except tarfile.ReadError:
        raise UserError(f"Cannot read the project {path}: it is no zip or tar archive, or a damaged one.") from None
    except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        raise UserError(f"Cannot read the project {path}: {plainly(error)}.") from None
    tree = _tree(files, path)
    name, image = _picture(files, path)
    try:
        pixels = decode(image).pixels
    except ImageError as error:
        raise UserError(f"{path}: its picture {name}: {error}") from None
    try:
        return _project(tree, number, name, image, (pixels.shape[0], pixels.shape[1]), path)
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(f"{path} is no WebPlotDigitizer project that is understood: {plainly(error)}.") from None


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Plain files by name, none of them large; a bare project comes with the pictures beside it."""
    if path.suffix.lower() == ".json":
        yield path.name, path.read_bytes()
        for beside in sorted(path.parent.iterdir()):
            if beside.suffix.lower() in PICTURES and beside.stem == path.stem:
                yield beside.name, beside.read_bytes()
        return
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist()[:MOST_MEMBERS]:
                if not entry.is_dir() and entry.file_size <= LARGEST:
                    with archive.open(entry) as stream:
                        yield entry.filename, stream.read(LARGEST)
        return
    with tarfile.open(path) as tar:
        for count, member in enumerate(tar):
            if count >= MOST_MEMBERS:
                break
            if member.isfile() and member.size <= LARGEST:
                found = tar.extractfile(member)
                yield member.name, (found or io.BytesIO()).read(LARGEST)


def _tree(files: dict[str, bytes], path: Path) -> dict[str, Any]:
    """The project itself: the file that info.json names, else the only JSON with data in it."""
    for name, content in files.items():
        if not name.lower().endswith(".json") or PurePosixPath(name).name == "info.json":
            continue
        try:
            tree = json.loads(content)
        except (ValueError, RecursionError):
            continue
        if isinstance(tree, dict) and ("datasetColl" in tree or "wpd" in tree):
            return tree
    raise UserError(f"{path} holds no WebPlotDigitizer project (a JSON file with datasetColl, or wpd in version 3).")


def _picture(files: dict[str, bytes], path: Path) -> tuple[str, bytes]:
    pictures = {name: content for name, content in files.items() if PurePosixPath(name).suffix.lower() in PICTURES}
    if not pictures:
        raise UserError(f"{path} holds no picture; a bare project needs one of the same name beside it.")
    if len(pictures) > 1:
        raise UserError(f"{path} holds {len(pictures)} pictures; projects of one picture are understood.")
    ((name, content),) = pictures.items()
    # Every project calls its picture image.png: the project's own name tells them apart.
    return f"{path.stem}{PurePosixPath(name).suffix.lower()}", content


def _project(tree: dict[str, Any], number: int, name: str, image: bytes, size: tuple[int, int], path: Path) -> Project:
    old = tree.get("wpd")
    datasets = old["dataSeries"] if old is not None else tree["datasetColl"]
    axes = None if old is not None else _xy_axes(tree.get("axesColl") or [])
    kept, left_out = _of_axes(datasets, axes)
    lines = (_line(k, parts, path) for k, parts in enumerate(_by_line(kept), start=1))
    sample = Sample(
        number, size, tuple(line for line in lines if line is not None), name=name, image=image, group=path.stem
    )
    return Project(sample, _old_axes(old) if old is not None else _axes(axes), left_out)


def _of_axes(
    datasets: list[dict[str, Any]], axes: dict[str, Any] | None
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """The datasets of these axes, and what to say of the others; one that names no axes is kept."""
    mine = (axes or {}).get("name")
    if mine is None:
        return datasets, ()
    kept = [dataset for dataset in datasets if dataset.get("axesName") in (None, mine)]
    others = [dataset for dataset in datasets if dataset.get("axesName") not in (None, mine)]
    return kept, tuple(
        f"dataset {dataset.get('name')!r} has the axes {dataset['axesName']!r}; only those of {mine!r}, the first XY"
        " axes, are read."
        for dataset in others
    )


def _by_line(datasets: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Datasets that stand one after another as NAME (part 1), NAME (part 2), … are one line."""
    lines: list[list[dict[str, Any]]] = []
    for dataset in datasets:
        name = _PART.fullmatch(str(dataset.get("name", "")))
        before = str(lines[-1][0].get("name", "")) if lines else ""
        number = len(lines[-1]) + 1 if lines else 1
        if name and number > 1 and int(name["number"]) == number and before == PART.format(name=name["name"], number=1):
            lines[-1].append(dataset)
        else:
            lines.append([dataset])
    return lines


def _line(number: int, datasets: Sequence[dict[str, Any]], path: Path) -> Instance | None:
    """None where there are no two different points."""
    name = str(datasets[0].get("name", ""))
    parts = [part for part in (_points(dataset, path) for dataset in datasets) if len(part)]
    points = np.concatenate([np.zeros((0, 2)), *parts])
    if len(points) < 2 or (points == points[0]).all():
        return None
    closed = len(parts) == 1 and len(points) > 3 and bool((points[0] == points[-1]).all())
    starts = np.cumsum([0, *map(len, parts)])[:-1].tolist()
    meta = {
        "name": name if len(datasets) == 1 else name.removesuffix(PART.format(name="", number=1)),
        "source": "WebPlotDigitizer",
        **_colour(datasets[0].get("colorRGB")),
    }
    xy = (points[:-1] if closed else points).astype(np.float32)
    return Instance(number, xy, parts=tuple(starts), closed=closed, meta=meta)


def _points(dataset: dict[str, Any], path: Path) -> NDArray[np.float64]:
    """`(n, 2)`, from pixel centres."""
    data = dataset.get("data") or []
    points = np.array([[float(entry["x"]), float(entry["y"])] for entry in data], dtype=np.float64).reshape(-1, 2)
    points -= CORNER
    if not np.isfinite(points).all() or np.abs(points).max(initial=0) > COORDINATE_LIMIT:
        raise UserError(f"{path}: dataset {dataset.get('name')!r} has coordinates that no picture has.")
    return points


def _colour(channels: object) -> dict[str, str]:
    """That of a dataset, `#rrggbb`; nothing where it has none that is understood: nothing hangs on it."""
    rgb = channels[:3] if isinstance(channels, list) else []
    if len(rgb) < 3 or not all(isinstance(channel, int) and 0 <= channel <= 255 for channel in rgb):
        return {}
    return {"colour": Colour.of(*rgb).hex}


def _xy_axes(axes: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The first that are calibrated."""
    return next((a for a in axes if a.get("type") == "XYAxes" and len(a.get("calibrationPoints") or []) >= 4), None)


def _axes(found: dict[str, Any] | None) -> CalibrationRecord | None:
    if found is None:
        return None
    logs = bool(found.get("isLogX")), bool(found.get("isLogY"))
    return _record(found["calibrationPoints"], logs, upright=bool(found.get("noRotation")))


def _old_axes(old: dict[str, Any]) -> CalibrationRecord | None:
    points = old.get("calibration") or []
    if old.get("axesType") != "XYAxes" or len(points) < 4:
        return None
    settings = old.get("axesParameters") or {}
    return _record(points, (bool(settings.get("isLogX")), bool(settings.get("isLogY"))), upright=False)


def _record(points: list[dict[str, Any]], logs: tuple[bool, bool], *, upright: bool) -> CalibrationRecord:
    """The first two points are of the x axis, the next two of the y axis."""
    axes = []
    for key, pair, logarithmic in (("dx", points[:2], logs[0]), ("dy", points[2:4], logs[1])):
        dates = any("/" in str(point[key]) for point in pair)
        known = tuple(
            AxisPoint(
                pixel=(float(point["px"]) - CORNER, float(point["py"]) - CORNER),
                value=_date(str(point[key])) if dates else float(point[key]),
            )
            for point in pair
        )
        axes.append(AxisRecord(scale="date" if dates else "log10" if logarithmic else "linear", points=known))
    return CalibrationRecord(x=axes[0], y=axes[1], upright=upright)


def _date(text: str) -> str:
    """2024/5/31 as 2024-05-31; what is missing is the first of its kind."""
    day, _, clock = text.strip().partition(" ")
    year, month, date = ([*day.split("/"), "1", "1"])[:3]
    return f"{int(year):04d}-{int(month):02d}-{int(date):02d}" + (f"T{clock.strip()}" if clock.strip() else "")
