"""Training on streams and mixes: what is opened, what is refused, and exact resume."""

from itertools import chain
from pathlib import Path

import pytest
import torch

from linegroup.cli.train import plan
from linegroup.config import Config, load_config
from linegroup.errors import UserError
from linegroup.sources import synth
from linegroup.testing import RandomSamples, random_sample
from linegroup.training.checkpoint import load_checkpoint
from linegroup.training.data import data_tags, prepare_data, training_sources, validation_set
from linegroup.training.loader import local_batches
from linegroup.training.loop import prepare_run, train, train_local
from linegroup.training.reporting import read_metrics
from linegroup.training.runtime import Runtime

TINY = (
    "model.width=4",
    "model.depth=1",
    "model.emb_dim=2",
    "augment.crop=[24, 32]",
    "training.batch_size=2",
    "training.epochs=3",
    "training.device=cpu",
    "tracking.enabled=false",
    "grouping.min_samples=5",
    "data.epoch_samples=6",
)


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    monkeypatch.setitem(
        synth.STREAMS, "lines", lambda settings: RandomSamples((30, 40), 1000 * settings.get("seed", 0))
    )
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def shards(tmp_path_factory, make_shard_folder) -> Path:
    samples = [random_sample(i, (30 + i, 40), 2) for i in range(1, 9)]
    return make_shard_folder(tmp_path_factory.mktemp("data") / "shards", {"train": samples[:5], "val": samples[5:]})


def configured(*overrides: str) -> Config:
    return load_config(None, [*TINY, *overrides])


def mixed(shards: Path) -> str:
    return f"data.mix={{'synth:lines?seed=3': 3, {shards}: 1}}"


class Killed(Exception):
    pass


class Watching(Runtime):
    """Notes the samples of each step; dies when asked for the batch of step `dies`."""

    def __init__(self, dies: int | None = None) -> None:
        super().__init__("cpu")
        self.ids: list[list[int]] = []
        self.dies = dies

    def batches(self, builder, first, stop, workers):
        def watched(step):
            if step == self.dies:
                raise Killed
            batch = builder(step)
            self.ids.append(batch.ids.tolist())
            return batch

        return local_batches(watched, first, stop, workers)


def final(out: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(out / "checkpoints" / "final.pt").model


@pytest.mark.parametrize("kind", ["stream", "mix"])
def test_killed_and_resumed_is_bit_equal(shards, tmp_path, kind):
    data = "data.train=synth:lines?seed=3" if kind == "stream" else mixed(shards)
    whole, parts = (prepare_run(configured(data, f"training.out={tmp_path / name}")) for name in ("whole", "parts"))
    undisturbed = Watching()
    train(whole, undisturbed)
    used = []
    for dies, begins in ((5, 0), (7, 3), (None, 6)):
        runtime = Watching(dies)
        if dies is None:
            assert train(parts, runtime).resumed_from == begins
        else:
            with pytest.raises(Killed):
                train(parts, runtime)
        used = used[:begins] + runtime.ids
    assert used == undisturbed.ids
    if kind == "stream":
        assert list(chain(*used)) == list(range(18))  # 3 epochs of 6 samples, none twice
    one, other = final(tmp_path / "whole"), final(tmp_path / "parts")
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=0)
    assert read_metrics(tmp_path / "whole") == read_metrics(tmp_path / "parts")


def test_a_stream_has_no_validation_unless_shards_are_named(shards, tmp_path):
    result = train_local(configured("data.train=synth:lines", f"training.out={tmp_path / 'without'}"))
    assert (result.steps, result.metrics) == (9, {})
    assert result.artifact.is_dir()
    validated = configured("data.train=synth:lines", f"data.val={shards}", f"training.out={tmp_path / 'with'}")
    result = train_local(validated)
    assert {"val_ari", "best_step"} <= set(result.metrics)


def test_a_stream_goes_on_with_the_next_samples_when_a_run_is_extended(tmp_path):
    first, second = Watching(), Watching()
    train(prepare_run(configured("data.train=synth:lines", f"training.out={tmp_path}")), first)
    train(prepare_run(configured("data.train=synth:lines", f"training.out={tmp_path}", "training.epochs=4")), second)
    assert list(chain(*first.ids, *second.ids)) == list(range(24))


@pytest.mark.parametrize(
    "changed",
    ["{'synth:lines?seed=4': 3, %s: 1}", "{'synth:lines?seed=3': 2, %s: 1}", "{%s: 1, 'synth:lines?seed=3': 3}"],
)
def test_resume_with_another_mix_is_refused(shards, tmp_path, changed):
    train_local(configured(mixed(shards), f"training.out={tmp_path}", "training.max_steps=1"))
    with pytest.raises(UserError, match=r"data\.mix"):
        train_local(configured(f"data.mix={changed % shards}", f"training.out={tmp_path}", "training.max_steps=1"))


def test_prepared_for_other_processes(shards, tmp_path, monkeypatch):
    monkeypatch.chdir(shards.parent)
    data = prepare_data(configured("data.mix={'synth:lines?seed=3': 3, shards: 1}", "data.category=1").data)
    assert data.mix == {"synth:lines?seed=3": 3, str(shards): 1}
    assert list(data.mix) == ["synth:lines?seed=3", str(shards)]
    assert (data.train, data.val, data.category) == (None, None, "line")
    alone = prepare_data(configured("data.train=synth:lines", "data.val=shards").data)
    assert (alone.train, alone.val) == ("synth:lines", str(shards))
    assert prepare_data(configured("data.train=shards").data).val == str(shards)


def test_sources_say_what_they_are(shards):
    data = configured(mixed(shards), f"data.val={shards}").data
    stream, folder = training_sources(data)
    assert (stream.row_groups, stream.weight, str(stream)) == (None, 3, "endless charts of synth:lines?seed=3")
    assert (folder.row_groups, folder.weight, str(folder)) == ((5,), 1, f"5 charts of {shards}")
    tags = data_tags(data)
    assert set(tags) == {"data.mix", "data.val"}
    assert "weight 3: random samples of (30, 40), seed 3000" in tags["data.mix"]
    assert data_tags(configured("data.train=synth:lines").data) == {"data.train": "random samples of (30, 40), seed 0"}
    assert len(validation_set(data)) == 3
    assert validation_set(configured(mixed(shards)).data) is None


def test_the_command_line_says_what_is_going_to_happen(shards):
    words = ("training.batch_size=3", "ray.num_workers=0")
    data, steps, _ = plan(configured(mixed(shards), *words))
    assert data == f"Data: 3 × endless charts of synth:lines?seed=3 + 1 × 5 charts of {shards}, not validated"
    assert steps.startswith("Steps: 6 of 3 charts (3 epochs)")
    assert plan(configured(f"data.train={shards}", *words))[0].endswith("validated on its val split")
    scored = configured("data.train=synth:lines", f"data.val={shards}", *words)
    assert plan(scored)[0] == f"Data: endless charts of synth:lines, validated on {shards}"
    network = plan(configured(f"data.train={shards}", *words))[2]
    assert network.startswith("Model: small_unet, width 4, depth 1, 2 dimensions; ")
    begun = plan(load_config(None, [f"data.train={shards}", "training.init=pretrained"]))[2]
    assert begun.startswith("Model: begins as pretrained, small_unet, width 16, depth 5, ")


def test_mix_in_a_recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("data:\n  mix:\n    synth:lines?seed=7: 3\n    shards/real: 1\n")
    assert load_config(path).data.mix == {"synth:lines?seed=7": 3, "shards/real": 1}
    assert load_config(path, ["data.mix.shards/real=2"]).data.mix["shards/real"] == 2
    assert load_config(path, ["data.mix={}", "data.train=a"]).data.mix == {}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data.train=null"], "Say what to train on"),
        (["data.train=sinth:lines"], r"Unknown kind of data 'sinth:lines'.*synth:lines"),
        (["data.train=synth:lnies"], "synth:lines"),
        (["data.train=synth:lines", "data.val=synth:lines"], r"data\.val=synth:lines has no end"),
        (["data.train=synth:lines", "data.category=axis"], "category.*'axis'.*line"),
        (["data.mix={synth:lines: 0}"], r"data\.mix\.synth:lines.*greater than 0"),
        (["data.mix={synth:lines: -1}"], r"data\.mix\.synth:lines.*greater than 0"),
        (["data.mix={synth:lines: 1e5, SHARDS: 1}"], "least weight"),
        (["data.mix={synth:lines: 1}", "data.train=SHARDS"], r"data\.train and data\.mix exclude each other"),
        (["data.mix={SHARDS: 1, SHARDS/: 1}"], "twice"),
        (["data.mix={synth:lines: 1, nowhere: 1}"], "nowhere"),
        (["data.epoch_samples=0"], r"data\.epoch_samples"),
    ],
)
def test_mistakes(shards, tmp_path, overrides, words):
    with pytest.raises(UserError, match=words):
        train_local(configured(*(o.replace("SHARDS", str(shards)) for o in overrides), f"training.out={tmp_path}"))
    assert not list(tmp_path.iterdir())
