"""COCO annotations and pictures → Parquet shards, with Ray Data.

    ray job submit --working-dir . -- python jobs/make_shards.py --annotations A.json --images DIR --out SHARDS

Settings come from `--config` (YAML, see recipes/shards.yaml) and flags, which win. Running it again
does what is missing. The last line on standard output is JSON; the user's mistakes exit with 2.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path

from linegroup.distributed.data import make_shards, make_shards_serial, progress_bar
from linegroup.distributed.shard_job import load_job
from linegroup.errors import UserError


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; flags that are not given are None and leave the recipe's value."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, help="YAML recipe with the names of the flags, - as _")
    for flag in ("--annotations", "--images", "--out"):
        parser.add_argument(flag, type=Path)
    for flag in ("--val-fraction", "--test-fraction"):
        parser.add_argument(flag, type=float)
    for flag in ("--seed", "--images-per-part", "--num-cpus"):
        parser.add_argument(flag, type=int)
    for flag in ("--split", "--category", "--dialect"):
        parser.add_argument(flag)
    for flag in ("--drawn", "--strict", "--overwrite"):
        parser.add_argument(flag, action="store_const", const=True)
    parser.add_argument("--address", help="Ray cluster; default: RAY_ADDRESS, else a private Ray")
    parser.add_argument("--serial", action="store_true", help="one process, no Ray")
    return parser.parse_args(arguments)


def main() -> int:
    """Run one job; the exit code."""
    flags = vars(parse())
    config, address, num_cpus, serial = (flags.pop(name) for name in ("config", "address", "num_cpus", "serial"))
    try:
        job = load_job(config, flags)
        with progress_bar() as bar:
            make = make_shards_serial if serial else partial(make_shards, address=address, num_cpus=num_cpus)
            manifest = make(job, bar)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    counts = {"samples": manifest.samples, "lines": manifest.lines, "rejects": manifest.rejects}
    splits = {name: split.samples for name, split in manifest.splits.items()}
    print(json.dumps({"out": str(job.out), **counts, "splits": splits, "parts_made": manifest.made}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
