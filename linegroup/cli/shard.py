"""`linegroup shard`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linegroup.cli.common import JsonFlag, counted, note, plain, print_json

if TYPE_CHECKING:
    from linegroup.shards import Manifest

SHOWN_REASONS = 8


def shard(
    annotations: Annotated[Path, typer.Option(help="COCO file.", metavar="A.json")],
    images: Annotated[Path, typer.Option(help="Folder that its file names are relative to.", metavar="DIR")],
    out: Annotated[Path, typer.Option(help="Shard folder: new, or one of this same job.", metavar="SHARDS")],
    val_fraction: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Expected share of the groups that becomes `val`.  [default: 0.2]"),
    ] = None,
    test_fraction: Annotated[
        float, typer.Option(min=0, max=1, help="Expected share of the groups that becomes `test`.")
    ] = 0.0,
    split: Annotated[str | None, typer.Option(help="Put everything into this split instead.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed gives another split.")] = 0,
    category: Annotated[str | None, typer.Option(help="Keep lines of this category only (name or number).")] = None,
    dialect: Annotated[str, typer.Option(help="coco, or bbox_polyline: a flat polyline stored in `bbox`.")] = "coco",
    drawn: Annotated[bool, typer.Option("--drawn", help="Store drawn labels too, for other readers.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Fail when any record is rejected.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace shards of other input.")] = False,
    serial: Annotated[bool, typer.Option("--serial", help="One process without Ray; the same bytes.")] = False,
    address: Annotated[str | None, typer.Option(help="Ray cluster; default: RAY_ADDRESS, else a private Ray.")] = None,
    as_json: JsonFlag = False,
) -> None:
    r"""COCO annotations and pictures become Parquet shards, in parallel.

    A split never cuts a group (document) in two. Bad records are left out, counted and named in SHARDS/rejects.jsonl.
    A job that was killed is run again by the same command and does only what is missing.

    Examples:
      linegroup shard --annotations examples/real_charts/annotations.json \
                      --images examples/real_charts --out shards
      linegroup shard --annotations val.json --images val/ --out shards-val --split val
      linegroup shard --annotations old.json --images img/ --out shards \
                      --dialect bbox_polyline --category 2 --strict
    """
    from linegroup.distributed.coco_job import load_job
    from linegroup.distributed.data import make_shards, make_shards_serial, progress_bar

    job = load_job(
        None,
        {
            "annotations": annotations,
            "images": images,
            "out": out,
            "val_fraction": val_fraction,
            "test_fraction": test_fraction,
            "split": split,
            "seed": seed,
            "category": category,
            "dialect": dialect,
            "drawn": drawn,
            "strict": strict,
            "overwrite": overwrite,
        },
    )
    with progress_bar() as bar:
        manifest = make_shards_serial(job, bar) if serial else make_shards(job, bar, address=address)
    report(manifest, out, as_json=as_json)
    if manifest.rejects and not as_json:
        note(job.looked_in)


def report(manifest: Manifest, out: Path, *, as_json: bool) -> None:
    """Say what was made."""
    if as_json:
        print_json(summarize(manifest, out))
    else:
        _show(manifest, out)


def summarize(manifest: Manifest, out: Path) -> dict[str, Any]:
    """What was made, as plain data; `reject_reasons` counts the rejects by reason."""
    return {"out": str(out), **manifest.summary(), "reject_reasons": _reasons(manifest, out)}


def _reasons(manifest: Manifest, out: Path) -> dict[str, int]:
    from linegroup.shards import REJECTS

    if not manifest.rejects:
        return {}
    with (out / REJECTS).open(encoding="utf-8") as lines:
        return dict(Counter(json.loads(line)["reason"] for line in lines).most_common())


def _show(manifest: Manifest, out: Path) -> None:
    state = "" if manifest.made else " (finished before; nothing to do)"
    typer.echo(f"{counted(manifest.samples, 'chart')} with {counted(manifest.lines, 'line')} in {out}{state}")
    for name, counts in manifest.splits.items():
        typer.echo(f"  {name:<8}{counts.samples:>8} charts {counts.lines:>8} lines")
    if manifest.rejects:
        note(f"{counted(manifest.rejects, 'record')} left out; {out}/rejects.jsonl names each:")
        for reason, count in list(_reasons(manifest, out).items())[:SHOWN_REASONS]:
            typer.echo(f"{count:>8} × {plain(reason)}", err=True)
