"""A version of a model becomes the champion, unless it is clearly worse on the same charts; the registry notes why.

    ray job submit --working-dir . -- python jobs/promote_model.py --version 3 --data SHARDS

Settings come from `--config` (YAML, see recipes/promote.yaml), `gate.key=value` and flags, which win. The last line on
standard output is JSON. Exit codes: 0 promoted, or champion already; 1 refused by the gate; 2 the user's mistake
(`ray job submit` makes 1 of every failure).
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from linegroup.errors import UserError
from linegroup.promotion import load_promotion, promote_model

FLAGS = ("name", "version", "alias", "data", "split", "device", "force", "no-gate")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; flags that are not given are None and leave the recipe's value."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, help="YAML recipe with the names of the flags, and `gate`")
    for name in FLAGS:
        parser.add_argument(f"--{name}")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--set", action="append", dest="overrides", help="data.key=value: how the truth is drawn")
    parser.add_argument("--by", help="who is noted; default: the user of this process")
    parser.add_argument("rule", nargs="*", metavar="gate.key=value", help="for example gate.tolerance=0.01")
    return parser.parse_args(arguments)


def main() -> int:
    """Promote once; the exit code."""
    flags = vars(parse())
    logging.basicConfig(format="%(message)s")
    by, recipe, rule = flags.pop("by"), flags.pop("config"), flags.pop("rule")
    try:
        done = promote_model(load_promotion(recipe, rule, flags), by=by)
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(done.to_json(), allow_nan=False))
    return 0 if done.promoted else 1


if __name__ == "__main__":
    sys.exit(main())
