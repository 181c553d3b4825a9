"""Tuning the grouping of a finished model: a minute, for the network runs once for each chart."""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from linegroup.config import Config, DataConfig, load_config
from linegroup.errors import UserError
from linegroup.files import remove_temporaries, sha256_of, write_bytes, write_text
from linegroup.locking import locked
from linegroup.metrics import METRICS
from linegroup.metrics.paired import paired_gain
from linegroup.plans import spread
from linegroup.predict import NO_MODEL, Predictor, change_grouping
from linegroup.shards import ShardSet, category_name
from linegroup.training.artifact import CONFIG, WEIGHTS, Artifact, load_artifact, recover, save_artifact
from linegroup.training.loop import CHECKPOINTS
from linegroup.training.registry import resolve_model
from linegroup.tuning.charts import MapFolder, split_groups
from linegroup.tuning.decoder import METHOD, Found, Progress, search_grouping
from linegroup.tuning.drawing import draw_search
from linegroup.tuning.importance import importances
from linegroup.tuning.objective import objective_of
from linegroup.tuning.plans import PLAN
from linegroup.tuning.scoring import ChartScorer, ProcessScorer, Scorer
from linegroup.tuning.settings import DecoderSettings
from linegroup.tuning.spaces import Space, load_space
from linegroup.tuning.tables import finite, trials_csv

SCHEMA = "linegroup.tuning/1"
ARTIFACT, TRIALS, REPORT, PICTURE = "artifact", "trials.csv", "tuning.json", "tuning.png"

Metrics = Mapping[str, float]


@dataclass(frozen=True)
class Improvement:
    """What another grouping changes on some charts.

    Attributes:
        charts: Number of charts.
        before: Mean of every score with the grouping that was there.
        after: With the one that was found.
        change: Mean change of the objective, chart by chart, and its 95 % bootstrap interval over documents.
    """

    charts: int
    before: Metrics
    after: Metrics
    change: tuple[float, float, float]


@dataclass(frozen=True)
class Tuning:
    """What `tune_grouping` did.

    Attributes:
        found: The search.
        tuned: On the charts that the search saw.
        held: On those that it did not see; None where there were none.
        changed: Settings that are others than before: (before, after).
        artifact: The new model.
    """

    found: Found
    tuned: Improvement
    held: Improvement | None
    changed: Mapping[str, tuple[Any, Any]]
    artifact: Artifact

    def to_json(self) -> dict[str, Any]:
        """Plain data; NaN becomes null."""
        return {
            "schema": SCHEMA,
            "artifact": str(self.artifact.path),
            "version": self.artifact.version,
            "best": self.found.best.number,
            "changed": {key: {"before": old, "after": new} for key, (old, new) in self.changed.items()},
            "tuned": finite(asdict(self.tuned)),
            "held_out": None if self.held is None else finite(asdict(self.held)),
            "trials": [finite(asdict(trial)) for trial in self.found.trials],
        }


def tune_grouping(
    model: str,
    data: str | Path,
    out: Path,
    settings: DecoderSettings | None = None,
    *,
    split: str = "val",
    space: Space | None = None,
    overrides: Sequence[str] = (),
    device: str = "auto",
    maps: Path | None = None,
    owned: bool = False,
    progress: Progress = lambda _done, _total: None,
    map_progress: Progress = lambda _done, _total: None,
) -> Tuning:
    """Find a better grouping for a model, and leave it as a new model in `out/artifact`.

    Beside it lie `trials.csv`, `tuning.json` (all figures) and `tuning.png`. The scores in the new model are those on
    the charts that the search did not see; where all were seen, on all.

    Args:
        model: See `Predictor.load`; there must be one.
        data: Shard folder.
        out: The folder.
        settings: How to search.
        split: Name of the split.
        space: What is tried; None: what `settings.space` names.
        overrides: `grouping.key=value`: where the search begins; `data.key=value`: how the truth is drawn.
        device: Where the network runs.
        maps: Keep the network's answers here for another time; None: in a temporary folder.
        owned: The caller holds the folder's lock, and whatever model is in it makes way.
        progress: Told how many trials are done.
        map_progress: Told how many charts the network has seen.

    Raises:
        UserError: no such model, shards, split or space, nothing to tune on, `out` has a model that no tuning has
            made, or another job writes there.
        OSError: a file cannot be written.
    """
    with contextlib.nullcontext() if owned else _claimed(out):
        settings = settings or DecoderSettings()
        if model == NO_MODEL:
            raise UserError("There is nothing to tune without a model: the settings are stored with one.")
        artifact = load_artifact(resolve_model(model))
        target = (out / ARTIFACT).absolute()
        if target.resolve() == artifact.path.resolve():
            raise UserError(f"{target} is the model that is to be tuned, and it stays: name another --out.")
        recover(target)
        remove_temporaries(out, TRIALS, REPORT, PICTURE)
        shards = ShardSet(data, split)
        config, drawing = _configured(artifact, overrides, shards)
        space = space or _space(settings)
        chosen = spread(len(shards), settings.charts)
        groups = [shards.groups[i] for i in chosen]
        tuned, held = split_groups(groups, settings.holdout, settings.seed)
        with _scorer(artifact, shards, chosen, drawing, settings, device, maps, map_progress) as scorer:
            found = search_grouping(
                config,
                space,
                scorer,
                tuned,
                trials=settings.trials,
                groups=[groups[i] for i in tuned],
                objective=settings.objective,
                seed=settings.seed,
                patience=settings.patience,
                caution=settings.caution,
                progress=progress,
            )
            tried = space.of_heads(config.model.heads)
            shares = importances(tried, found.trials)  # changes what all of the process has set: not in a thread
            # The picture takes seconds, in which the processes score.
            with ThreadPoolExecutor(1) as beside:
                picture = beside.submit(draw_search, tried, found.trials, found.best, settings.objective, shares)
                gains = [_gain(scorer, config, found, part, groups, settings) for part in (tuned, held) if part]
        measured = gains[-1]
        metrics = {
            **{name: value for name, value in artifact.metrics.items() if name.removeprefix("val_") not in METRICS},
            **{f"val_{name}": value for name, value in measured.after.items()},
            "val_charts": float(measured.charts),
        }
        write_text(out / TRIALS, trials_csv(found.trials))
        write_bytes(out / PICTURE, picture.result())
        made = save_artifact(target, artifact.build(), artifact.config, found.grouping, metrics, data=artifact.data)
        old, new = config.grouping.model_dump(mode="json"), found.grouping.model_dump(mode="json")
        changed = {key: (old[key], new[key]) for key in old if old[key] != new[key]}
        tuning = Tuning(found, gains[0], gains[1] if held else None, changed, made)
        write_text(out / REPORT, json.dumps(tuning.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        return tuning


@contextlib.contextmanager
def _claimed(out: Path) -> Iterator[None]:
    """The folder for one tuning; that of a training or a search is refused: nobody would miss its model at once."""
    with locked(out, kind="a tuning"):
        made_by_us = (out / TRIALS).exists() and not any((out / other).exists() for other in (PLAN, CHECKPOINTS))
        if (out / ARTIFACT).exists() and not made_by_us:
            raise UserError(f"{out} holds a model that no tuning has made, and it stays: name another --out.")
        yield


def _configured(artifact: Artifact, overrides: Sequence[str], shards: ShardSet) -> tuple[Config, DataConfig]:
    """The model's configuration with the grouping to begin with, and how the truth is drawn."""
    of_data = [text for text in overrides if text.startswith("data.")]
    given = load_config(None, of_data).data.model_dump(exclude_unset=True)
    drawing = artifact.config.data.model_copy(update=given)
    category = category_name(drawing.category, shards.categories, shards.path)
    grouping = change_grouping(artifact.grouping, [text for text in overrides if text not in of_data])
    config = artifact.config.model_copy(update={"grouping": grouping})
    return config, drawing.model_copy(update={"category": category})


def _space(settings: DecoderSettings) -> Space:
    space = load_space(settings.space)
    return space.narrowed(METHOD, settings.methods) if settings.methods else space


@contextlib.contextmanager
def _scorer(
    artifact: Artifact,
    shards: ShardSet,
    chosen: Sequence[int],
    drawing: DataConfig,
    settings: DecoderSettings,
    device: str,
    maps: Path | None,
    progress: Progress,
) -> Iterator[Scorer]:
    """Charts with their maps, in as many processes as are worth their start."""
    with contextlib.ExitStack() as stack:
        place = maps or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="linegroup-maps-")))
        # As `predict` runs it: what is tuned is what will be seen.
        model = Predictor.of_artifact(artifact, device=device).model
        assert model is not None
        hashes = [sha256_of(artifact.path / name) for name in (WEIGHTS, CONFIG)]
        precision = "bfloat16" if model.low_precision else "float32"
        folder = MapFolder(place, " ".join([*hashes, shards.digest, str(shards.split), precision]))
        workers = min(settings.workers or len(os.sched_getaffinity(0)), len(chosen))
        scorer: Scorer = ChartScorer(lambda i: folder.chart(shards, chosen[i], drawing))
        if workers > 1:
            # Before the network runs: the processes start meanwhile.
            scorer = stack.enter_context(ProcessScorer(shards, folder, chosen, drawing, workers))
        folder.fill(model, shards, chosen, progress)
        yield scorer


def _gain(
    scorer: Scorer,
    config: Config,
    found: Found,
    charts: Sequence[int],
    groups: Sequence[str],
    settings: DecoderSettings,
) -> Improvement:
    before = scorer.metrics(config.grouping, charts)
    after = before if found.grouping == config.grouping else scorer.metrics(found.grouping, charts)
    new, old = ([objective_of(settings.objective, row) for row in rows] for rows in (after, before))
    gain = paired_gain(new, old, groups=[groups[i] for i in charts], seed=settings.seed)
    return Improvement(len(charts), _means(before), _means(after), (gain.mean, gain.low, gain.high))


def _means(scores: Sequence[Metrics]) -> Metrics:
    """Over the charts that have the score; one that none has is left out."""
    columns = {name: [row[name] for row in scores if math.isfinite(row[name])] for name in METRICS}
    return {name: float(np.mean(values)) for name, values in columns.items() if values}
