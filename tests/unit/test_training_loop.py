import contextlib
import json
import logging
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from linegroup.batches import BatchBuilder
from linegroup.config import Config, load_config
from linegroup.errors import UserError
from linegroup.interrupts import interrupts_held
from linegroup.locking import locked
from linegroup.shards import ShardSet, load_manifest, save_manifest
from linegroup.testing import random_sample
from linegroup.training.artifact import load_artifact
from linegroup.training.checkpoint import digest, load_checkpoint, save_checkpoint
from linegroup.training.loader import local_batches
from linegroup.training.loop import mixed_seed, prepare_run, train, train_local
from linegroup.training.reporting import read_metrics
from linegroup.training.runtime import DistributedRuntime, Runtime, choose_device
from linegroup.training.stepping import SCHEDULES, Stepper
from linegroup.training.validation import merit

TINY = (
    "model.width=4",
    "model.depth=1",
    "model.emb_dim=2",
    "augment.crop=[24, 32]",
    "training.batch_size=2",
    "training.epochs=3",
    "training.pictures=1",
    "training.device=cpu",
    "tracking.enabled=false",
    "grouping.min_samples=5",
)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def shards(tmp_path_factory, make_shard_folder) -> Path:
    samples = [random_sample(i, (30 + i, 40), 2) for i in range(1, 9)]
    return make_shard_folder(tmp_path_factory.mktemp("loop") / "shards", {"train": samples[:5], "val": samples[5:]})


def configured(shards: Path, out: Path, *overrides: str) -> Config:
    return load_config(None, [*TINY, f"data.train={shards}", f"training.out={out}", *overrides])


def weights(out: Path, name: str = "final.pt") -> dict[str, torch.Tensor]:
    return load_checkpoint(out / "checkpoints" / name).model


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=0)


@pytest.fixture(scope="module")
def undisturbed(shards, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    torch.set_num_threads(1)
    train_local(configured(shards, out))
    return out


class Interrupting(Runtime):
    """Ctrl-C comes when the batch of a step is asked for."""

    def __init__(self, at: int) -> None:
        super().__init__("cpu")
        self.at = at

    @contextlib.contextmanager
    def batches(self, builder, first, stop, workers):
        def asked(batches):
            for step, batch in enumerate(batches, first):
                if step == self.at:
                    os.kill(os.getpid(), signal.SIGINT)
                yield batch

        with local_batches(builder, first, stop, workers) as batches:
            yield asked(batches)


def test_what_was_learned_before_an_interrupt_is_kept(shards, tmp_path, undisturbed):
    config = prepare_run(configured(shards, tmp_path))
    for at in (1, 4):
        with pytest.raises(KeyboardInterrupt), interrupts_held():
            train(config, Interrupting(at))
        # The step that was running is finished, and saved though it ends no epoch.
        assert load_checkpoint(tmp_path / "checkpoints" / "last.pt").step == at + 1
    result = train_local(config)
    assert result.resumed_from == 5
    assert_equal(weights(tmp_path), weights(undisturbed))
    assert read_metrics(tmp_path) == read_metrics(undisturbed)


def test_what_a_run_leaves(undisturbed):
    assert sorted(path.name for path in undisturbed.iterdir()) == [
        ".lock",
        "artifact",
        "checkpoints",
        "metrics.jsonl",
        "pictures",
    ]
    rows = read_metrics(undisturbed)
    assert [row["step"] for row in rows if "train_total" in row] == list(range(1, 10))
    assert [row["step"] for row in rows if "val_ari" in row] == [3, 6, 9]
    assert {"train_variance", "train_distance", "train_foreground", "train_lr", "train_grad_norm"} <= set(rows[0])
    assert [path.name for path in sorted((undisturbed / "pictures").iterdir())] == [
        f"epoch-000{epoch}.png" for epoch in (1, 2, 3)
    ]
    artifact = load_artifact(undisturbed / "artifact")
    best = load_checkpoint(undisturbed / "checkpoints" / "best.pt")
    assert_equal(dict(artifact.weights), best.model)
    assert artifact.metrics == best.metrics
    scores = [row["val_ari"] for row in rows if "val_ari" in row]
    assert artifact.metrics["val_ari"] == max(scores)
    assert artifact.metrics["best_step"] == best.step
    digest = ShardSet(artifact.config.data.train).digest
    assert artifact.data == {"data.train": digest, "data.val": digest}


class Killed(Exception):
    pass


class Dying(Runtime):
    """Dies when asked for the batch of a step."""

    def __init__(self, at: int) -> None:
        super().__init__("cpu")
        self.at = at

    def batches(self, builder, first, stop, workers):
        def dying(step):
            if step == self.at:
                raise Killed
            return builder(step)

        return local_batches(dying, first, stop, workers)


def test_killed_and_resumed_is_bit_equal(shards, tmp_path, undisturbed):
    config = prepare_run(configured(shards, tmp_path))
    for at in (1, 5, 7):
        with pytest.raises(Killed):
            train(config, Dying(at))
    result = train_local(config)
    assert result.resumed_from == 6
    assert_equal(weights(tmp_path), weights(undisturbed))
    assert_equal(weights(tmp_path, "best.pt"), weights(undisturbed, "best.pt"))
    assert load_artifact(tmp_path / "artifact").version == load_artifact(undisturbed / "artifact").version
    assert read_metrics(tmp_path) == read_metrics(undisturbed)
    optimizers = [load_checkpoint(out / "checkpoints" / "final.pt").optimizer for out in (tmp_path, undisturbed)]
    assert repr(optimizers[0]) == repr(optimizers[1])


RUN = "import sys, torch; torch.set_num_threads(1); from linegroup.config import load_config; \
from linegroup.training.loop import train_local; train_local(load_config(None, sys.argv[1:]))"


def test_sigkill_and_resume_is_bit_equal(shards, tmp_path, undisturbed):
    arguments = [*TINY, f"data.train={shards}", f"training.out={tmp_path}"]
    process = subprocess.Popen([sys.executable, "-c", RUN, *arguments], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (tmp_path / "checkpoints" / "last.pt").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    result = train_local(configured(shards, tmp_path))
    assert result.resumed_from > 0
    assert_equal(weights(tmp_path), weights(undisturbed))
    assert read_metrics(tmp_path) == read_metrics(undisturbed)


@pytest.mark.slow
def test_same_with_loader_processes(shards, tmp_path, undisturbed):
    train_local(configured(shards, tmp_path, "training.loader_workers=1"))
    assert_equal(weights(tmp_path), weights(undisturbed))


def test_finished_run_is_not_trained_again(shards, tmp_path, undisturbed):
    config = configured(shards, tmp_path)
    first = train_local(config)
    again = train_local(config)
    assert again.resumed_from == again.steps == 9
    assert again.metrics == first.metrics
    assert read_metrics(tmp_path) == read_metrics(undisturbed)


def test_run_can_be_extended_but_not_shortened(shards, tmp_path):
    train_local(configured(shards, tmp_path))
    result = train_local(configured(shards, tmp_path, "training.epochs=4", "training.lr=1e-4"))
    assert (result.resumed_from, result.steps) == (9, 12)
    assert [row["step"] for row in read_metrics(tmp_path) if "train_total" in row] == list(range(1, 13))
    with pytest.raises(UserError, match=r"step 12, beyond the 3"):
        train_local(configured(shards, tmp_path, "training.max_steps=3"))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.emb_dim=3", "model.emb_dim was 2, is 3"),
        ("loss.delta_v=0.4", "loss.delta_v"),
        ("augment.flip=0", "augment.flip"),
        ("data.thickness=3", "data.thickness"),
        ("training.seed=1", "training.seed"),
        ("training.batch_size=3", "batch_size"),
    ],
)
def test_resume_with_other_settings_names_them(shards, undisturbed, override, words):
    with pytest.raises(UserError, match=words):
        train_local(configured(shards, undisturbed, override))


def test_resume_with_other_data(shards, undisturbed, tmp_path, make_shard_folder):
    other = make_shard_folder(tmp_path / "other", {"train": [random_sample(1)], "val": [random_sample(2)]})
    with pytest.raises(UserError, match=r"data\.train"):
        train_local(configured(other, undisturbed))


def test_resume_from_a_path(shards, tmp_path, undisturbed):
    """From another run's checkpoint in a new folder, and back to one's own best; never over another run."""
    source = undisturbed / "checkpoints" / "last.1.pt"
    result = train_local(configured(shards, tmp_path / "new", f"training.resume={source}"))
    assert result.resumed_from == 6
    assert_equal(weights(tmp_path / "new"), weights(undisturbed))
    own = tmp_path / "new" / "checkpoints" / "best.pt"
    at = load_checkpoint(own).step
    result = train_local(configured(shards, tmp_path / "new", f"training.resume={own}"))
    assert result.resumed_from == at
    assert_equal(weights(tmp_path / "new"), weights(undisturbed))
    with pytest.raises(UserError, match="another run"):
        train_local(configured(shards, undisturbed, f"training.resume={own}"))
    with pytest.raises(UserError, match="no checkpoint"):
        train_local(configured(shards, tmp_path / "third", f"training.resume={tmp_path / 'none.pt'}"))


def assert_scores_belong_to_the_weights(out: Path) -> None:
    artifact = load_artifact(out / "artifact")
    best = load_checkpoint(out / "checkpoints" / "best.pt")
    assert_equal(dict(artifact.weights), best.model)
    assert artifact.metrics == best.metrics
    assert artifact.metrics["best_step"] == best.step


def better_than_any(out: Path, name: str) -> None:
    """As if the run had once been better than it will ever be again."""
    folder = out / "checkpoints"
    state = load_checkpoint(folder / name)
    save_checkpoint(folder, name, replace(state, best=(2.0, 0.0), metrics={"val_ari": 2.0, "best_step": 3.0}))


@pytest.mark.parametrize("knows", [True, False])
def test_scores_after_going_on_in_a_new_folder(shards, tmp_path, knows):
    """The best one of the source comes along, unless it is another than the checkpoint knows."""
    source, target = tmp_path / "source", tmp_path / "target"
    train_local(configured(shards, source))
    better_than_any(source, "last.pt")
    if knows:
        better_than_any(source, "best.pt")
    last = source / "checkpoints" / "last.pt"
    worse = ("training.epochs=4", "training.lr=1e-9", "training.schedule=constant")
    result = train_local(configured(shards, target, f"training.resume={last}", *worse))
    assert result.resumed_from == 9
    if knows:
        assert result.metrics["val_ari"] == 2.0
        assert_equal(dict(load_artifact(result.artifact).weights), weights(source, "best.pt"))
    else:
        assert result.metrics["best_step"] == 12
        assert_scores_belong_to_the_weights(target)


def test_scores_after_going_back_in_the_same_folder(shards, tmp_path):
    train_local(configured(shards, tmp_path))
    better_than_any(tmp_path, "last.1.pt")
    back = tmp_path / "checkpoints" / "last.1.pt"
    config = configured(shards, tmp_path, f"training.resume={back}", "training.lr=1e-9")
    prepare_run(config)
    assert not (tmp_path / "checkpoints" / "best.pt").exists()
    result = train_local(configured(shards, tmp_path, "training.lr=1e-9"))
    assert (result.resumed_from, result.metrics["best_step"]) == (6, 9)
    assert_scores_belong_to_the_weights(tmp_path)


def test_scores_without_the_best_checkpoint(shards, tmp_path):
    train_local(configured(shards, tmp_path))
    (tmp_path / "checkpoints" / "best.pt").unlink()
    result = train_local(configured(shards, tmp_path))
    assert result.metrics == {}
    assert load_artifact(result.artifact).metrics == {}


def test_a_path_that_does_not_fit_changes_nothing(shards, undisturbed, tmp_path):
    source = undisturbed / "checkpoints" / "last.pt"
    with pytest.raises(UserError, match=r"training\.seed"):
        prepare_run(configured(shards, tmp_path / "new", f"training.resume={source}", "training.seed=1"))
    assert not (tmp_path / "new").exists()


def test_one_training_at_a_time_in_a_folder(shards, tmp_path):
    with locked(tmp_path), pytest.raises(UserError, match="Another job is writing into"):
        train_local(configured(shards, tmp_path))
    assert not (tmp_path / "checkpoints").exists()
    assert train_local(configured(shards, tmp_path)).steps > 0


def test_folders_of_others_are_left_alone(shards, tmp_path):
    """That of a search, say: its winner lies where the model of a training would."""
    with locked(tmp_path, kind="a search"):
        (tmp_path / "artifact").mkdir()
    with pytest.raises(UserError, match="is the folder of a search"):
        train_local(configured(shards, tmp_path))
    assert not list((tmp_path / "artifact").iterdir())
    (tmp_path / "artifact").rmdir()
    # Nothing is in it any more.
    assert train_local(configured(shards, tmp_path)).steps > 0
    with pytest.raises(UserError, match="is the folder of a training"), locked(tmp_path, kind="a search"):
        pass


def test_a_mistake_leaves_no_folder(tmp_path):
    with pytest.raises(UserError, match="no shard folder"):
        train_local(configured(tmp_path / "none", tmp_path / "new" / "run"))
    assert not (tmp_path / "new").exists()


def test_resume_none_refuses_a_used_folder(shards, undisturbed, tmp_path):
    with pytest.raises(UserError, match="holds a run already"):
        train_local(configured(shards, undisturbed, "training.resume=none"))
    prepare_run(configured(shards, tmp_path, "training.resume=none"))


class Disagreeing(Runtime):
    """Another process has found nothing."""

    def extremes(self, value):
        return min(0, value), max(0, value)


def test_workers_must_go_on_from_the_same_step(shards, undisturbed, tmp_path):
    with pytest.raises(UserError, match=r"different steps, 0 to 9.*ray\.storage"):
        train(prepare_run(configured(shards, undisturbed)), Disagreeing("cpu"))
    train(prepare_run(configured(shards, tmp_path, "training.max_steps=1")), Disagreeing("cpu"))


def test_damaged_newest_checkpoint(shards, tmp_path, undisturbed, caplog):
    with pytest.raises(Killed):
        train(prepare_run(configured(shards, tmp_path)), Dying(7))
    last = tmp_path / "checkpoints" / "last.pt"
    last.write_bytes(last.read_bytes()[:-100])
    with caplog.at_level(logging.WARNING):
        result = train_local(configured(shards, tmp_path))
    assert result.resumed_from == 3
    assert "damaged" in caplog.text
    assert_equal(weights(tmp_path), weights(undisturbed))
    assert read_metrics(tmp_path) == read_metrics(undisturbed)


def make_stepper(config: Config) -> Stepper:
    from linegroup.model import LineModel

    torch.manual_seed(0)
    return Stepper(LineModel(config.model, config.loss), lambda model: model, config.training, torch.device("cpu"))


def make_builder(config: Config, shards: Path, needs: frozenset[str]) -> BatchBuilder:
    from linegroup.plans import BatchPlan

    samples = ShardSet(shards, "train")
    return BatchBuilder((samples,), BatchPlan((samples.row_group_sizes,), config.training.batch_size), config, needs)


class Spoiled:
    """Makes the loss of a model what is asked for."""

    def __init__(self, model, monkeypatch) -> None:
        self.factor = 1.0
        honest = model.loss

        def loss(*arguments):
            terms = honest(*arguments)
            return {**terms, "total": terms["total"] * self.factor}

        monkeypatch.setattr(model, "loss", loss)


@pytest.mark.parametrize("factor", [math.nan, math.inf, 1e38])
def test_bad_batch_leaves_no_trace(shards, tmp_path, monkeypatch, factor):
    """Neither in weights, nor in the optimizer, nor in the running statistics, which a forward pass has changed."""
    config = configured(shards, tmp_path)
    stepper = make_stepper(config)
    spoiled = Spoiled(stepper.model, monkeypatch)
    builder = make_builder(config, shards, stepper.model.needs)
    stepper.step(builder(0), 0.1)
    before = digest({key: value for key, value in stepper.state().items() if key != "bad_batches"})
    spoiled.factor = factor
    values = stepper.step(builder(1), 0.1)
    assert values["skipped"] == 1.0
    assert (stepper.skipped, stepper.in_a_row) == (1, 1)
    assert digest({key: value for key, value in stepper.state().items() if key != "bad_batches"}) == before
    spoiled.factor = 1.0
    clean = make_stepper(config)
    for number in (0, 2):
        clean.step(builder(number), 0.1)
    stepper.step(builder(2), 0.1)
    assert_equal(stepper.state()["model"], clean.state()["model"])
    assert (stepper.skipped, stepper.in_a_row) == (1, 0)


def test_too_many_bad_batches_in_a_row(shards, tmp_path, monkeypatch):
    config = configured(shards, tmp_path, "training.max_bad_batches=2")
    stepper = make_stepper(config)
    spoiled = Spoiled(stepper.model, monkeypatch)
    builder = make_builder(config, shards, stepper.model.needs)
    for pattern in ("bb.", "b.", "bb"):
        for mark in pattern:
            spoiled.factor = math.nan if mark == "b" else 1.0
            stepper.step(builder(0), 0.5)
    with pytest.raises(UserError, match=r"3 batches in a row.*training\.lr"):
        stepper.step(builder(1), 0.5)


def test_bad_batch_is_counted_and_not_in_the_checkpoint(shards, tmp_path, monkeypatch):
    from linegroup.model import LineModel

    honest, calls = LineModel.loss, 0

    def loss(self, *arguments):
        nonlocal calls
        calls += self.training
        terms = honest(self, *arguments)
        return {**terms, "total": terms["total"] * (math.nan if self.training and calls == 2 else 1)}

    monkeypatch.setattr(LineModel, "loss", loss)
    result = train_local(configured(shards, tmp_path))
    assert result.skipped == 1
    assert all(value.isfinite().all() for value in weights(tmp_path).values())
    rows = [row for row in read_metrics(tmp_path) if "train_total" in row]
    assert [row["train_skipped"] for row in rows] == [0, 1] + 7 * [0]
    assert rows[1]["train_total"] is None


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns(shards, tmp_path, precision):
    config = configured(shards, tmp_path, f"training.precision={precision}", "training.schedule=constant")
    stepper = make_stepper(config)
    builder = make_builder(config, shards, stepper.model.needs)
    totals = [stepper.step(builder(0), 0.5)["total"] for _ in range(25)]
    assert totals[-1] < totals[0]
    assert stepper.in_a_row == 0


def test_weight_decay_can_change_on_resume(shards, tmp_path):
    old, new = (make_stepper(configured(shards, tmp_path, f"training.weight_decay={x}")) for x in ("0.01", "0.5"))
    builder = make_builder(configured(shards, tmp_path), shards, old.model.needs)
    old.step(builder(0), 0.5)
    new.restore(old.state())
    assert [group["weight_decay"] for group in new.optimizer.param_groups] == [0.5]
    assert [group["weight_decay"] for group in old.optimizer.param_groups] == [0.01]


def test_gradient_is_clipped(shards, tmp_path):
    config = configured(shards, tmp_path, "training.grad_clip=1e-9", "training.weight_decay=0")
    stepper = make_stepper(config)
    builder = make_builder(config, shards, stepper.model.needs)
    values = stepper.step(builder(0), 0.5)
    assert values["grad_norm"] > 1e-3
    moved = stepper.optimizer.state[next(stepper.model.parameters())]["exp_avg"]
    assert float(moved.abs().max()) <= 1e-9


def test_schedules():
    grid = np.linspace(0, 1, 101)
    assert {SCHEDULES["constant"](p) for p in grid} == {1.0}
    cosine = [SCHEDULES["cosine"](p) for p in grid]
    assert cosine[0] == 1.0
    assert cosine == sorted(cosine, reverse=True)
    assert cosine[-1] == pytest.approx(0)
    cycle = [SCHEDULES["one_cycle"](p) for p in grid]
    assert cycle[0] == pytest.approx(0.04)
    assert max(cycle) == cycle[10] == pytest.approx(1.0)
    assert cycle[-1] == pytest.approx(0)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_loader_keeps_order_and_hands_errors_on(shards, tmp_path, workers):
    builder = make_builder(configured(shards, tmp_path), shards, frozenset({"labels"}))
    with local_batches(builder, 3, 9, workers) as batches:
        for step, batch in enumerate(batches, 3):
            expected = builder(step)
            np.testing.assert_array_equal(batch.image, expected.image)
            np.testing.assert_array_equal(batch.targets["labels"], expected.targets["labels"])
            assert batch.ids.tolist() == expected.ids.tolist()
    assert step == 8
    broken = replace(builder, needs=frozenset({"nonsense"}))
    with pytest.raises(KeyError, match="nonsense"), local_batches(broken, 0, 2, workers) as batches:
        next(batches)


def test_which_checkpoint_is_best():
    scores = [{"val_ari": 0.5, "val_loss": 1.0}, {"val_ari": 0.5, "val_loss": 0.5}, {"val_ari": 0.6, "val_loss": 2.0}]
    by_ari = [merit("val_ari", s) for s in scores]
    assert by_ari == sorted(by_ari)
    assert max(scores, key=lambda s: merit("val_loss", s)) is scores[1]
    assert merit("val_ari", {"val_loss": 1.0}) is None
    assert merit("val_ari", {"val_ari": math.nan}) is None


def test_no_validation_charts(tmp_path, make_shard_folder, caplog):
    data = make_shard_folder(tmp_path / "s", {"train": [random_sample(i, (24, 24), 1) for i in range(1, 3)]})
    with caplog.at_level(logging.WARNING):
        result = train_local(configured(data, tmp_path / "out", "training.epochs=1"))
    assert "no val_ari to choose by" in caplog.text
    assert_equal(dict(load_artifact(result.artifact).weights), weights(tmp_path / "out"))


def test_mistakes(shards, tmp_path):
    for overrides, words in [
        (["data.train=null"], "Say what to train on"),
        ([f"data.train={tmp_path}"], "manifest"),
        (["data.category=7"], "Unknown category.*Known: 1, line"),
        (["training.device=cuda:99"], "cuda:99"),
        (["training.device=toaster"], "toaster"),
    ]:
        with pytest.raises(UserError, match=words):
            train_local(configured(shards, tmp_path / "out", *overrides))
    assert choose_device("auto").type in ("cpu", "cuda")


def test_category_by_number_or_name(shards, tmp_path):
    for category in ("1", "'1'", "line"):
        assert prepare_run(configured(shards, tmp_path, f"data.category={category}")).data.category == "line"


def rename_categories(folder: Path, categories: dict[int, str]) -> None:
    save_manifest(load_manifest(folder).model_copy(update={"categories": categories}), folder)


def test_a_category_number_is_that_of_the_training_data(tmp_path, make_shard_folder):
    train_data, val = (
        make_shard_folder(tmp_path / name, {split: [random_sample(1)]})
        for name, split in (("train", "train"), ("val", "val"))
    )
    rename_categories(train_data, {1: "line", 2: "axis"})
    rename_categories(val, {1: "axis", 3: "line", 4: "tick"})
    for given, name in [("1", "line"), ("2", "axis"), ("line", "line")]:
        config = configured(train_data, tmp_path / "out", f"data.category={given}", f"data.val={val}")
        assert prepare_run(config).data.category == name
    for given in ("3", "tick"):
        with pytest.raises(UserError, match=f"category of the shards .*train '{given}'"):
            prepare_run(configured(train_data, tmp_path / "out", f"data.category={given}", f"data.val={val}"))
    rename_categories(val, {1: "axis"})
    with pytest.raises(UserError, match=r"category of the shards .*val 'line'.*Known: axis"):
        prepare_run(configured(train_data, tmp_path / "out", "data.category=1", f"data.val={val}"))


@pytest.mark.parametrize("seed", [131_072, 2**31, 2**63 - 1, 2**70])
def test_large_seeds(shards, tmp_path, seed):
    result = train_local(configured(shards, tmp_path, f"training.seed={seed}", "training.max_steps=1"))
    assert result.steps == 1


def test_seeds_of_neighbours_differ():
    seeds = [mixed_seed(seed, step, rank) for seed in (0, 1, 2**64) for step in range(50) for rank in range(4)]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) >= 0
    assert max(seeds) < 2**63
    assert mixed_seed(3, 5, 0) == mixed_seed(3, 5, 0)


def test_the_callers_random_state_is_left_alone(shards, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_local(configured(shards, tmp_path, "training.max_steps=1"))
    assert torch.equal(torch.rand(3), expected)


def test_disk_full_ends_with_advice_and_goes_on_later(shards, tmp_path, undisturbed, monkeypatch):
    calls = 0
    honest = os.fsync

    def fail(descriptor):
        nonlocal calls
        calls += 1
        if calls == 12:
            raise OSError(28, "No space left on device")
        honest(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises((UserError, OSError), match="No space left"):
        train_local(configured(shards, tmp_path))
    monkeypatch.undo()
    assert not list((tmp_path / "checkpoints").glob(".*"))
    train_local(configured(shards, tmp_path))
    assert_equal(weights(tmp_path), weights(undisturbed))


def ddp_worker(rank: int, arguments: list[str], port: int) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    runtime = DistributedRuntime("cpu")
    assert runtime.extremes(3 - 5 * rank) == (-2, 3)
    train(prepare_run(load_config(None, arguments), world=2), runtime)
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_workers_equal_one_with_twice_the_batch(shards, tmp_path):
    common = [*TINY, f"data.train={shards}", "model.norm=none", "training.epochs=4", "training.lr=1e-3"]
    two = [*common, f"training.out={tmp_path / 'two'}", "training.batch_size=2"]
    multiprocessing.spawn(ddp_worker, (two, 29500 + os.getpid() % 2000), nprocs=2)
    train_local(load_config(None, [*common, f"training.out={tmp_path / 'one'}", "training.batch_size=4"]))
    rows = [read_metrics(tmp_path / name) for name in ("one", "two")]
    assert len(rows[0]) == len(rows[1]) == 8 + 4
    for one, other in zip(*rows, strict=True):
        assert one.keys() == other.keys()
        for key in one.keys() - {"train_grad_norm"}:
            assert one[key] == pytest.approx(other[key], rel=1e-4, abs=1e-4), key
    a, b = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-3, atol=1e-4)
    assert json.loads((tmp_path / "two" / "artifact" / "artifact.json").read_text())["version"]
