"""Generated charts → Parquet shards, with Ray Data.

    ray job submit --working-dir . -- python jobs/make_synth.py --count 100000 --out SHARDS

Settings come from `--config` (recipes/synth.yaml) and flags, which win. Run again, it does what is missing.
`--serial` uses one process and no Ray. The last line on standard output is JSON; the user's mistakes exit with 2.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from linegroup.distributed.shard_script import run_shard_job
from linegroup.distributed.synth_job import load_synth_job
from linegroup.errors import UserError

FLAGS: dict[Callable[[str], object], tuple[str, ...]] = {
    Path: ("config", "out"),
    float: ("val-fraction", "test-fraction"),
    int: ("count", "first", "seed", "images-per-part", "num-cpus"),
    str: ("stream", "split", "address"),
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; flags that are not given are None and leave the recipe's value."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind, names in FLAGS.items():
        for name in names:
            parser.add_argument(f"--{name}", type=kind)
    for name in ("drawn", "overwrite", "serial"):
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
        job = load_synth_job(config, flags)
        manifest = run_shard_job(job, serial=bool(serial), **where)
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps({"out": str(job.out), **manifest.summary()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
