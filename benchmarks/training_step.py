"""A whole training step, batch preparation included: ours against the straightforward one.

Both read the same charts from memory, cut the same windows out of them, and train the same network (same
weights at the start, AdamW) on the embedding and the foreground. Nothing else is augmented.

* ours: `BatchBuilder` (vectors cut first, lines drawn afterwards, in their own boxes only) and `Stepper`
  (channels last, segment reductions);
* straightforward: a `Dataset` whose `__getitem__` draws one full-size mask per line with OpenCV and cuts
  picture and masks; NCHW; a loss that loops over images and instances.

Steps alternate in one process; the figure is the median of the ratios of neighbouring steps.

    python benchmarks/training_step.py [--images 4] [--lines 32] [--steps 12] [--threads N] [--json]
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from linegroup.batches import BatchBuilder, sample_pixels
from linegroup.config import Config, load_config
from linegroup.losses.binary_map import binary_map_loss
from linegroup.model import LineModel
from linegroup.plans import BatchPlan
from linegroup.sample import Sample
from linegroup.testing import chart_sample
from linegroup.training.stepping import Stepper

SETTINGS = (
    "augment.flip=0",
    "augment.rotate90=0",
    "augment.scale=[1, 1]",
    "augment.colour=0",
    "augment.grey=0",
    "augment.blur=0",
    "augment.noise=0",
    "augment.jpeg=0",
    "training.schedule=constant",
)
CHARTS = 16


@dataclass(frozen=True)
class InMemory:
    """Samples as `BatchBuilder` reads them."""

    samples: list[Sample]

    @property
    def row_group_sizes(self) -> tuple[int, ...]:
        return (len(self.samples),)

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, index: int) -> Sample:
        return self.samples[index]


class MaskDataset(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Picture `(3, h, w)` and one mask per line `(K, h, w)`, cut at a random place."""

    def __init__(self, samples: list[Sample], crop: tuple[int, int]) -> None:
        self.samples, self.crop = samples, crop
        self.rng = np.random.default_rng(0)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        sample = self.samples[index]
        pixels = sample_pixels(sample)
        masks = np.zeros((len(sample.instances), *sample.size), dtype=np.uint8)
        for mask, line in zip(masks, sample.instances, strict=True):
            cv2.polylines(mask, [np.rint(line.xy).astype(np.int32)], False, 1, 2)
        h, w = self.crop
        y, x = (int(self.rng.integers(0, size - cut + 1)) for size, cut in zip(sample.size, self.crop, strict=True))
        image = torch.from_numpy(pixels[y : y + h, x : x + w].transpose(2, 0, 1).astype(np.float32) / 255)
        return image, torch.from_numpy(np.ascontiguousarray(masks[:, y : y + h, x : x + w]))


def loop_loss(embedding: Tensor, logits: Tensor, masks: list[Tensor], config: Config) -> Tensor:
    """The discriminative loss image by image and line by line."""
    loss = config.loss
    total = binary_map_loss(logits, torch.stack([m.any(dim=0) for m in masks]).bool(), torch.ones_like(logits).bool())
    for features, mask in zip(embedding, masks, strict=True):
        single = mask.sum(dim=0) == 1
        means, variance = [], embedding.new_zeros(())
        for line in mask:
            pixels = features[:, (line > 0) & single]  # (D, n)
            if pixels.shape[1] == 0:
                continue
            mean = pixels.mean(dim=1)
            variance = variance + ((pixels - mean[:, None]).norm(dim=0) - loss.delta_v).clamp(min=0).square().mean()
            means.append(mean)
        if not means:
            continue
        distance = embedding.new_zeros(())
        for a, b in itertools.combinations(means, 2):
            distance = distance + (2 * loss.delta_d - (a - b).norm()).clamp(min=0).square()
        pairs = max(1, len(means) * (len(means) - 1) // 2)
        regularization = torch.stack([mean.norm() for mean in means]).mean()
        image_loss = variance / len(means) + distance / pairs + loss.regularization * regularization
        total = total + image_loss / len(masks)
    return total


class Straightforward:
    """The usual script's step."""

    def __init__(self, samples: list[Sample], model: LineModel, config: Config, batch_size: int) -> None:
        assert config.augment.crop is not None
        self.data = MaskDataset(samples, config.augment.crop)
        self.config, self.batch_size = config, batch_size
        self.backbone = model.backbone.to(memory_format=torch.contiguous_format)
        self.heads = model.heads.to(memory_format=torch.contiguous_format)
        self.parameters = [*self.backbone.parameters(), *self.heads.parameters()]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=config.training.lr)

    def step(self, number: int) -> None:
        chosen = [(number * self.batch_size + i) % CHARTS for i in range(self.batch_size)]
        images, masks = zip(*(self.data[i] for i in chosen), strict=True)
        features = self.backbone(torch.stack(images))
        loss = loop_loss(
            self.heads["embedding"](features), self.heads["foreground"](features)[:, 0], list(masks), self.config
        )
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.config.training.grad_clip)
        self.optimizer.step()


class Ours:
    """Ours."""

    def __init__(self, samples: list[Sample], model: LineModel, config: Config, batch_size: int) -> None:
        reader = InMemory(samples)
        self.builder = BatchBuilder((reader,), BatchPlan((reader.row_group_sizes,), batch_size), config, model.needs)
        self.stepper = Stepper(model, lambda network: network, config.training, torch.device("cpu"))

    def step(self, number: int) -> None:
        self.stepper.step(self.builder(number), 0.5)


def measure(options: argparse.Namespace) -> dict[str, object]:
    torch.set_num_threads(options.threads)
    config = load_config(None, SETTINGS)
    samples = [chart_sample(i, (480, 640), options.lines) for i in range(CHARTS)]
    rivals = {}
    for name, kind in (("straightforward", Straightforward), ("ours", Ours)):
        torch.manual_seed(0)
        rivals[name] = kind(samples, LineModel(config.model, config.loss).train(), config, options.images)
    wall: dict[str, list[float]] = {name: [] for name in rivals}
    cpu: dict[str, list[float]] = {name: [] for name in rivals}
    for number in range(options.steps + 2):
        for name, rival in rivals.items():
            began = time.perf_counter(), time.process_time()
            rival.step(number)
            if number >= 2:  # compilation and caches first
                wall[name].append(time.perf_counter() - began[0])
                cpu[name].append(time.process_time() - began[1])
    ratios, cpu_ratios = (
        [a / b for a, b in zip(times["straightforward"], times["ours"], strict=True)] for times in (wall, cpu)
    )
    return {
        "images": options.images,
        "crop": config.augment.crop,
        "lines": options.lines,
        "threads": options.threads,
        "median_ms": {name: round(1e3 * statistics.median(times), 1) for name, times in wall.items()},
        "speedup": round(statistics.median(ratios), 2),
        "lowest": round(min(ratios), 2),
        "highest": round(max(ratios), 2),
        "speedup_of_cpu_time": round(statistics.median(cpu_ratios), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("images", 4), ("lines", 32), ("steps", 12), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    options = parser.parse_args()
    result = measure(options)
    for key, value in ({} if options.json else result).items():
        print(f"{key}: {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
