"""What a million pictures take: planning and driver memory, simulated; bytes and seconds of each stage, extrapolated.

Two parts:

* **planning**: dummy entries for `--images` pictures (no picture exists), in a fresh process for each case: the plan
  of a sharding job, its results, the manifest written, read and opened, the batch plan of an epoch. CPU time, and
  what the process grew by. With `--ray` also every part of such a job sent through Ray Data and back, doing nothing.
* **stages**: `--charts` generated charts go through every stage on one core. CPU seconds (what others do on the
  machine counts little) and bytes per picture, and both times a million.

    python benchmarks/scale.py [--images 1000000] [--charts 24] [--only planning|stages] [--ray] [--json]
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MILLION = 1_000_000

CASES = {
    "manifest, 128 pictures a part": 128,
    "manifest, one picture a part": 1,
}
"""Pictures in each part of the job; the second is the worst that somebody could ask for."""


def part_files(images: int, each: int) -> list[Any]:
    """The dummy shards of a job: 4 of 5 parts' pictures for training, the rest for validation."""
    from linegroup.distributed.shard_job import PartResult
    from linegroup.shards import ShardFile

    results = []
    for number, first in enumerate(range(0, images, each)):
        count = min(each, images - first)
        splits = {"train": count - count // 5, "val": count // 5} if each > 1 else {"train": 1}
        files = tuple(
            ShardFile(
                path=f"{split}/shard-{first:012d}-{first + count - 1:012d}.parquet",
                split=split,
                rows=rows,
                lines=6 * rows,
                first_id=first,
                last_id=first + count - 1,
                bytes=30_000 * rows,
                sha256=f"{number:064x}",
            )
            for split, rows in splits.items()
            if rows
        )
        results.append(PartResult(number=number, files=files))
    return results


def simulate(images: int, each: int) -> dict[str, Any]:
    """One case, in this process: CPU seconds and MiB after each step."""
    from linegroup.distributed.shard_job import Plan
    from linegroup.plans import BatchPlan
    from linegroup.shards import ShardSet, load_manifest

    steps: dict[str, dict[str, float]] = {}
    before = _status("VmRSS")

    def timed(name: str, run: Callable[[], Any]) -> Any:
        began = time.process_time()
        made = run()
        steps[name] = {"s": round(time.process_time() - began, 3), "grown_mib": round(_status("VmRSS") - before, 1)}
        return made

    def plan() -> list[Any]:
        ranges = tuple((first, min(first + each, images) - 1) for first in range(0, images, each))
        return Plan("0" * 64, images, {1: "line"}, ranges, ("",) * len(ranges), 0).all_parts()

    with tempfile.TemporaryDirectory() as folder:
        parts = timed("plan of the job", plan)
        results = timed("results of all parts", lambda: part_files(images, each))
        files = timed("manifest written", lambda: _write_manifest(results, Path(folder)))
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        results.clear()
        gc.collect()
        timed("manifest read", lambda: load_manifest(Path(folder)))
        opened = timed("shards opened, digest", lambda: _opened(ShardSet(folder, "train")))
        groups = timed("row groups", lambda: opened.row_group_sizes)
        batches = BatchPlan((groups,), batch_size=16, world=4, seed=1)
        timed("first step of an epoch planned", lambda: batches.items(0))
        timed("1,000 more steps planned", lambda: [batches.items(step) for step in range(1000)])
        sent = timed("shards sent to a worker", lambda: len(_pickled(opened)))
    return {
        "images": images,
        "parts": len(parts),
        "files": files,
        "manifest_mb": round(size / 1e6, 1),
        "sent_mb": round(sent / 1e6, 1),
        "peak_mib": round(_status("VmHWM") - before, 1),
        "steps": steps,
    }


def schedule(images: int, each: int) -> dict[str, Any]:
    """All parts of a job through Ray Data, doing nothing: what only the sending costs."""
    from linegroup.distributed.data import each_part
    from linegroup.distributed.session import start_ray
    from linegroup.distributed.shard_job import Plan

    ranges = tuple((first, min(first + each, images) - 1) for first in range(0, images, each))
    parts = Plan("0" * 64, images, {1: "line"}, ranges, ("",) * len(ranges), 0).all_parts()
    with start_ray("local", 2):
        import ray

        ray.data.range(4).map(lambda row: row).materialize()
        before, began = _status("VmRSS"), time.perf_counter()
        answers = list(each_part(functools.partial(_nothing, each), parts))
        spent = time.perf_counter() - began
    assert len(answers) == len(parts)
    return {"parts": len(parts), "s": round(spent, 1), "grown_mib": round(_status("VmHWM") - before, 1)}


def _nothing(each: int, part: Any) -> Any:
    result = part_files(each, each)[0]
    return result.model_copy(update={"number": part.number})


def stages(charts: int) -> dict[str, dict[str, float]]:
    """CPU milliseconds and bytes per picture of each stage, on one core."""
    import cv2
    import torch

    from linegroup.batches import BatchBuilder
    from linegroup.config import load_config
    from linegroup.metrics import line_curves, score, score_curves, true_curves
    from linegroup.model import LineModel
    from linegroup.plans import BatchPlan
    from linegroup.predict import Predictor, write_prediction
    from linegroup.shards import ShardSet, write_shard
    from linegroup.sources.synth import open_stream
    from linegroup.targets import draw_targets, line_pixels
    from linegroup.training.stepping import Stepper

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    found: dict[str, dict[str, float]] = {}

    def timed(name: str, count: int, run: Callable[[], Any], size: Callable[[Any], float] = lambda _made: 0) -> Any:
        began = time.process_time()
        made = run()
        found[name] = {
            "ms": round(1e3 * (time.process_time() - began) / count, 2),
            "bytes": round(size(made) / count),
        }
        return made

    stream = open_stream("synth:charts?seed=7")
    stream.read(charts)  # fonts, caches
    samples = timed(
        "generate a chart",
        charts,
        lambda: [stream.read(number) for number in range(charts)],
        lambda made: sum(len(sample.image) for sample in made),
    )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        file = timed(
            "write it into a shard",
            charts,
            lambda: write_shard(samples, root, "train/shard.parquet", "train"),
            lambda made: made.bytes,
        )
        save([file], root)
        shards = ShardSet(root, "train")
        timed("read it back", charts, lambda: [shards.read(number) for number in range(charts)])
        config = load_config(None, ["model.width=16", "model.depth=4", "augment.crop=[256,320]"])
        plan = BatchPlan((shards.row_group_sizes,), batch_size=4)
        torch.manual_seed(0)
        model = LineModel(config.model, config.loss)
        builder = BatchBuilder((shards,), plan, config, frozenset(model.needs))
        builder(0)  # compilation
        rounds = max(1, charts // 4)
        batches = timed(
            "prepare it for training (256 × 320)", 4 * rounds, lambda: [builder(step) for step in range(rounds)]
        )
        stepper = Stepper(model, lambda module: module, config.training, torch.device("cpu"))
        stepper.step(batches[0], 0.0)
        some = batches[:3]
        timed(
            "train on it (width 16, depth 4, fp32)",
            4 * len(some),
            lambda: [stepper.step(batch, 0.5) for batch in some],
        )
        predictor = Predictor.load("pretrained", "cpu")
        pictures = [predictor.predict_bytes(sample.image).pixels for sample in samples[:2]]  # compilation
        pictures = timed("decode it", charts, lambda: [_decoded(sample.image) for sample in samples])
        network = predictor.model
        assert network is not None
        maps = timed("embed it (packaged model)", charts, lambda: [network.maps(pixels) for pixels in pictures])
        answers = timed(
            "group it (link)", charts, lambda: [predictor(p, m) for p, m in zip(pictures, maps, strict=True)]
        )
        timed("trace its lines", charts, lambda: [answer.lines for answer in answers])
        timed(
            "write its lines (JSON, labels, overlay)",
            charts,
            lambda: [write_prediction(answer, root / "out", str(i)) for i, answer in enumerate(answers)],
            lambda made: sum(path.stat().st_size for paths in made for path in paths.values()),
        )

        def scored() -> None:
            for sample, answer in zip(samples, answers, strict=True):
                score(draw_targets(sample), line_pixels(sample), answer.labels)
                score_curves(
                    true_curves(sample, config.data), [line_curves(line) for line in answer.lines], sample.size
                )

        timed("score it", charts, scored)
    return found


def _decoded(content: bytes) -> Any:
    from linegroup.images import decode

    return decode(content).pixels


def _write_manifest(results: list[Any], folder: Path) -> int:
    files = [file for result in results for file in result.files]
    save(files, folder)
    return len(files)


def save(files: list[Any], folder: Path) -> None:
    """The manifest of some shards."""
    from linegroup.shards import Manifest, Source, SplitCounts, save_manifest

    def counts(split: str) -> SplitCounts:
        members = [file for file in files if file.split == split]
        return SplitCounts(
            samples=sum(file.rows for file in members), lines=sum(file.lines for file in members), files=len(members)
        )

    manifest = Manifest(
        written_by="scale",
        key="0" * 32,
        samples=sum(file.rows for file in files),
        lines=sum(file.lines for file in files),
        rejects=0,
        splits={split: counts(split) for split in dict.fromkeys(file.split for file in files)},
        categories={1: "line"},
        source=Source(annotations="dummy", sha256="0" * 64, images=sum(file.rows for file in files)),
        settings={},
        files=tuple(files),
    )
    save_manifest(manifest, folder)


def _opened(shards: Any) -> Any:
    assert shards.digest
    return shards


def _pickled(shards: Any) -> bytes:
    import pickle

    return pickle.dumps(shards)


def _status(key: str) -> float:
    """MiB of this process (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return round(int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024, 1)


def fresh(*words: str) -> dict[str, Any]:
    """What a fresh process of this script answers."""
    done = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def show(result: dict[str, Any]) -> None:
    for name, case in result.get("planning", {}).items():
        head = {key: value for key, value in case.items() if key != "steps"}
        print(f"{name}: {', '.join(f'{key} {value}' for key, value in head.items())}")
        for step, cost in case.get("steps", {}).items():
            print(f"    {step:34} {cost['s']:9.3f} s   {cost['grown_mib']:8.1f} MiB above the start")
    for name, cost in result.get("stages", {}).items():
        hours, size = cost["ms"] * MILLION / 3.6e6, cost["bytes"] * MILLION / 1e9
        print(f"{name:42} {cost['ms']:9.2f} ms {hours:8.1f} core hours a million   {size:7.1f} GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=MILLION)
    parser.add_argument("--charts", type=int, default=24)
    parser.add_argument("--only", choices=("planning", "stages"))
    parser.add_argument("--ray", action="store_true", help="also send all parts through Ray Data")
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    parser.add_argument("--case", type=int, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--schedule", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(simulate(*options.case)))
        return
    if options.schedule:
        print(json.dumps(schedule(*options.schedule)))
        return
    result: dict[str, Any] = {"load": os.getloadavg()[0]}
    if options.only != "stages":
        result["planning"] = {name: fresh("--case", str(options.images), str(each)) for name, each in CASES.items()}
        if options.ray:
            result["planning"]["through Ray Data"] = fresh("--schedule", str(options.images), "128")
    if options.only != "planning":
        result["stages"] = stages(options.charts)
    if not options.json:
        show(result)
    print(json.dumps({"benchmark": "scale", **result}))


if __name__ == "__main__":
    main()
