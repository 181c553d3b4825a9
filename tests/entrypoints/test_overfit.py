"""The whole chain can learn at all: a handful of charts by heart."""

import time

import pytest
import torch

from linegroup.config import load_config
from linegroup.testing import random_sample
from linegroup.training.loop import train_local


@pytest.mark.slow
def test_four_charts_by_heart(tmp_path, make_shard_folder):
    samples = [
        random_sample(i, size, lines)
        for i, (size, lines) in enumerate([((64, 96), 2), ((72, 80), 3), ((96, 96), 4), ((80, 88), 3)], 1)
    ]
    data = make_shard_folder(tmp_path / "shards", {"train": samples, "val": samples})
    config = load_config(
        None,
        [
            f"data.train={data}",
            f"training.out={tmp_path / 'run'}",
            "augment.enabled=false",
            "model.depth=3",
            "training.max_steps=160",
            "training.eval_every=40",
            "training.save_every=40",
            "training.lr=5e-3",
            "training.device=cpu",
            "tracking.enabled=false",
        ],
    )
    threads = torch.get_num_threads()
    # One thread is enough, and does not suffer where other programs are busy.
    torch.set_num_threads(1)
    began = time.monotonic()
    try:
        result = train_local(config)
    finally:
        torch.set_num_threads(threads)
    assert result.metrics["val_ari"] >= 0.95
    assert time.monotonic() - began < 120
