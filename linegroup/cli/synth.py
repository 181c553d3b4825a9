"""`linegroup synth …`: charts that are drawn, not collected, with exact truth."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from linegroup.cli.common import Commands, JsonFlag, counted, help_of, note, print_json, progress_bar
from linegroup.cli.inputs import check_out

synth = typer.Typer(
    cls=Commands, no_args_is_help=True, help="Generated charts with exact truth: files, shards, a look at them."
)

SeedOption = Annotated[int | None, typer.Option("--seed", min=0, help="Another seed gives other charts.  [default: 0]")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="YAML", help="A distribution; see --show-config.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting of the distribution, dotted: damage.scan=0.5."),
]
FirstOption = Annotated[int, typer.Option("--first", min=0, help="Number of the first chart of the stream.")]


def charts(
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for annotations.json and images/.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Number of charts.")] = 100,
    seed: SeedOption = None,
    first: FirstOption = 0,
    config: ConfigOption = None,
    overrides: SetOption = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.  [default: one per CPU]")] = None,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print the distribution, all of it, as YAML, and stop.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    r"""Charts as pictures with COCO annotations: polylines, and each line's exact ink as a run-length mask.

    The same seed gives the same bytes, chart by chart, whatever the number of processes. For training no files are
    needed: say data.train=synth:charts to `linegroup train`, or write shards with `linegroup synth shards`.

    Examples:
      linegroup synth charts --count 1000 --seed 7 --out charts
      linegroup synth charts --count 200 --out scans --set damage.scan=1 --set 'palette={black: 1}'
      linegroup synth charts --show-config > mine.yaml
    """
    from linegroup.sources.synth import open_stream
    from linegroup.sources.synth.writing import write_charts

    source = source_name(seed, config, overrides)
    stream = open_stream(source)
    if show_config:
        _print_distribution(stream)
        return
    if out is None:
        raise typer.BadParameter("say where to write: --out DIR")
    check_out(out)
    with progress_bar("Charts") as show:
        wanted = range(first, first + count)
        write_charts(source, wanted, out, workers=workers or os.cpu_count() or 1, watch=lambda done: show(done, count))
    if as_json:
        print_json({"out": str(out), "charts": count, "first": first, "stream": stream.digest})
        return
    typer.echo(f"{counted(count, 'chart')} in {out}: annotations.json, images/ (stream {stream.digest})")


def preview(
    out: Annotated[Path, typer.Option(metavar="PNG", help="The picture to write.")] = Path("preview.png"),
    count: Annotated[int, typer.Option(min=1, max=400, help="Number of charts.")] = 24,
    source: Annotated[
        str | None, typer.Option(metavar="NAME", help="A source such as synth:validation instead of the settings.")
    ] = None,
    seed: SeedOption = None,
    first: FirstOption = 0,
    config: ConfigOption = None,
    overrides: SetOption = None,
    columns: Annotated[int, typer.Option(min=1, max=12, help="Charts in a row.")] = 3,
) -> None:
    r"""A contact sheet: generated charts beside their truth, each line in its own colour.

    Examples:
      linegroup synth preview
      linegroup synth preview --seed 3 --count 12 --out dark.png --set 'background={dark: 1}'
      linegroup synth preview --source synth:validation --count 300 --columns 6 --out validation.png
    """
    from linegroup.files import write_bytes
    from linegroup.images import encode_png
    from linegroup.pictures import sample_sheet
    from linegroup.sources.synth.writing import draw_in_order

    name = source or source_name(seed, config, overrides)
    with progress_bar("Charts") as show:
        samples = []
        for sample in draw_in_order(name, range(first, first + count), 1):
            samples.append(sample)
            show(len(samples), count)
    write_bytes(out, encode_png(sample_sheet(samples, columns)))
    note(f"{counted(count, 'chart')} of {name}: {out}")


def shards(
    out: Annotated[Path, typer.Option(metavar="SHARDS", help="Shard folder: new, or one of this same job.")],
    count: Annotated[
        int | None, typer.Option(min=1, help="Number of charts; default: all of a source that ends, else 1000.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(metavar="NAME", help="A source such as synth:validation instead of the settings.")
    ] = None,
    seed: SeedOption = None,
    first: FirstOption = 0,
    config: ConfigOption = None,
    overrides: SetOption = None,
    val_fraction: Annotated[float | None, typer.Option(help="Share that becomes `val`.  [default: 0.2]")] = None,
    split: Annotated[str | None, typer.Option(help="Put everything into this split instead.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace shards of other input.")] = False,
    serial: Annotated[bool, typer.Option("--serial", help="One process without Ray; the same bytes.")] = False,
    address: Annotated[str | None, typer.Option(help="Ray cluster; default: RAY_ADDRESS, else a private Ray.")] = None,
    as_json: JsonFlag = False,
) -> None:
    r"""Generated charts straight into Parquet shards, in parallel; run again, it does what is missing.

    synth:validation is the frozen validation split: 300 charts, the same in every version of linegroup.

    Examples:
      linegroup synth shards --count 20000 --seed 7 --out shards
      linegroup synth shards --source synth:validation --out validation
    """
    from linegroup.cli.shard import report
    from linegroup.distributed.data import make_shards, make_shards_serial, progress_bar
    from linegroup.distributed.synth_job import load_synth_job

    name = source or source_name(seed, config, overrides)
    flags: dict[str, Any] = {"stream": name, "count": count, "first": first, "out": out, "split": split}
    job = load_synth_job(None, flags | {"val_fraction": val_fraction, "overwrite": overwrite})
    with progress_bar() as bar:
        manifest = make_shards_serial(job, bar) if serial else make_shards(job, bar, address=address)
    report(manifest, out, as_json=as_json)


def source_name(seed: int | None, config: Path | None, overrides: list[str] | None) -> str:
    """The name of a stream of charts with these settings."""
    from urllib.parse import urlencode

    pairs = [("config", str(config))] if config is not None else []
    pairs += [("seed", str(seed))] if seed is not None else []
    pairs += [(key, value) for key, _, value in (override.partition("=") for override in overrides or ())]
    return "synth:charts" + (f"?{urlencode(pairs)}" if pairs else "")


def _print_distribution(stream: Any) -> None:
    import yaml

    settings = {"seed": stream.seed, **stream.distribution.model_dump(mode="json")}
    typer.echo(yaml.safe_dump(settings, sort_keys=False), nl=False)


for command in (charts, shards, preview):
    synth.command(help=help_of(command))(command)
