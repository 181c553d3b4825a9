"""What a network in training is worth: the best grouping for it, found on validation charts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linegroup.config import Config
from linegroup.errors import UserError
from linegroup.files import write_text
from linegroup.metrics import METRICS
from linegroup.model import LineModel
from linegroup.training.artifact import is_artifact, load_artifact, save_artifact
from linegroup.training.checkpoint import Checkpoint
from linegroup.training.data import data_tags, validation_set
from linegroup.training.loop import public
from linegroup.training.runtime import Runtime
from linegroup.training.validation import chosen_charts
from linegroup.tuning.charts import model_charts
from linegroup.tuning.decoder import search_grouping
from linegroup.tuning.scoring import ChartScorer
from linegroup.tuning.settings import SearchSettings
from linegroup.tuning.spaces import load_space

ARTIFACT = "artifact"
_FILE = "judged.json"


@dataclass(frozen=True)
class Judgement:
    """What was found at a step of a training.

    Attributes:
        step: Of the checkpoint.
        objective: With the best grouping for it.
        best: The largest objective so far; `artifact` holds that network with its grouping.
    """

    step: int
    objective: float
    best: float


class Judge:
    """Judges the checkpoints of one training, and keeps the best one as a model.

    Args:
        config: The training, as `prepare_run` returned it.
        settings: How groupings are searched, and on what.
        folder: Where `artifact` and `judged.json` are kept; a training that goes on finds them there.
    """

    def __init__(self, config: Config, settings: SearchSettings, folder: Path) -> None:
        self.config = config
        self.settings = settings
        self.folder = folder
        self.last = _read(folder / _FILE)

    def __call__(self, state: Checkpoint, runtime: Runtime) -> tuple[Judgement, Mapping[str, float]]:
        """Search a grouping for a checkpoint, beginning with the best one so far.

        Returns:
            The judgement, and `val_…`: the mean scores with that grouping.

        Raises:
            UserError: there are no validation charts.
        """
        samples = validation_set(self.config.data)
        if samples is None:
            raise UserError("A search needs validation charts: name shards that have a val split, data.val=SHARDS.")
        model = LineModel(self.config.model, self.config.loss)
        model.load_state_dict(state.model)
        model = model.to(runtime.device).eval()
        numbers = chosen_charts(len(samples), self.settings.charts)
        charts = model_charts(model, (samples.read(i) for i in numbers), self.config.data)
        scorer = ChartScorer(charts)
        found = search_grouping(
            self._begin(),
            load_space(self.settings.grouping_space),
            scorer,
            range(len(charts)),
            trials=self.settings.grouping_trials,
            objective=self.settings.objective,
            # Networks are compared, and a gain that may be chance is one for all of them.
            caution=0.0,
            seed=self.settings.seed,
        )
        rows = scorer.metrics(found.grouping, range(len(charts)))
        metrics = {f"val_{name}": _mean([row[name] for row in rows]) for name in METRICS}
        value = float(found.best.objective or 0.0)
        best = max(value, self.last.best) if self.last else value
        if self.last is None or value > self.last.best or not is_artifact(self.folder / ARTIFACT):
            save_artifact(
                self.folder / ARTIFACT,
                model,
                public(self.config),
                found.grouping,
                {**metrics, "step": state.step},
                data=data_tags(self.config.data),
            )
        self.last = Judgement(state.step, value, best)
        write_text(self.folder / _FILE, json.dumps(vars(self.last)) + "\n")
        return self.last, metrics

    def _begin(self) -> Config:
        folder = self.folder / ARTIFACT
        grouping = load_artifact(folder).grouping if is_artifact(folder) else self.config.decoding
        return self.config.model_copy(update={"grouping": grouping})


def _mean(values: list[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


def _read(path: Path) -> Judgement | None:
    try:
        return Judgement(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
