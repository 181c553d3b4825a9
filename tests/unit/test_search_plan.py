"""The search for a method, as far as it goes without Ray: its plan, and how a network in training is judged."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from linegroup.errors import UserError
from linegroup.model import LineModel
from linegroup.plans import BatchPlan
from linegroup.testing import random_sample
from linegroup.training import loop
from linegroup.training.artifact import load_artifact
from linegroup.training.checkpoint import Checkpoint
from linegroup.training.loop import run_length, steps_between_saves
from linegroup.training.runtime import Runtime
from linegroup.tuning.judging import Judge
from linegroup.tuning.plans import SearchPlan, load_search, plan_search, save_plan
from linegroup.tuning.settings import SearchSettings

RECIPES = Path(__file__).parents[2] / "tune" / "recipes"
TINY = [
    "model.width=4",
    "model.depth=1",
    "model.emb_dim=2",
    "augment.crop=[24, 32]",
    "training.batch_size=2",
    "training.max_steps=4",
    "tracking.enabled=false",
    "ray.num_workers=0",
]
SPACE = """
parameters:
  - {key: model.emb_dim, choices: [2, 4]}
  - {key: loss.delta_d, low: 1.0, high: 3.0}
"""


@pytest.fixture(scope="module")
def shards(tmp_path_factory, make_shard_folder):
    samples = [random_sample(i, (30 + i, 40), 2) for i in range(1, 9)]
    return make_shard_folder(tmp_path_factory.mktemp("search") / "shards", {"train": samples[:4], "val": samples[4:]})


@pytest.fixture
def planned(shards, tmp_path):
    (tmp_path / "space.yaml").write_text(SPACE)

    def make(*overrides: str) -> SearchPlan:
        search = [
            f"search.out={tmp_path / 'out'}",
            f"search.space={tmp_path / 'space.yaml'}",
            "search.grouping_trials=4",
        ]
        return plan_search(*load_search(None, [*TINY, f"data.train={shards}", *search, *overrides]))

    return make


def test_settings_stand_beside_those_of_training(tmp_path):
    (tmp_path / "recipe.yaml").write_text("training: {lr: 0.1}\nsearch: {trials: 7, gpus: 0.5}\n")
    config, search = load_search(tmp_path / "recipe.yaml", ["search.trials=9", "model.width=4"])
    assert (config.training.lr, config.model.width) == (0.1, 4)
    assert search == SearchSettings(trials=9, gpus=0.5)
    with pytest.raises(UserError, match=r"trails.*trials"):
        load_search(None, ["search.trails=9"])
    with pytest.raises(UserError, match=r"training.lrr"):
        load_search(None, ["training.lrr=9"])


def test_a_plan_survives_the_way_to_other_processes(planned):
    plan = planned("ray.num_workers=1")
    again = SearchPlan.model_validate_json(plan.model_dump_json())
    assert again == plan
    values = {"model.emb_dim": 4, "loss.delta_d": 2.5}
    config = again.config(values, "abc")
    assert (config.model.emb_dim, config.loss.delta_d) == (4, 2.5)
    assert config.model.width == 4
    assert config.training.out == str(plan.folder("abc") / "run")
    assert config.tracking.run_name == "trial abc"


def test_a_training_of_a_search_is_stored_as_its_user_would_do_it_again(planned):
    plan = planned("training.eval_every=3", "training.val_limit=50", "training.pictures=2", "tracking.run_name=mine")
    config = plan.config({"model.emb_dim": 4, "loss.delta_d": 2.5}, "abc")
    stored = plan.stored(config)
    assert (config.training.pictures, stored.training.pictures) == (0, 2)
    assert (stored.training.eval_every, stored.training.val_limit, stored.tracking.run_name) == (3, 50, "mine")
    assert (stored.model.emb_dim, stored.loss.delta_d) == (4, 2.5)


def test_a_search_of_before_goes_on(planned):
    """`data.epoch_samples` was 2048 by default, with the same effect."""
    plan = planned()
    save_plan(plan)
    path = plan.out / "search.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "data.epoch_samples": 2048}))
    assert planned() == plan
    with pytest.raises(UserError, match="epoch_samples"):
        planned("data.epoch_samples=64")


def test_a_model_of_a_training_is_not_replaced(planned, tmp_path):
    (tmp_path / "out" / "artifact").mkdir(parents=True)
    with pytest.raises(UserError, match="no search has made"):
        planned()


def test_the_first_training_is_the_configuration_itself(planned):
    plan = planned("loss.delta_d=1.25")
    config = plan.config(plan.space.values({}, plan.base), "first")
    assert (config.model, config.loss) == (plan.base.model, plan.base.loss)


def test_the_same_folder_holds_one_search(planned):
    plan = planned()
    save_plan(plan)
    assert planned("search.cpus=2", "search.final_trials=5").settings.cpus == 2
    with pytest.raises(UserError, match=r"different are search.trials, training.lr"):
        planned("search.trials=3", "training.lr=0.5")
    # Tune keeps what it was begun with.
    with pytest.raises(UserError, match=r"different are search.concurrent, search.max_failures"):
        planned("search.concurrent=1", "search.max_failures=5")


def test_a_space_is_read_once(planned, tmp_path, monkeypatch):
    """Processes of a search have other working folders, and the file may change while it runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("parameters:\n  - {key: grouping.min_pixels, low: 5, high: 9, integer: true}\n")
    plan = planned("search.grouping_space=mine.yaml")
    assert [parameter.high for parameter in plan.grouping.parameters] == [9]
    save_plan(plan)
    planned("search.grouping_space=mine.yaml")
    (tmp_path / "mine.yaml").write_text("parameters:\n  - {key: grouping.min_pixels, low: 5, high: 8, integer: true}\n")
    with pytest.raises(UserError, match=r"different are grouping \(what is tried\)"):
        planned("search.grouping_space=mine.yaml")


def test_two_searches_do_not_share_a_folder(planned, monkeypatch):
    from linegroup.distributed import search

    plan = planned()

    def meanwhile(_plan):
        with pytest.raises(UserError, match="Another job is writing into"):
            search.search_method(plan)
        return "the first"

    monkeypatch.setattr(search, "_search", meanwhile)
    assert search.search_method(plan) == "the first"
    monkeypatch.setattr(search, "_search", lambda _plan: "later")
    assert search.search_method(plan) == "later"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("ray.num_workers=2", "one process"),
        ("search.space=nowhere", "packaged space"),
        ("search.objective=best", "objective"),
        ("search.grouping_space=training", r"grouping\.\*"),
        ("data.train=synth:charts", "validation charts"),
    ],
)
def test_what_cannot_be_searched(planned, override, said):
    with pytest.raises(UserError, match=said):
        planned(override)


def state_of(config, step: int, seed: int) -> Checkpoint:
    torch.manual_seed(seed)
    model = LineModel(config.model, config.loss)
    return Checkpoint(step, 0, {}, dict(model.state_dict()), {}, {}, None, {})


def test_the_best_network_is_kept_with_its_grouping(planned, monkeypatch):
    plan = planned("grouping.candidates=non_background")
    config, folder = plan.config({}, "one"), plan.folder("one")
    judge = Judge(config, plan.settings, plan.grouping, folder)
    worth = {1: 0.4, 2: 0.7, 3: 0.6}
    begun = []

    import linegroup.tuning.judging as judging

    search = judging.search_grouping

    def weighed(config, *given, **named):
        begun.append(config.grouping)
        found = search(config, *given, **named)
        best = found.best.__class__(0, "complete", worth[len(begun)], 4, 0.0)
        return found.__class__(found.grouping.changed({"min_pixels": 10 + len(begun)}), (best,), 0)

    monkeypatch.setattr(judging, "search_grouping", weighed)
    for step in (1, 2, 3):
        judgement, scores = judge(state_of(config, step, step), Runtime())
        assert judgement.objective == worth[step]
        assert {"val_ari", "val_line_f1"} <= scores.keys()
    assert judgement.best == 0.7
    kept = load_artifact(folder / "artifact")
    assert kept.metrics["step"] == 2
    assert kept.grouping.min_pixels == 12
    for name, value in state_of(config, 2, 2).model.items():
        torch.testing.assert_close(kept.weights[name], value, rtol=0, atol=0)
    # Each search begins with the best so far; the first with the configuration.
    assert [grouping.min_pixels for grouping in begun] == [config.grouping.min_pixels, 11, 12]
    # One that goes on knows where it stood.
    again = Judge(config, plan.settings, plan.grouping, folder)
    assert again.last == judgement
    assert again.last.seconds == judgement.seconds > 0
    known = {"step": 3, "objective": 0.6, "seconds": judgement.seconds}
    assert json.loads((folder / "judged.json").read_text()) == known
    # And how long it has taken to come there.
    worth[4] = 0.5
    later, _ = again(state_of(config, 4, 4), Runtime())
    assert later.seconds > judgement.seconds


@pytest.mark.parametrize("lost", ["judged.json", "artifact", "weights"])
def test_a_judge_that_was_killed_between_its_files(planned, lost):
    """What the model is worth stands in it: whichever file is older, later ones are held against the model's own."""
    plan = planned("grouping.candidates=non_background", "search.grouping_trials=1")
    config, folder = plan.config({}, "one"), plan.folder("one")
    judge = Judge(config, plan.settings, plan.grouping, folder)
    judged, _ = judge(state_of(config, 1, 1), Runtime())
    assert load_artifact(folder / "artifact").metrics["search_objective"] == judged.best == judged.objective
    if lost == "judged.json":
        (folder / lost).unlink()
    elif lost == "artifact":
        shutil.rmtree(folder / lost)
    else:
        (folder / "artifact" / "weights.safetensors").write_bytes(b"")
    again = Judge(config, plan.settings, plan.grouping, folder)
    # The checkpoint is judged once more: nobody knows what it was worth, or with which model.
    assert again.last is None
    assert again(state_of(config, 1, 1), Runtime())[0] == judged
    assert load_artifact(folder / "artifact").metrics["step"] == 1


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["training.max_steps=40", "training.save_every=21"], "every 42: never before"),
        (["training.max_steps=40", "training.save_every=10"], "every 20: once before"),
        (["training.max_steps=0", "training.epochs=2"], "every 2: once before"),
    ],
)
def test_trainings_that_nothing_could_stop_are_warned_of(planned, caplog, overrides, said):
    """And what the warning says to set helps."""
    planned(*overrides)
    (warning,) = caplog.messages
    assert said in warning
    assert warning.count("training.max_steps=") == ("training.max_steps=0" in overrides)
    caplog.clear()
    better = [word.rstrip(".") for word in warning.split() if "=" in word]
    total = run_length(planned(*overrides).base)
    caplog.clear()
    plan = planned(*overrides, *better)
    assert not caplog.messages
    assert run_length(plan.base) == total


def test_trainings_that_are_judged_often_are_not_warned_of(planned, caplog):
    planned("training.max_steps=5", "training.save_every=1")
    assert not caplog.messages


@pytest.mark.parametrize(("name", "judged"), [("cluster", 10), ("laptop", 3)])
@pytest.mark.parametrize("charts", [300, 100_000])
def test_packaged_searches_judge_early_and_often(monkeypatch, name, judged, charts):
    """However many charts there are: ASHA can stop a training only where it is judged."""
    config, search = load_search(RECIPES / f"{name}.yaml", [])
    training = config.training
    plan = BatchPlan(((charts,),), training.batch_size, epoch_samples=config.data.epoch_samples)
    monkeypatch.setattr(loop, "batch_plan", lambda _config, _world: plan)
    apart = steps_between_saves(config)
    assert run_length(config) == judged * apart
    # At its first rung and at the next ones, not long after them.
    rung = search.grace
    while rung < 1:
        late = -(-rung * training.max_steps // apart) * apart / training.max_steps
        assert rung <= late < 1.7 * rung
        rung *= search.reduction


def test_packaged_searches_load():
    assert sorted(path.stem for path in RECIPES.glob("*.yaml")) == ["cluster", "laptop"]
    for path in RECIPES.glob("*.yaml"):
        config, search = load_search(path, [])
        # The loaders, and the training itself.
        assert config.training.loader_workers < max(search.cpus, 2)
