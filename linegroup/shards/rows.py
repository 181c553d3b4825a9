"""Samples ↔ rows of an Arrow table.

One row is one sample: the picture as it was read (PNG, JPEG, …) and its lines as vectors. Lists of
points are flat: x1, y1, x2, y2, …
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from linegroup.config import DataConfig
from linegroup.errors import UserError
from linegroup.images import encode_png
from linegroup.sample import Instance, Sample
from linegroup.shards.manifest import SCHEMA
from linegroup.targets import draw_targets

ROW_GROUP_ROWS = 16
"""Samples per row group: the unit that a reader loads, small, so that a random sample costs little."""

SCHEMA_KEY = b"linegroup.schema"
"""Key in a shard's metadata under which the schema's name and version stand."""

_INSTANCE = pa.struct(
    [
        ("id", pa.int64()),
        ("category", pa.string()),
        ("kind", pa.string()),
        ("xy", pa.list_(pa.float32())),
        ("parts", pa.list_(pa.int32())),
        ("closed", pa.bool_()),
        ("thickness", pa.float64()),
        ("z", pa.int64()),
        ("meta", pa.string()),
        ("runs", pa.list_(pa.int32())),
    ]
)
_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("id", pa.int64()),
    ("group", pa.string()),
    ("name", pa.string()),
    ("height", pa.int32()),
    ("width", pa.int32()),
    ("image", pa.binary()),
    ("tags", pa.list_(pa.string())),
    ("ignore", pa.list_(pa.list_(pa.float32()))),
    ("instances", pa.list_(_INSTANCE)),
    ("meta", pa.string()),
]
_DRAWN_COLUMNS: list[tuple[str, pa.DataType]] = [("labels", pa.binary()), ("coverage", pa.binary())]

SHARD_SCHEMA = pa.schema(_COLUMNS, metadata={SCHEMA_KEY: SCHEMA.encode()})
"""Columns of a shard."""

DRAWN_SCHEMA = pa.schema(_COLUMNS + _DRAWN_COLUMNS, metadata={SCHEMA_KEY: SCHEMA.encode()})
"""Columns of a shard with drawn targets: `labels` a 16-bit PNG (0 = none, 1..K), `coverage` an 8-bit PNG."""

DRAWN_NAMES = tuple(name for name, _ in _DRAWN_COLUMNS)


def to_table(samples: Sequence[Sample], drawn: DataConfig | None = None) -> pa.Table:
    """Samples as rows of `SHARD_SCHEMA`, or of `DRAWN_SCHEMA` with their targets drawn by `drawn`.

    Raises:
        UserError: a sample holds a number beyond 64 bits or text that is no Unicode; it names the sample.
    """
    try:
        columns = _columns(samples)
    except (OverflowError, UnicodeEncodeError, pa.ArrowInvalid) as error:
        if len(samples) > 1:
            for sample in samples:
                to_table([sample])
        raise UserError(f"Sample {samples[0].id} cannot be stored: {error}.") from error
    if drawn is None:
        return pa.Table.from_arrays(columns, schema=SHARD_SCHEMA)
    pictures = [_draw(sample, drawn) for sample in samples]
    columns += [pa.array([picture[i] for picture in pictures], pa.binary()) for i in range(len(DRAWN_NAMES))]
    return pa.Table.from_arrays(columns, schema=DRAWN_SCHEMA)


def from_table(table: pa.Table) -> list[Sample]:
    """The samples of a table made by `to_table`; drawn columns are left aside."""
    column = {name: _array(table.column(name)) for name in SHARD_SCHEMA.names}
    value = {name: array.to_pylist() for name, array in column.items() if name not in ("instances", "ignore")}
    lines = _instances(column["instances"].flatten())
    regions = _point_arrays(column["ignore"].flatten())
    line_ends, region_ends = _ends(column["instances"]), _ends(column["ignore"])
    return [
        Sample(
            id=value["id"][i],
            size=(value["height"][i], value["width"][i]),
            instances=tuple(lines[line_ends[i] : line_ends[i + 1]]),
            group=value["group"][i],
            name=value["name"][i],
            image=value["image"][i],
            tags=tuple(value["tags"][i]),
            ignore=tuple(regions[region_ends[i] : region_ends[i + 1]]),
            meta=json.loads(value["meta"][i]),
        )
        for i in range(table.num_rows)
    ]


def _columns(samples: Sequence[Sample]) -> list[pa.Array]:
    regions = _point_lists([polygon for sample in samples for polygon in sample.ignore])
    instances = _struct([line for sample in samples for line in sample.instances])
    return [
        pa.array([sample.id for sample in samples], pa.int64()),
        pa.array([sample.group for sample in samples], pa.string()),
        pa.array([sample.name for sample in samples], pa.string()),
        pa.array([sample.size[0] for sample in samples], pa.int32()),
        pa.array([sample.size[1] for sample in samples], pa.int32()),
        pa.array([sample.image for sample in samples], pa.binary()),
        pa.array([sample.tags for sample in samples], pa.list_(pa.string())),
        _lists([len(sample.ignore) for sample in samples], regions),
        _lists([len(sample.instances) for sample in samples], instances),
        pa.array([_to_json(sample.meta) for sample in samples], pa.string()),
    ]


def _struct(lines: Sequence[Instance]) -> pa.StructArray:
    return pa.StructArray.from_arrays(
        [
            pa.array([line.id for line in lines], pa.int64()),
            pa.array([line.category for line in lines], pa.string()),
            pa.array([line.kind for line in lines], pa.string()),
            _point_lists([line.xy for line in lines]),
            pa.array([line.parts for line in lines], pa.list_(pa.int32())),
            pa.array([line.closed for line in lines], pa.bool_()),
            pa.array([line.thickness for line in lines], pa.float64()),
            pa.array([line.z for line in lines], pa.int64()),
            pa.array([_to_json(line.meta) for line in lines], pa.string()),
            _run_lists([line.runs for line in lines]),
        ],
        fields=list(_INSTANCE),
    )


def _instances(lines: pa.StructArray) -> list[Instance]:
    # By the names that are there: schema 1 had no runs.
    values = dict(zip((field.name for field in lines.type), lines.flatten(), strict=True))
    points = _point_arrays(values.pop("xy"))
    runs = _run_arrays(values.pop("runs")) if "runs" in values else [None] * len(points)
    plain = {name: array.to_pylist() for name, array in values.items()}
    return [
        Instance(
            id=plain["id"][i],
            xy=points[i],
            category=plain["category"][i],
            kind=plain["kind"][i],
            parts=tuple(plain["parts"][i]),
            closed=plain["closed"][i],
            thickness=plain["thickness"][i],
            z=plain["z"][i],
            meta=json.loads(plain["meta"][i]),
            runs=runs[i],
        )
        for i in range(len(points))
    ]


def _point_lists(arrays: Sequence[NDArray[np.float32]]) -> pa.ListArray:
    flat = np.concatenate([np.empty(0, np.float32), *(xy.ravel() for xy in arrays)])
    return _lists([xy.size for xy in arrays], pa.array(flat, pa.float32()))


def _point_arrays(lists: pa.ListArray) -> list[NDArray[np.float32]]:
    flat: NDArray[np.float32] = lists.flatten().to_numpy(zero_copy_only=False)
    ends = _ends(lists)
    return [flat[ends[i] : ends[i + 1]].reshape(-1, 2) for i in range(len(lists))]


def _run_lists(arrays: Sequence[NDArray[np.int32] | None]) -> pa.ListArray:
    flat = np.concatenate([np.empty(0, np.int32), *(runs.ravel() for runs in arrays if runs is not None)])
    ends = np.cumsum([0, *(0 if runs is None else runs.size for runs in arrays)])
    # A missing offset makes a missing list.
    offsets = pa.array(ends, pa.int32(), mask=np.array([*(runs is None for runs in arrays), False]))
    return pa.ListArray.from_arrays(offsets, pa.array(flat, pa.int32()))


def _run_arrays(lists: pa.ListArray) -> list[NDArray[np.int32] | None]:
    # `flatten` leaves out what missing lists may hold, so the ends are counted from the lengths.
    flat: NDArray[np.int32] = lists.flatten().to_numpy(zero_copy_only=False)
    known = lists.is_valid().to_numpy(zero_copy_only=False)
    ends = np.cumsum([0, *np.where(known, lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), 0)])
    return [flat[ends[i] : ends[i + 1]].reshape(-1, 2) if known[i] else None for i in range(len(lists))]


def _lists(lengths: Sequence[int], values: pa.Array) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(np.cumsum([0, *lengths]), pa.int32()), values)


def _ends(lists: pa.ListArray) -> list[int]:
    # The offsets of a slice count from the start of its parent.
    offsets = lists.offsets.to_numpy()
    return list((offsets - offsets[0]).tolist())


def _array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _to_json(meta: Mapping[str, Any]) -> str:
    return json.dumps(dict(meta), separators=(",", ":"))


def _draw(sample: Sample, config: DataConfig) -> tuple[bytes, bytes]:
    targets = draw_targets(sample, config)
    return encode_png(targets.labels), encode_png(targets.coverage)
