"""COCO annotations and pictures → Parquet shards, with Ray Data.

    ray job submit --working-dir . -- python jobs/make_shards.py --annotations A.json --images DIR --out SHARDS

Settings come from `--config` (recipes/shards.yaml) and flags, which win. Run again, it does what is missing.
`--serial` uses one process and no Ray. The last line on standard output is JSON; the user's mistakes exit with 2.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from linegroup.distributed.coco_job import load_job
from linegroup.distributed.shard_script import run_shard_job
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
    for name in ("drawn", "strict", "overwrite", "serial"):
        parser.add_argument(f"--{name}", action="store_const", const=True)
    return parser.parse_args(arguments)


def main() -> int:
    """Run one job; the exit code."""
    flags = vars(parse())
    logging.basicConfig(format="%(message)s")
    logging.getLogger("linegroup").setLevel(logging.INFO)
    config, serial = flags.pop("config"), flags.pop("serial")
    where = {name: flags.pop(name) for name in ("address", "num_cpus")}
    try:
        job = load_job(config, flags)
        manifest = run_shard_job(job, serial=bool(serial), **where)
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps({"out": str(job.out), **manifest.summary()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
