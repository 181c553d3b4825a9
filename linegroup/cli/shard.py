"""`linegroup shard`."""

from __future__ import annotations

import collections
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from linegroup.shards import Manifest


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(shard)


def shard(
    annotations: Annotated[Path, typer.Option(help="COCO file with one annotation per line.")],
    images: Annotated[Path, typer.Option(help="Folder that the file names in it are relative to.")],
    out: Annotated[Path, typer.Option(help="Shard folder to make, or to go on with after a kill.")],
    val_fraction: Annotated[float, typer.Option(min=0, max=1, help="Share of the groups that becomes `val`.")] = 0.2,
    test_fraction: Annotated[float, typer.Option(min=0, max=1, help="Share that becomes `test`.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Another seed gives another split.")] = 0,
    split: Annotated[str | None, typer.Option(help="Put everything into this split instead.")] = None,
    category: Annotated[str | None, typer.Option(help="Only lines of this category (name or number).")] = None,
    dialect: Annotated[str, typer.Option(help="coco, or bbox_polyline: flat polylines stored in `bbox`.")] = "coco",
    drawn: Annotated[bool, typer.Option(help="Store drawn label images too, for other readers.")] = False,
    strict: Annotated[bool, typer.Option(help="Fail when any record is refused.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace finished shards of other input.")] = False,
    serial: Annotated[bool, typer.Option(help="One process, without Ray; the same bytes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Turn COCO annotations and pictures into Parquet shards, in parallel.

    Bad records are left out, counted and named in `rejects.jsonl`. A killed job, run again, does what is
    missing.

    Example: `linegroup shard --annotations a.json --images pictures --out shards`
    """
    from linegroup.distributed.data import make_shards, make_shards_serial, progress_bar
    from linegroup.distributed.shard_job import ShardJob

    job = ShardJob(
        annotations=annotations,
        images=images,
        out=out,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        seed=seed,
        split=split,
        category=category,
        dialect=dialect,
        drawn=drawn,
        strict=strict,
        overwrite=overwrite,
    )
    with progress_bar() as bar:
        manifest = make_shards_serial(job, bar) if serial else make_shards(job, bar)
    if as_json:
        typer.echo(json.dumps(summary(manifest, out)))
    else:
        _tell(manifest, out)


def summary(manifest: Manifest, out: Path) -> dict[str, object]:
    """What `--json` prints."""
    splits = {name: counts.samples for name, counts in manifest.splits.items()}
    counts = {"samples": manifest.samples, "lines": manifest.lines, "rejects": manifest.rejects}
    return {"out": str(out), **counts, "splits": splits, "parts_made": manifest.made}


def _tell(manifest: Manifest, out: Path) -> None:
    splits = ", ".join(f"{name} {counts.samples}" for name, counts in manifest.splits.items())
    state = "" if manifest.made else " (finished before; nothing to do)"
    typer.echo(f"{out}: {manifest.samples} charts with {manifest.lines} lines: {splits}{state}")
    if manifest.rejects:
        typer.echo(f"{manifest.rejects} records were refused; all of them are in {out / 'rejects.jsonl'}:")
        reasons = collections.Counter(
            json.loads(line)["reason"] for line in (out / "rejects.jsonl").read_text(encoding="utf-8").splitlines()
        )
        for reason, count in reasons.most_common(8):
            typer.echo(f"  {count} × {reason}")
