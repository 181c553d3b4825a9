"""A search for a whole method as plain data: what every training of it needs to know, and what is kept of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from linegroup.config import Config, Section, build_config, explain_settings, flat, settings_tree
from linegroup.errors import UserError, unknown_name
from linegroup.files import write_text
from linegroup.plans import STREAM_EPOCH
from linegroup.training.data import validation_set
from linegroup.training.loop import ARTIFACT, prepare_run, public, run_length, steps_between_saves
from linegroup.tuning.objective import OBJECTIVES
from linegroup.tuning.settings import SearchSettings
from linegroup.tuning.spaces import Space, change, load_space

logger = logging.getLogger(__name__)

SECTION = "search"
TRAININGS = "trials"
"""The folder of the trainings in `search.out`."""

PLAN = "search.json"
"""In `search.out`: what it is a search of."""

_UNJUDGED = {"eval_every": 10**9, "pictures": 0, "val_limit": 1}
"""Settings of the loop where a judge does what they are about."""


class SearchPlan(Section):
    """Everything that a search is made of.

    Attributes:
        base: The configuration around which is searched.
        settings: How.
        space: What is tried.
        grouping: What is tried of the grouping, each time a network is judged.
    """

    base: Config
    settings: SearchSettings
    space: Space
    grouping: Space

    @property
    def out(self) -> Path:
        """The folder."""
        return Path(self.settings.out)

    def folder(self, trial: str) -> Path:
        """Where a training of the search keeps what it makes."""
        return self.out / TRAININGS / trial

    def config(self, values: Mapping[str, Any], trial: str) -> Config:
        """The configuration of one training.

        Raises:
            UserError: the values exclude each other, or there is no such thing.
        """
        changed = change(self.base, self.space.settings(values, self.base))
        # The judge validates; the loop itself does so at its end only, as it must.
        training = changed.training.model_copy(update={"out": str(self.folder(trial) / "run"), **_UNJUDGED})
        tracking = changed.tracking.model_copy(update={"run_name": f"trial {trial}"})
        return prepare_run(changed.model_copy(update={"training": training, "tracking": tracking}))

    def stored(self, config: Config) -> Config:
        """The configuration of one training as its run and its model keep it: that by which it can be done again.

        Args:
            config: As `config` made it.
        """
        given = {name: getattr(self.base.training, name) for name in _UNJUDGED}
        tracking = config.tracking.model_copy(update={"run_name": self.base.tracking.run_name})
        return public(
            config.model_copy(update={"training": config.training.model_copy(update=given), "tracking": tracking})
        )


def load_search(path: Path | None, overrides: Iterable[str]) -> tuple[Config, SearchSettings]:
    """As `load_config`, for files and overrides that may have a section `search` beside those of a training.

    Raises:
        UserError: as `load_config`.
    """
    tree = settings_tree(path, overrides)
    search = tree.pop(SECTION, None) or {}
    try:
        settings = SearchSettings.model_validate(search)
    except ValidationError as error:
        raise UserError(f"{SECTION}: {explain_settings(error, SearchSettings())}") from None
    return build_config(tree, where=str(path) if path else "overrides"), settings


def plan_search(config: Config, settings: SearchSettings) -> SearchPlan:
    """Check a search before anything starts, and make it fit for other processes.

    Warns where trainings have so few checkpoints that hardly any can be stopped early.

    Raises:
        UserError: no data to train or to judge on, a space that does not fit, several workers for one training, or
            `search.out` holds another search.
    """
    if config.ray.num_workers > 1:
        raise UserError(
            f"ray.num_workers={config.ray.num_workers}: in a search each training is one process. Set it to 1,"
            " give it search.cpus and search.gpus, and train the best one again with several workers."
        )
    if settings.objective not in OBJECTIVES:
        raise unknown_name("objective", settings.objective, OBJECTIVES)
    out = Path(settings.out).absolute()
    training = config.training.model_copy(update={"out": str(out / TRAININGS), "resume": "auto"})
    base = prepare_run(config.model_copy(update={"training": training}))
    if validation_set(base.data) is None:
        raise UserError("A search needs validation charts: name shards that have a val split, data.val=SHARDS.")
    space = load_space(settings.space).of_heads(base.model.heads)
    space.check(base)
    grouping = load_space(settings.grouping_space)
    grouping.check(base, "grouping")
    settings = settings.model_copy(update={"out": str(out)})
    plan = SearchPlan(base=base, settings=settings, space=space, grouping=grouping)
    _check_same(plan)
    _warn_of_few_checkpoints(base)
    return plan


def save_plan(plan: SearchPlan) -> None:
    """Keep what `search.out` is a search of."""
    write_text(plan.out / PLAN, json.dumps(_fixed(plan), indent=1) + "\n")


def _warn_of_few_checkpoints(base: Config) -> None:
    """A training is judged at its checkpoints, and only there can it be stopped or gone on with."""
    total, apart = run_length(base), steps_between_saves(base)
    before_end = (total - 1) // apart
    if before_end >= 2:
        return
    # Ten times, as in the recipe for clusters. Without max_steps shorter epochs would be a shorter training.
    settings = [f"data.epoch_samples={-(-total // 10) * base.training.batch_size}", "training.save_every=1"]
    settings += [] if base.training.max_steps else [f"training.max_steps={total}"]
    logger.warning(
        "Trainings have %d steps and are saved and judged every %d: %s before their end. The search can stop %s of them"
        " early, and what dies begins far back. Set %s.",
        total,
        apart,
        "once" if before_end else "never",
        "hardly any" if before_end else "none",
        " ".join(settings),
    )


def _check_same(plan: SearchPlan) -> None:
    path = plan.out / PLAN
    if not path.exists():
        if (plan.out / ARTIFACT).exists():
            raise UserError(f"{plan.out} holds a model that no search has made, and it stays: name another search.out.")
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{path} is damaged. Name another search.out.") from None
    now = json.loads(json.dumps(_fixed(plan)))
    # The default of earlier searches: the same for generated charts, and of no effect for shards.
    if now["data.epoch_samples"] is None and before.get("data.epoch_samples") == STREAM_EPOCH:
        before["data.epoch_samples"] = None
    other = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if other:
        raise UserError(
            f"{plan.out} holds another search; different are {', '.join(other)}. Give the same command to go on with"
            " it, or name another search.out."
        )


def _fixed(plan: SearchPlan) -> dict[str, Any]:
    """What a search cannot change half-way; resources and the final tuning it can."""
    free = {"out", "cpus", "gpus", "final_trials", "final_charts"}
    settings = {f"{SECTION}.{k}": v for k, v in plan.settings.model_dump(mode="json").items() if k not in free}
    base = {k: v for k, v in flat(public(plan.base)).items() if not k.startswith(("ray.", "tracking."))}
    spaces = {name: getattr(plan, name).model_dump(mode="json") for name in ("space", "grouping")}
    return {**settings, **{f"{name} (what is tried)": space for name, space in spaces.items()}, **base}
