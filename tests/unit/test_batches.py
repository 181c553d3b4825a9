import pickle
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest

from linegroup.batches import BatchBuilder, collate, sample_pixels
from linegroup.config import Config, load_config
from linegroup.errors import UserError
from linegroup.plans import BatchPlan
from linegroup.sample import Sample
from linegroup.targets import TARGETS, draw_targets
from linegroup.testing import BLACK, draw_sample, random_sample, unpng


@dataclass(frozen=True)
class Listed:
    """Samples in memory, as a reader."""

    samples: tuple[Sample, ...]

    @property
    def row_group_sizes(self):
        return (len(self.samples),)

    def __len__(self):
        return len(self.samples)

    def read(self, index):
        return self.samples[index]


@pytest.fixture
def reader():
    return Listed(tuple(random_sample(seed, (40, 50 + seed), 2) for seed in range(5)))


def builder(reader, config=None, **plan) -> BatchBuilder:
    config = config or load_config(None, ["augment.crop=[24, 24]"])
    plan = BatchPlan((reader.row_group_sizes,), **{"batch_size": 2, **plan})
    return BatchBuilder((reader,), plan, config, frozenset({"labels", "foreground"}), 0)


def test_padding_is_outside_and_empty():
    pixels = [np.zeros((4, 6, 3), np.uint8), np.zeros((7, 3, 3), np.uint8)]
    truth = [draw_targets(Sample(1, p.shape[:2])) for p in pixels]
    batch = collate(list(zip(pixels, truth, strict=True)), {"labels", "certain"}, [1, 2])
    assert batch.image.shape == (2, 7, 6, 3)
    assert batch.inside.sum(axis=(1, 2)).tolist() == [24, 21]
    assert (batch.image[~batch.inside] == 255).all()
    assert not batch.targets["certain"][~batch.inside].any()
    assert set(batch.targets) == {"labels", "certain"}


def test_same_step_same_batch_also_after_pickling(reader):
    first = builder(reader)
    second = pickle.loads(pickle.dumps(builder(reader)))
    for step in (3, 0, 11):
        one, two = first(step), second(step)
        np.testing.assert_array_equal(one.image, two.image)
        np.testing.assert_array_equal(one.targets["labels"], two.targets["labels"])
    assert not np.array_equal(first(0).image, first(1).image)


def test_two_workers_see_what_one_with_twice_the_batch_sees(reader):
    whole = builder(reader, batch_size=4)
    config = whole.config
    halves = [
        BatchBuilder((reader,), BatchPlan((reader.row_group_sizes,), 2, world=2), config, whole.needs, rank)
        for rank in (0, 1)
    ]
    for step in range(6):
        parts = [half(step) for half in halves]
        np.testing.assert_array_equal(np.concatenate([part.ids for part in parts]), whole(step).ids)
        np.testing.assert_array_equal(np.concatenate([part.image for part in parts]), whole(step).image)


def test_an_epoch_draws_a_sample_anew(reader):
    made = builder(reader, batch_size=5)
    first, second = made(0), made(1)
    assert sorted(first.ids) == sorted(second.ids)
    order = [list(second.ids).index(i) for i in first.ids]
    assert not np.array_equal(first.image, second.image[order])


def test_whole_pictures_without_augmentation(reader):
    config = load_config(None, ["augment.enabled=false"])
    batch = builder(reader, config, batch_size=5)(0)
    assert batch.image.shape == (5, 40, 54, 3)
    row = list(batch.ids).index(2)
    np.testing.assert_array_equal(batch.image[row, :40, :52], unpng(reader.samples[2].image))


def test_only_what_is_needed_is_computed(monkeypatch, reader):
    computed = []

    def counted(name, function):
        return lambda truth: (computed.append(name), function(truth))[1]

    for name, function in list(TARGETS.items()):
        monkeypatch.setitem(TARGETS, name, counted(name, function))
    builder(reader)(0)  # two samples; labels and foreground
    assert sorted(computed) == ["foreground", "foreground", "labels", "labels"]


@pytest.mark.parametrize("zoom", [0.5, 2.0])
def test_the_default_thickness_grows_with_the_picture(zoom):
    drawn = draw_sample([np.array([[10.0, 40], [110, 40]])], (80, 120), colours=[BLACK], thickness=4)
    bare = replace(drawn, instances=tuple(replace(line, thickness=None) for line in drawn.instances))
    off = dict.fromkeys(("flip", "rotate90", "colour", "grey", "blur", "noise", "jpeg"), 0)
    augment = {**off, "crop": None, "scale": (zoom, zoom)}
    config = Config.model_validate({"data": {"thickness": 4}, "augment": augment})
    batch = builder(Listed((bare,)), config, batch_size=1)(0)
    middle = batch.image.shape[2] // 2
    ink = (255.0 - batch.image[0, :, middle, 0]).sum() / 255
    assert ink == pytest.approx(4 * zoom, abs=0.1)
    assert batch.targets["foreground"][0, :, middle].sum() == 4 * zoom


def test_crops_look_for_the_lines_that_are_drawn():
    line, axis = np.array([[270.0, 20], [290, 180]]), np.array([[5.0, 5], [8, 195]])
    sample = draw_sample([line, axis], (200, 300))
    first, second = sample.instances
    lines = (first, *(replace(second, category="axis") for _ in range(9)))
    settings = {"data": {"category": "line"}, "augment": {"crop": (40, 40), "rotate90": 0, "scale": (1, 1)}}
    made = builder(Listed((replace(sample, instances=lines),)), Config.model_validate(settings), batch_size=40)(0)
    assert made.targets["foreground"].any(axis=(1, 2)).mean() > 0.6


def test_seeds_and_ids_may_be_negative_and_ids_choose_the_change():
    sample = random_sample(3, (60, 60), 2)
    one, other, again = (builder(Listed((replace(sample, id=i),)), batch_size=1, seed=-1)(0) for i in (-7, 5, -7))
    np.testing.assert_array_equal(one.image, again.image)
    assert not np.array_equal(one.image, other.image)


@pytest.mark.parametrize("name", ["batch_size", "world", "window"])
def test_plans_without_a_batch_are_refused(name):
    with pytest.raises(UserError, match=name):
        BatchPlan(((5,),), **{"batch_size": 2, name: 0})


def test_a_large_plan_is_quick():
    plan = BatchPlan(((16,) * 62_500,), 4, world=2)
    plan.items(0)
    start = time.process_time()
    for step in range(50):
        plan.items(step, 1)
    assert time.process_time() - start < 0.15  # 3 ms a step; a search of all row groups for each sample takes longer


def test_no_samples_is_said():
    with pytest.raises(UserError, match="no sample"):
        BatchPlan(((),), 2)


def test_pictures_that_are_missing_or_lie_are_named():
    with pytest.raises(UserError, match="Sample 7"):
        sample_pixels(Sample(7, (3, 3)))
    with pytest.raises(UserError, match="Sample 1"):
        sample_pixels(Sample(1, (3, 3), image=random_sample(1).image))


def test_config_of_drawing_reaches_the_batch(reader):
    config = Config.model_validate({"augment": {"enabled": False}, "data": {"category": "none"}})
    assert not builder(reader, config)(0).targets["foreground"].any()
