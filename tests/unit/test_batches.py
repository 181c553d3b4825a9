import pickle
from dataclasses import dataclass

import numpy as np
import pytest

from linegroup.batches import BatchBuilder, BatchPlan, collate, sample_pixels
from linegroup.config import Config, load_config
from linegroup.errors import UserError
from linegroup.sample import Sample
from linegroup.targets import draw_targets
from linegroup.testing import random_sample, unpng


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
    plan = BatchPlan(reader.row_group_sizes, **{"batch_size": 2, **plan})
    return BatchBuilder(reader, plan, config, frozenset({"labels", "foreground"}), 0)


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
        BatchBuilder(reader, BatchPlan(reader.row_group_sizes, 2, world=2), config, whole.needs, rank)
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


def test_no_samples_is_said():
    with pytest.raises(UserError, match="no sample"):
        BatchPlan((), 2)


def test_pictures_that_are_missing_or_lie_are_named():
    with pytest.raises(UserError, match="Sample 7"):
        sample_pixels(Sample(7, (3, 3)))
    with pytest.raises(UserError, match="Sample 1"):
        sample_pixels(Sample(1, (3, 3), image=random_sample(1).image))


def test_config_of_drawing_reaches_the_batch(reader):
    config = Config.model_validate({"augment": {"enabled": False}, "data": {"category": "none"}})
    assert not builder(reader, config)(0).targets["foreground"].any()
