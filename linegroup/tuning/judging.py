"""What a network in training is worth: the best grouping for it, found on validation charts."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from linegroup.config import Config
from linegroup.errors import UserError
from linegroup.files import remove_temporaries, write_text
from linegroup.metrics import METRICS
from linegroup.model import LineModel
from linegroup.plans import spread
from linegroup.training.artifact import Artifact, is_artifact, load_artifact, recover, save_artifact
from linegroup.training.checkpoint import Checkpoint
from linegroup.training.data import data_tags, validation_set
from linegroup.training.runtime import Runtime
from linegroup.tuning.charts import model_charts
from linegroup.tuning.decoder import search_grouping
from linegroup.tuning.scoring import ChartScorer
from linegroup.tuning.settings import SearchSettings
from linegroup.tuning.spaces import Space

logger = logging.getLogger(__name__)

ARTIFACT = "artifact"
OBJECTIVE = "search_objective"
"""Among the metrics of a judged model: what it was judged at."""

_FILE = "judged.json"


@dataclass(frozen=True)
class Judgement:
    """What was found at a step of a training.

    Attributes:
        step: Of the checkpoint.
        objective: With the best grouping for it.
        best: The largest objective so far: that of the network in `artifact`, with its grouping.
        seconds: That the training has taken until then, in all processes that it has had.
    """

    step: int
    objective: float
    best: float
    seconds: float = field(compare=False)


class Judge:
    """Judges the checkpoints of one training, and keeps the best one as a model.

    Args:
        config: The training, as its models are to say.
        settings: How groupings are searched, and on what.
        space: What is tried of them.
        folder: Where `artifact` and `judged.json` are kept; a training that goes on finds them there.
    """

    def __init__(self, config: Config, settings: SearchSettings, space: Space, folder: Path) -> None:
        self.config = config
        self.settings = settings
        self.space = space
        self.folder = folder
        recover(folder / ARTIFACT)
        remove_temporaries(folder, _FILE)
        self._best = _kept(folder / ARTIFACT)
        self.last = self._read()
        self._began = time.monotonic() - (0.0 if self.last is None else self.last.seconds)

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
        numbers = spread(len(samples), self.settings.charts)
        charts = model_charts(model, (samples.read(i) for i in numbers), self.config.data)
        scorer = ChartScorer(charts.__getitem__)
        found = search_grouping(
            self._begin(),
            self.space,
            scorer,
            range(len(charts)),
            trials=self.settings.grouping_trials,
            groups=[chart.sample.group for chart in charts],
            objective=self.settings.objective,
            # Networks are compared, and a gain that may be chance is one for all of them.
            caution=0.0,
            seed=self.settings.seed,
        )
        rows = scorer.metrics(found.grouping, range(len(charts)))
        metrics = {f"val_{name}": _mean([row[name] for row in rows]) for name in METRICS}
        value = float(found.best.objective or 0.0)
        if self._best is None or value > self._best.metrics[OBJECTIVE]:
            self._best = save_artifact(
                self.folder / ARTIFACT,
                model,
                self.config,
                found.grouping,
                {**metrics, "step": state.step, OBJECTIVE: value},
                data=data_tags(self.config.data),
            )
        # The artifact says itself what it is worth: after a kill between the two files they do not disagree.
        seconds = round(time.monotonic() - self._began, 3)
        write_text(self.folder / _FILE, json.dumps({"step": state.step, "objective": value, "seconds": seconds}) + "\n")
        self.last = Judgement(state.step, value, self._best.metrics[OBJECTIVE], seconds)
        return self.last, metrics

    def _begin(self) -> Config:
        grouping = self.config.decoding if self._best is None else self._best.grouping
        return self.config.model_copy(update={"grouping": grouping})

    def _read(self) -> Judgement | None:
        """What was judged last; None where the model of it is lost."""
        try:
            known = json.loads((self.folder / _FILE).read_text(encoding="utf-8"))
            step, objective, seconds = int(known["step"]), float(known["objective"]), float(known["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return None if self._best is None else Judgement(step, objective, self._best.metrics[OBJECTIVE], seconds)


def _mean(values: list[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


def _kept(folder: Path) -> Artifact | None:
    """The best network so far, if there is one that says what it is worth; a damaged one is judged anew."""
    if not is_artifact(folder):
        return None
    try:
        kept = load_artifact(folder)
    except UserError as error:
        logger.warning("%s The best network is chosen anew.", error)
        return None
    return kept if np.isfinite(kept.metrics.get(OBJECTIVE, np.nan)) else None
