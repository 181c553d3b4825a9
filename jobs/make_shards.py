"""COCO annotations and pictures → Parquet shards, with Ray Data.

    ray job submit --working-dir . -- python jobs/make_shards.py --annotations A.json --images DIR --out SHARDS

Settings come from `--config` (recipes/shards.yaml) and flags, which win. Run again, it does what is missing.
The last line on standard output is JSON; the user's mistakes exit with 2.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from linegroup.distributed.data import make_shards, make_shards_serial, progress_bar
from linegroup.distributed.shard_job import load_job
from linegroup.errors import UserError

FLAGS: dict[Callable[[str], object], tuple[str, ...]] = {
    Path: ("config", "annotations", "images", "out"),
    float: ("val-fraction", "test-fraction"),
    int: ("seed", "images-per-part", "num-cpus"),
    str: ("split", "category", "dialect", "address"),
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; flags that are not given are None and leave the recipe's value."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind, names in FLAGS.items():
        for name in names:
            parser.add_argument(f"--{name}", type=kind)
    for name in ("drawn", "strict", "overwrite"):
        parser.add_argument(f"--{name}", action="store_const", const=True)
    parser.add_argument("--serial", action="store_true", help="one process, no Ray")
    return parser.parse_args(arguments)


def main() -> int:
    """Run one job; the exit code."""
    flags = vars(parse())
    logging.basicConfig(format="%(message)s")
    logging.getLogger("linegroup").setLevel(logging.INFO)
    config, address, num_cpus, serial = (flags.pop(name) for name in ("config", "address", "num_cpus", "serial"))
    try:
        job = load_job(config, flags)
        with progress_bar() as bar:
            make = make_shards_serial if serial else partial(make_shards, address=address, num_cpus=num_cpus)
            manifest = make(job, bar)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    counts = manifest.model_dump(include={"samples", "lines", "rejects"})
    splits = {name: split.samples for name, split in manifest.splits.items()}
    print(json.dumps({"out": str(job.out), **counts, "splits": splits, "parts_made": manifest.made}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
