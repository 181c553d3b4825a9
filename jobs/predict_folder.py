"""Lines of very many pictures → rows in Parquet files or JSON lines, with Ray Data.

    ray job submit --working-dir . -- python jobs/predict_folder.py --pictures s3://bucket/scans --out LINES

Settings come from `--config` (recipes/predict.yaml) and flags, which win. Run again, it does what is missing.
`--serial` uses one process and no Ray. The last line on standard output is JSON; the user's mistakes exit with 2.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from linegroup.distributed.batch import load_predict_job, predict_batch, predict_batch_serial, progress_bar
from linegroup.errors import UserError

FLAGS: dict[Callable[[str], object], tuple[str, ...]] = {
    Path: ("config", "out"),
    float: ("embed-cpus", "group-cpus"),
    int: ("pictures-per-part", "embed-actors", "actors-per-gpu", "num-cpus"),
    str: ("format", "model", "device", "address"),
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; flags that are not given are None and leave the recipe's value."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", nargs="+", help="folders, patterns, lists (.txt), Parquet files, pictures, URIs")
    parser.add_argument("--set", action="append", dest="overrides", help="grouping.key=value")
    for kind, names in FLAGS.items():
        for name in names:
            parser.add_argument(f"--{name}", type=kind)
    for name in ("recursive", "strict", "overwrite", "serial"):
        parser.add_argument(f"--{name}", action="store_const", const=True)
    return parser.parse_args(arguments)


def main() -> int:
    """Run one job; the exit code."""
    flags = vars(parse())
    logging.basicConfig(format="%(message)s")
    logging.getLogger("linegroup").setLevel(logging.INFO)
    config, serial, address, cpus = map(flags.pop, ("config", "serial", "address", "num_cpus"))
    try:
        job = load_predict_job(config, flags)
        with progress_bar() as bar:
            done = predict_batch_serial(job, bar) if serial else predict_batch(job, bar, address=address, num_cpus=cpus)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps({"out": str(job.out), **done.summary()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
