"""Discriminative loss, forward and backward: segment reductions against the loop over instances.

Both start from the dense `(B, D, H, W)` embedding and label maps, as a training step has them, and end
with the gradient of the embedding map; choosing the pixels counts. Times are measured alternately in
one process and compared pair by pair (median of the ratios); memory is the growth of the peak resident
set of a fresh process for each method (Linux), the gradient of the map (16 MiB at the default sizes) included.

    python benchmarks/loss.py [--images 8] [--lines 32] [--size 256] [--dims 8] [--repeats 15] [--threads N] [--json]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from linegroup.losses import discriminative_loss
from linegroup.losses.selection import select_pixels

DELTA_V, DELTA_D = 0.5, 1.5


def label_maps(images: int, lines: int, size: int, seed: int = 0) -> Tensor:
    """`(images, size, size) int32`: smooth curves two pixels wide, 0 where none or several are."""
    rng = np.random.default_rng(seed)
    maps = np.zeros((images, size, size), dtype=np.int32)
    x = np.linspace(0, size - 1, 64)
    for labels in maps:
        covered = np.zeros((size, size), dtype=np.uint8)
        for k in range(1, lines + 1):
            start, width = rng.uniform(0, 0.75), rng.uniform(0.1, 0.25)
            span = x * width + start * size
            phase, bend = rng.uniform(0, 7), rng.uniform(3, 30)
            y = rng.uniform(0, size) + np.sin(x / size * rng.uniform(2, 9) + phase) * bend
            points = np.stack([span, y], axis=1).round().astype(np.int32)
            one = cv2.polylines(np.zeros((size, size), dtype=np.uint8), [points], False, 1, 2)
            labels[one > 0] = k
            covered += one
        labels[covered > 1] = 0
    return torch.from_numpy(maps)


def loop_loss(embedding: Tensor, labels: Tensor) -> Tensor:
    """The straightforward way: a Boolean mask for each instance."""
    total = embedding.sum() * 0
    for features, label in zip(embedding, labels, strict=True):
        means, variance = [], embedding.new_zeros(())
        for k in label.unique():
            if k == 0:
                continue
            pixels = features[:, label == k]  # (D, n)
            mean = pixels.mean(dim=1)
            variance = variance + ((pixels - mean[:, None]).norm(dim=0) - DELTA_V).clamp(min=0).square().mean()
            means.append(mean)
        if not means:
            continue
        centres = torch.stack(means)
        total = total + variance / len(means) + 0.001 * centres.norm(dim=1).mean()
        if len(means) > 1:
            i, j = torch.triu_indices(len(means), len(means), 1)
            apart = (centres[i] - centres[j]).norm(dim=1)
            total = total + (2 * DELTA_D - apart).clamp(min=0).square().mean()
    return total / len(labels)


def segment_loss(embedding: Tensor, labels: Tensor) -> Tensor:
    index = (labels > 0).flatten().nonzero().squeeze(1)
    variance, distance, regularization = discriminative_loss(
        select_pixels(embedding, index),
        labels.flatten().index_select(0, index),
        index // labels[0].numel(),
        len(labels),
        delta_v=DELTA_V,
        delta_d=DELTA_D,
    )
    return variance + distance + 0.001 * regularization


METHODS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], torch.memory_format]] = {
    "loop": (loop_loss, torch.contiguous_format),
    "segments": (segment_loss, torch.contiguous_format),
    "segments, channels last": (segment_loss, torch.channels_last),
}


def dense_embedding(dims: int, labels: Tensor, layout: torch.memory_format) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    dense = torch.randn(len(labels), dims, *labels.shape[1:], generator=generator)
    return dense.contiguous(memory_format=layout).requires_grad_()


def step(name: str, embedding: Tensor, labels: Tensor) -> tuple[float, Tensor, Tensor]:
    """Seconds, loss, gradient."""
    embedding.grad = None
    began = time.perf_counter()
    loss = METHODS[name][0](embedding, labels)
    loss.backward()
    seconds = time.perf_counter() - began
    assert embedding.grad is not None
    return seconds, loss.detach(), embedding.grad


def peak_growth(name: str, labels: Tensor, dims: int, threads: int) -> float:
    """MiB by which one step raises the process's peak; meant for a fresh process."""
    torch.set_num_threads(threads)
    embedding = dense_embedding(dims, labels, METHODS[name][1])
    # A tiny step first: what loading the code costs is not the method's.
    step(name, dense_embedding(dims, labels[:1, :16, :16], METHODS[name][1]), labels[:1, :16, :16].clone())
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is resident now
    before = _peak_kib()
    step(name, embedding, labels)
    return (_peak_kib() - before) / 1024


def _peak_kib() -> int:
    # Not getrusage: its peak survives exec, so that a child starts with its parent's.
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def measure(options: argparse.Namespace) -> dict[str, object]:
    torch.set_num_threads(options.threads)
    labels = label_maps(options.images, options.lines, options.size)
    inputs = {name: dense_embedding(options.dims, labels, layout) for name, (_, layout) in METHODS.items()}
    first = {name: step(name, inputs[name], labels)[1:] for name in METHODS}
    for name, (loss, grad) in first.items():
        torch.testing.assert_close(loss, first["loop"][0], rtol=1e-4, atol=1e-6, msg=name)
        torch.testing.assert_close(grad, first["loop"][1], rtol=1e-3, atol=1e-6, msg=name)
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    for _ in range(options.repeats):
        for name in METHODS:
            seconds[name].append(step(name, inputs[name], labels)[0])
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        memory = {name: pool.apply(peak_growth, (name, labels, options.dims, options.threads)) for name in METHODS}
    return {
        "images": options.images,
        "lines": options.lines,
        "size": options.size,
        "dims": options.dims,
        "threads": options.threads,
        "coverage": round(float((labels > 0).float().mean()), 3),
        "instances": sum(len(m.unique()) - 1 for m in labels),
        "median_ms": {name: round(1e3 * statistics.median(times), 2) for name, times in seconds.items()},
        "speedup": {
            name: round(statistics.median(a / b for a, b in zip(seconds["loop"], times, strict=True)), 1)
            for name, times in seconds.items()
        },
        "peak_mib": {name: round(value, 1) for name, value in memory.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("images", 8), ("lines", 32), ("size", 256), ("dims", 8), ("repeats", 15), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    options = parser.parse_args()
    result = measure(options)
    if not options.json:
        for key, value in result.items():
            print(f"{key}: {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
