"""Shards → the best method: networks are trained side by side, each judged with the best grouping for it.

    ray job submit --working-dir . -- python tune/search_method.py --config tune/recipes/laptop.yaml data.train=SHARDS

Settings are those of `train_model.py`, with a section `search` beside them (`search.trials=24 search.gpus=1`). Running
it again goes on where it stood. The last line on standard output is JSON; the user's mistakes exit with 2.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from linegroup.distributed.search import search_method
from linegroup.errors import UserError
from linegroup.tuning.plans import load_search, plan_search


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, help="YAML recipe, see tune/recipes")
    parser.add_argument("overrides", nargs="*", metavar="dotted.key=value", help="for example search.trials=24")
    return parser.parse_args(arguments)


def main() -> int:
    """Search once; the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    flags = parse()
    try:
        search = search_method(plan_search(*load_search(flags.config, flags.overrides)))
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(search.to_json()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
