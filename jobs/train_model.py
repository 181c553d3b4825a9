"""Shards → a trained, tracked model, with Ray Train.

    ray job submit --working-dir . -- python jobs/train_model.py --config jobs/recipes/cluster.yaml data.train=SHARDS

Settings come from `--config` (YAML) and `dotted.key=value`, which win. Running it again goes on from
the last checkpoint. The last line on standard output is JSON; the user's mistakes exit with 2.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path

from linegroup.config import load_config
from linegroup.distributed.train import train_distributed
from linegroup.errors import UserError


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, help="YAML recipe, see jobs/recipes")
    parser.add_argument("overrides", nargs="*", metavar="dotted.key=value", help="for example training.epochs=20")
    return parser.parse_args(arguments)


def main() -> int:
    """Train once; the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    flags = parse()
    try:
        result = train_distributed(load_config(flags.config, flags.overrides))
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps({**asdict(result), "artifact": str(result.artifact)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
