"""The training run: plain torch, in one process or in each of several; no Ray in here.

Everything is a function of configuration, data and step: which samples make a batch (`BatchPlan`), how
they are augmented, the learning rate, the random numbers. So a run that was killed goes on from its last
checkpoint to the very weights of an undisturbed one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from linegroup.batches import BatchBuilder
from linegroup.config import Config, TrainingConfig, flat
from linegroup.errors import UserError
from linegroup.interrupts import safe_point
from linegroup.locking import locked
from linegroup.memory import keep_freed_memory
from linegroup.model import LineModel
from linegroup.training.artifact import recover, save_artifact
from linegroup.training.checkpoint import (
    BEST,
    FINAL,
    LAST,
    Checkpoint,
    check_same,
    find_checkpoint,
    load_checkpoint,
    save_checkpoint,
    tidy_checkpoints,
)
from linegroup.training.data import (
    batch_plan,
    data_tags,
    prepare_data,
    training_digests,
    training_sources,
    validation_set,
)
from linegroup.training.mlflow_access import tracking_uri
from linegroup.training.reporting import Reporter, SilentReporter, tidy_reports
from linegroup.training.resume import prepare_resume
from linegroup.training.runtime import Runtime, choose_device
from linegroup.training.starting import as_started, load_start
from linegroup.training.stepping import Stepper
from linegroup.training.tracking import Tracker, start_tracker
from linegroup.training.validation import merit, shown_scores, validate

logger = logging.getLogger(__name__)

CHECKPOINTS, ARTIFACT = "checkpoints", "artifact"
KIND = "a training"
"""What `training.out` is a folder of."""


@dataclass(frozen=True)
class TrainResult:
    """What a finished run left.

    Attributes:
        metrics: Scores of the best checkpoint.
        artifact: The model folder.
        steps: Steps of the run, earlier sessions included.
        run_id: The MLflow run, or None.
        skipped: Batches that were skipped because they were not finite.
        resumed_from: Step that this session began at.
    """

    metrics: dict[str, float]
    artifact: Path
    steps: int
    run_id: str | None = None
    skipped: int = 0
    resumed_from: int = 0


def train_local(config: Config, *, bar: bool | None = None) -> TrainResult:
    """Train in this process, without Ray, tracked as the configuration says.

    Args:
        config: The run. Its `ray` section is ignored.
        bar: Draw a progress bar; None: when standard error is a terminal.

    Raises:
        UserError: data missing or empty, `out` used by another run, device not there, or batches that stay bad.
    """
    with locked(Path(config.training.out).absolute(), kind=KIND):
        config = prepare_run(config)
        device = choose_device(config.training.device)
        with tracked(config) as tracker:
            return train(config, Runtime(device), tracker, bar=bar)


def train(config: Config, runtime: Runtime, tracker: Tracker | None = None, *, bar: bool | None = None) -> TrainResult:
    """Train as one of `runtime.world` processes, from the last checkpoint of `training.out` where there is one.

    Leaves in `training.out`: `checkpoints/`, `metrics.jsonl`, `pictures/` and, at the end, `artifact/`.

    Args:
        config: As `prepare_run` returned it.
        runtime: This process.
        tracker: Where rank 0 reports to.
        bar: As in `train_local`.
    """
    with torch.random.fork_rng(devices=[runtime.device] if runtime.device.type == "cuda" else []):
        return _Run(config, runtime, tracker or Tracker(), bar).go()


def prepare_run(config: Config, world: int = 1) -> Config:
    """Check a configuration against the disk before anything starts, and make it fit for other processes.

    Args:
        config: As the user gave it.
        world: Number of processes that will train.

    Returns:
        The configuration with absolute paths, `data.val` filled in, the category by name, and `resume` = auto:
        a checkpoint that `resume` names has been put where `auto` finds it.

    Raises:
        UserError: no data, no such category, or `training.resume` does not fit the state of `training.out`.
    """
    config = as_started(config)
    training = config.training
    out = Path(training.out).absolute()
    uri = tracking_uri(config.tracking) if config.tracking.enabled else config.tracking.uri
    prepared = config.model_copy(
        update={
            "data": prepare_data(config.data),
            "training": training.model_copy(update={"out": str(out), "resume": "auto"}),
            "tracking": config.tracking.model_copy(update={"uri": uri}),
        }
    )
    prepare_resume(training.resume, out / CHECKPOINTS, lambda state, path: _check_goes_on(state, path, prepared, world))
    return prepared


@contextmanager
def tracked(config: Config) -> Iterator[Tracker]:
    """A tracker for the length of a run, closed with what became of it."""
    tags = {**data_tags(config.data), "training.out": config.training.out}
    tracker = start_tracker(config.tracking, Path(config.training.out), public(config), tags)
    try:
        yield tracker
    except BaseException as error:
        tracker.close("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    tracker.close()


def public(config: Config) -> Config:
    """What is stored with models and runs: without addresses, which may hold passwords, and without the run folder."""
    return config.model_copy(
        update={
            "training": config.training.model_copy(update={"out": TrainingConfig().out}),
            "tracking": config.tracking.model_copy(update={"uri": None}),
            "ray": config.ray.model_copy(update={"address": None, "storage": None}),
        }
    )


def run_length(config: Config, world: int = 1) -> int:
    """Number of steps of a run."""
    return config.training.max_steps or config.training.epochs * batch_plan(config, world).steps_per_epoch


def steps_between_saves(config: Config, world: int = 1) -> int:
    """Number of steps from one checkpoint of a run to the next; the last one stands at its end."""
    return config.training.save_every * batch_plan(config, world).steps_per_epoch


def mixed_seed(*numbers: int) -> int:
    """A seed of 63 bits, as much as torch takes, from numbers ≥ 0 of any size."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


class _Run:
    """A run in one process."""

    def __init__(self, config: Config, runtime: Runtime, tracker: Tracker, bar: bool | None) -> None:
        self.config = config
        self.runtime = runtime
        if runtime.device.type == "cpu":
            keep_freed_memory()
        self.tracker = tracker
        self.bar = bar
        self.out = Path(config.training.out)
        self.val_set = validation_set(config.data)
        # Of what stands there now: a folder may be made anew while the run goes on.
        self.data = data_tags(config.data)
        self.plan = batch_plan(config, runtime.world)
        self.total = run_length(config, runtime.world)
        torch.manual_seed(mixed_seed(config.training.seed))
        self.model = LineModel(config.model, config.loss).to(runtime.device)
        load_start(self.model, config)
        self.stepper = Stepper(self.model, runtime.wrap, config.training, runtime.device)
        self.best: tuple[float, float] | None = None
        self.metrics: dict[str, float] = {}
        self.first = self._resume()

    def go(self) -> TrainResult:
        """All steps that are left, and the end."""
        with self._reporter() as reporter:
            if self.first:
                reporter.say(f"Going on from step {self.first} of {self.total}.")
            sources = tuple(source.samples for source in training_sources(self.config.data))
            builder = BatchBuilder(sources, self.plan, self.config, self.model.needs, self.runtime.rank)
            workers = self.config.training.loader_workers
            with self.runtime.batches(builder, self.first, self.total, workers) as batches:
                for done, batch in enumerate(batches, self.first + 1):
                    self._seed(done)
                    values = self.stepper.step(batch, (done - 0.5) / self.total)
                    reporter.step(done, self._epoch(done), self._mean(values))
                    if done % self.plan.steps_per_epoch == 0 or done == self.total:
                        self._end_epoch(done, reporter)
                    self._pause(done, reporter)
            return self._finish()

    def _pause(self, done: int, reporter: Reporter) -> None:
        """Where Ctrl-C is answered: what was learned until here is kept."""
        try:
            safe_point()
        except KeyboardInterrupt:
            reporter.flush()
            self._save(LAST, done)
            reporter.say(f"Stopped after step {done} of {self.total}; the same command goes on from there.")
            raise

    def _end_epoch(self, done: int, reporter: Reporter) -> None:
        training = self.config.training
        epoch = math.ceil(done / self.plan.steps_per_epoch)
        last = done == self.total
        self.runtime.average_buffers(self.model)
        if epoch % training.eval_every == 0 or last:
            self._validate(done, reporter)
        if epoch % training.save_every == 0 or last:
            reporter.flush()
            self._save(LAST, done)
            self.runtime.saved(self.out, self.metrics)

    def _validate(self, done: int, reporter: Reporter) -> None:
        epoch = self._epoch(done)
        if self.val_set is None:
            return
        scores, picture = validate(self.model, self.val_set, self.config, self.runtime)
        reporter.validation(done, epoch, scores, picture)
        reporter.say(f"Epoch {epoch:g}: {shown_scores(scores)}")
        found = merit(self.config.training.metric, scores)
        if found is not None and (self.best is None or found > self.best):
            self.best = found
            self.metrics = {**scores, "best_step": float(done), "best_epoch": epoch}
            self._save(BEST, done)

    def _finish(self) -> TrainResult:
        folder = self.out / ARTIFACT
        if self.runtime.rank == 0:
            self._save(FINAL, self.total)
            best = self.out / CHECKPOINTS / BEST
            self.metrics = {}
            if best.exists():
                chosen = load_checkpoint(best)
                self.model.load_state_dict(chosen.model)
                # Of the very weights that are saved, whatever else this run has seen.
                self.metrics = chosen.metrics
            else:
                logger.warning("There is no %s to choose by: the model is that of the last step.", self._metric)
            stored = public(self.config)
            artifact = save_artifact(folder, self.model, stored, self.config.decoding, self.metrics, data=self.data)
            self.tracker.metrics(
                {f"best_{name.removeprefix('best_')}": v for name, v in self.metrics.items()}, self.total
            )
            self.tracker.model(artifact)
        skipped = self.stepper.skipped
        return TrainResult(self.metrics, folder, self.total, self.tracker.run_id, skipped, self.first)

    @property
    def _metric(self) -> str:
        return self.config.training.metric

    def _save(self, name: str, done: int) -> None:
        if self.runtime.rank == 0:
            state = Checkpoint(
                step=done,
                seed=self.config.training.seed,
                settings=_fixed_settings(self.config, self.runtime.world),
                best=self.best,
                metrics=self.metrics,
                run_id=self.tracker.run_id,
                **self.stepper.state(),
            )
            save_checkpoint(self.out / CHECKPOINTS, name, state)

    def _resume(self) -> int:
        folder = self.out / CHECKPOINTS
        found = find_checkpoint(folder)
        step = 0 if found is None else found[0].step
        low, high = self.runtime.extremes(step)
        if low != high:
            raise UserError(
                f"The workers would go on from different steps, {low} to {high} (this one from {step} in {folder})."
                " training.out must be on a disk that all machines see; or give ray.storage, where each finds the last"
                " checkpoint."
            )
        # Now that all workers have what they need: they may have been writing until here.
        if self.runtime.rank == 0:
            self._tidy()
        if found is None:
            return 0
        state, path = found
        _check_goes_on(state, path, self.config, self.runtime.world)
        self.stepper.restore(vars(state))
        if (folder / BEST).exists():
            self.best, self.metrics = state.best, state.metrics
        return step

    def _tidy(self) -> None:
        """Clear away what an earlier session left when it was killed within a write."""
        tidy_checkpoints(self.out / CHECKPOINTS)
        recover(self.out / ARTIFACT)
        tidy_reports(self.out)

    def _reporter(self) -> Reporter:
        if self.runtime.rank:
            return SilentReporter()
        return Reporter(self.out, self.tracker, self.first, self.total, bar=self.bar)

    def _seed(self, done: int) -> None:
        """All randomness of a step comes from its number: nothing of it needs to be saved."""
        torch.manual_seed(mixed_seed(self.config.training.seed, done, self.runtime.rank))

    def _mean(self, values: Mapping[str, float]) -> dict[str, float]:
        total = self.runtime.sum(list(values.values()))
        return {name: value / self.runtime.world for name, value in zip(values, total, strict=True)}

    def _epoch(self, done: int) -> float:
        return done / self.plan.steps_per_epoch


def _check_goes_on(state: Checkpoint, path: Path, config: Config, world: int) -> None:
    check_same(state.settings, _fixed_settings(config, world), path)
    total = run_length(config, world)
    if state.step > total:
        raise UserError(
            f"{path} stands at step {state.step}, beyond the {total} of this run. Raise training.epochs or"
            " training.max_steps, or train into a new folder (training.out)."
        )


def _fixed_settings(config: Config, world: int) -> dict[str, Any]:
    """What a run cannot change half-way; lr, schedule, length, precision and the like it can."""
    training = config.training
    fixed = {
        f"{name}.{key}": value
        for name in ("model", "loss", "augment")
        for key, value in flat(getattr(config, name)).items()
    }
    drawing = {f"data.{key}": getattr(config.data, key) for key in ("category", "thickness", "min_thickness")}
    return {
        **fixed,
        **drawing,
        **training_digests(config.data),
        "training.seed": training.seed,
        "training.optimizer": training.optimizer,
        "training.metric": training.metric,
        "training.batch_size × ray.num_workers": training.batch_size * world,
    }
