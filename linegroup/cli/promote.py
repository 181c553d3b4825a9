"""`linegroup models promote / compare / rollback / history`: which version is in use, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from linegroup.cli.common import DeviceOption, JsonFlag, output, plain, print_json, progress_bar
from linegroup.cli.tables import bare_table
from linegroup.tuning.tables import finite

if TYPE_CHECKING:
    from linegroup.comparison import Comparison
    from linegroup.gate import GateConfig

NameArgument = Annotated[str, typer.Argument(help="Name in the registry.")]
AliasOption = Annotated[str, typer.Option(help="Which alias.")]
SplitOption = Annotated[str, typer.Option(help="Which split of a shard folder.")]
LimitOption = Annotated[int, typer.Option(min=0, help="Only so many charts, at even distances; 0: all.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="data.*: how the truth is drawn.")
]
GateOption = Annotated[
    list[str] | None,
    typer.Option("--gate", metavar="KEY=VALUE", help="The rule: metrics, tolerance, floor, … May be repeated."),
]

FEWEST_COLUMNS = 80
"""What the numbers of a comparison need, and the names beside them."""


def promote(
    name: NameArgument,
    version: Annotated[str, typer.Argument(help="Number of the version.")],
    data: Annotated[
        str | None, typer.Option(metavar="SHARDS", help="Charts to compare on: shards, or synth:validation.")
    ] = None,
    split: SplitOption = "val",
    limit: LimitOption = 0,
    alias: AliasOption = "champion",
    gate: GateOption = None,
    force: Annotated[
        str | None, typer.Option(metavar="REASON", help="Promote although the gate refuses; the reason is noted.")
    ] = None,
    no_gate: Annotated[
        str | None, typer.Option(metavar="REASON", help="Promote without comparing; the reason is noted.")
    ] = None,
    overrides: SetOption = None,
    device: DeviceOption = "auto",
    as_json: JsonFlag = False,
) -> None:
    r"""Give a version the alias, unless it is clearly worse than the one that has it.

    Both are scored on the same charts. The gate refuses (exit code 1) where the whole interval of the difference is a
    loss, over all charts or on a tag with enough of them. Who, when, scores, data and reasons are noted in the
    registry.

    Examples:
      linegroup models promote linegroup 3 --data shards
      linegroup models promote linegroup 3 --data synth:validation --gate tolerance=0.01 --gate floor='{ari: 0.6}'
      linegroup models promote linegroup 3 --data shards --force "worse on scans, but half as slow"
      linegroup models promote linegroup 4 --alias candidate --no-gate "to be looked at"
    """
    from linegroup.promotion import load_promotion, promote_model

    flags: dict[str, object] = {
        "name": name,
        "version": version,
        "data": data,
        "split": split,
        "limit": limit,
        "alias": alias,
    }
    flags |= {"force": force, "no_gate": no_gate, "device": device, "overrides": overrides}
    job = load_promotion(None, _rule(gate), flags)
    with progress_bar("Charts") as show:
        done = promote_model(job, progress=show)
    if as_json:
        print_json(done.to_json())
    else:
        if done.comparison is not None:
            show_comparison(done.comparison, job.gate)
        for reason in () if done.verdict is None else done.verdict.reasons:
            typer.echo(f"Reason: {plain(reason)}")
        typer.echo(_what_happened(done.to_json()))
    if not done.promoted:
        raise typer.Exit(1)


def compare(
    candidate: Annotated[str, typer.Argument(metavar="MODEL", help="As --model of `predict`.")],
    champion: Annotated[str, typer.Argument(metavar="OTHER", help="What it is compared with.")],
    data: Annotated[str, typer.Option(metavar="SHARDS", help="Shards, or a source such as synth:validation.")],
    split: SplitOption = "val",
    limit: LimitOption = 0,
    gate: GateOption = None,
    overrides: SetOption = None,
    device: DeviceOption = "auto",
    as_json: JsonFlag = False,
) -> None:
    r"""Two models on the same charts: what one gains over the other, and what the gate would say. Changes nothing.

    Examples:
      linegroup models compare run/artifact models:/linegroup@champion --data shards
      linegroup models compare pretrained none --data synth:validation --limit 60 --gate 'metrics=[ari, pq]'
    """
    from linegroup.comparison import compare_models
    from linegroup.gate import judge
    from linegroup.promotion import load_promotion

    rule = load_promotion(None, _rule(gate), {"version": "1", "data": data}).gate
    with progress_bar("Charts") as show:
        made = compare_models(
            candidate,
            champion,
            data,
            split=split,
            limit=limit,
            overrides=overrides or (),
            device=device,
            progress=show,
        )
    verdict = judge(made, rule)
    if as_json:
        tree = made.to_json(rule.metrics, rule.level, rule.seed, rule.tag_pictures)
        print_json({**tree, "passed": verdict.passed, "reasons": list(verdict.reasons)})
        return
    show_comparison(made, rule)
    for reason in verdict.reasons:
        typer.echo(f"The gate would refuse: {plain(reason)}")
    if verdict.passed:
        typer.echo("The gate would let it pass.")


def rollback(
    name: NameArgument,
    alias: AliasOption = "champion",
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Noted in the registry.")] = "",
    as_json: JsonFlag = False,
) -> None:
    r"""Give the alias back to the version that had it before. Once more goes further back.

    Example:
      linegroup models rollback linegroup --reason "loses dashed lines"
    """
    from linegroup.promotion import rollback as roll_back

    made = roll_back(name, alias, reason)
    if as_json:
        print_json(made)
    else:
        typer.echo(f"models:/{made['name']}@{made['alias']} is version {made['version']} again, was {made['before']}")


def history(name: NameArgument, alias: AliasOption = "champion", as_json: JsonFlag = False) -> None:
    r"""Who gave the alias to which version, when, and why; newest first.

    Example:
      linegroup models history linegroup
    """
    from linegroup.promotion import history as noted

    entries = noted(name, alias)[::-1]
    if as_json:
        print_json(finite(entries))
        return
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("when", "by", "what", "version", "before", "gate", "reason"):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        cells = (entry.get(key) for key in ("when", "by", "action", "version", "before", "gate", "reason"))
        table.add_row(*(plain(str(cell or "")) for cell in cells))
    output().print(table)


def show_comparison(comparison: Comparison, gate: GateConfig) -> None:
    """Means of both and the gain with its interval, overall and by tag."""
    tree = comparison.to_json(gate.metrics, gate.level, gate.seed, gate.tag_pictures)
    data = tree["data"]
    place = data["name"] + (f", {data['split']}" if data["split"] else "")
    title = f"{_named(tree['candidate'])} against {_named(tree['champion'])} on {data['pictures']} charts of {place}"
    judged = comparison.judged_tags(gate.metrics, gate.tag_pictures)
    table = bare_table(title)
    rows = [(f"[bold]{metric}[/bold]", *_cells(entry)) for metric, entry in tree["overall"].items()]
    for tag, entries in tree["tags"].items():
        rows += [(escape(f"{metric}, {plain(tag)}"), *_cells(entries[metric])) for metric in gate.metrics]
    table.add_column("score", overflow="fold")
    for number, heading in enumerate(("charts", "candidate", "other", "gain", "interval"), 1):
        # As wide as it takes: a number that is cut off says something else.
        table.add_column(heading, justify="right", no_wrap=True, min_width=max(len(row[number]) for row in rows))
    for row in rows:
        table.add_row(*row)
    console = output()
    # A narrower terminal breaks the lines itself.
    console.width = max(console.width, FEWEST_COLUMNS)
    console.print(table)
    of_tags = f"; of tags {_percent(tree['tag_level'])} each, because {len(judged)} are judged" if judged else ""
    typer.echo(f"Intervals: {_percent(gate.level)}{of_tags}")


def _percent(level: float) -> str:
    return f"{100 * level:.4g} %"


def _rule(words: list[str] | None) -> list[str]:
    return [f"gate.{text.removeprefix('gate.')}" for text in words or ()]


def _cells(entry: dict[str, Any]) -> list[str]:
    if not entry["count"]:
        return ["0", "–", "–", "–", "–"]
    means = [f"{entry[key]:.3f}" for key in ("candidate", "champion")]
    return [str(entry["count"]), *means, f"{entry['gain']:+.3f}", f"{entry['low']:+.3f} … {entry['high']:+.3f}"]


def _named(record: dict[str, str]) -> str:
    return f"{record['name']} {record['version']}"


def _what_happened(done: dict[str, Any]) -> str:
    alias = f"models:/{done['name']}@{done['alias']}"
    if not done["promoted"]:
        stays = f"{alias} stays version {done['before']}" if done["before"] else f"{alias} stays unset"
        return f"Refused: {stays}. To promote it all the same: --force REASON."
    if not done["changed"]:
        return f"{alias} is version {done['version']} already"
    before = f", was version {done['before']}" if done["before"] else ""
    return f"{alias} is version {done['version']}{before}"
